package pebble

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Pebble does not survive a log that it cannot write: depending on where it meets the error it answers it, panics with
// its locks held, or asks its logger to end the process; a goroutine above that recovers from the panic would leave a store
// that hangs. The functions of this file call pebble where it writes its log and make one thing of all three.

// died ends the process if pebble panicked or answered an error. It is deferred.
func (e *Engine) died(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("panic: %v", r)
	}
	if *err == nil || errors.Is(*err, pebble.ErrReadOnly) {
		return
	}
	text := fmt.Sprintf("the log of %s cannot be written: %v", e.cfg.Dir, *err)
	e.cfg.Logger.Error("storage: " + text)
	e.cfg.Fatal(text)
}

// apply makes a batch visible and hands it to the log; wait must follow.
func (e *Engine) apply(b *pebble.Batch) (err error) {
	defer e.died(&err)
	return e.db.ApplyNoSyncWait(b, pebble.Sync)
}

func (e *Engine) wait(b *pebble.Batch) (err error) {
	defer e.died(&err)
	return b.SyncWait()
}

// commit hands a batch to the log without a sync.
func (e *Engine) commit(b *pebble.Batch) (err error) {
	defer e.died(&err)
	return b.Commit(pebble.NoSync)
}

// sync makes durable what the log holds.
func (e *Engine) sync() (err error) {
	defer e.died(&err)
	return e.db.LogData(nil, pebble.Sync)
}

func (e *Engine) remove(key []byte) (err error) {
	defer e.died(&err)
	return e.db.Delete(key, pebble.NoSync)
}
