package searchtest_test

import (
	"errors"
	"testing"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage/search"
	"github.com/zumodra/hub/storage/search/searchtest"
)

func TestMemory(t *testing.T) {
	searchtest.Run(t, func(t *testing.T) search.Index {
		m := searchtest.NewMemory()
		t.Cleanup(func() { _ = m.Close() })
		return m
	})
}

func TestMemoryFails(t *testing.T) {
	m := searchtest.NewMemory()
	m.Fail(search.ErrUnavailable)
	if err := m.Apply(t.Context(), []chat.IndexChange{{Key: searchtest.Key("t", 1), Gone: true}}); !errors.Is(err, search.ErrUnavailable) {
		t.Error(err)
	}
	if s := m.Stats(); s.Failures != 1 {
		t.Errorf("%+v", s)
	}
	m.Fail(nil)
	if err := m.Health(t.Context()); err != nil {
		t.Error(err)
	}
}
