package scylla_test

import (
	"testing"
	"time"

	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/scylla/scyllatest"
	"github.com/zumodra/hub/storage/storagetest"
)

func TestConformance(t *testing.T) {
	scyllatest.Hosts(t)
	storagetest.Run(t, func(t *testing.T, _ func() time.Time) storage.Engine { return scyllatest.Open(t) }, storagetest.RealTime())
}

func TestStore(t *testing.T) {
	scyllatest.Hosts(t)
	storagetest.RunStore(t, func(t *testing.T, _ func() time.Time) storage.Engine { return scyllatest.Open(t) })
}
