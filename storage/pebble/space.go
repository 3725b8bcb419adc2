package pebble

import (
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// space lets the store outlast a full disk. The floor (Config.MinFree) keeps ordinary writes away from it, but others
// fill disks too. Pebble takes a failed write of its log or its manifest for the end and has the process ended, so those
// writes are repeated until there is room: what was promised to nobody waits, reads go on. Tables are another matter: a
// flush or compaction that fails gives back what it took and is tried again, so its error goes through, after a pause.
// A failed sync is not repeated: whether the data is still there to be synced is not known after one.
type space struct {
	log     *slog.Logger
	patient atomic.Bool   // since Open; before, errors go through
	waiting atomic.Int32  // operations that are repeated
	refused atomic.Int64  // when there was no room last, in nanoseconds since the epoch
	halt    chan struct{} // closed when the engine is
	late    atomic.Int32  // attempts after that
}

// spaceMemory is how long nothing is accepted after an operation found no room: a flush that finds none holds up every
// write once the memtables are full.
const spaceMemory = time.Second

// full reports whether there is no room.
func (s *space) full() bool {
	last := s.refused.Load()
	return s.waiting.Load() > 0 || last != 0 && time.Now().UnixNano()-last < int64(spaceMemory)
}

// spaceRetry is the time between two attempts of a write for which there is no room.
const spaceRetry = 100 * time.Millisecond

func noSpace(err error) bool {
	return err != nil && (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT))
}

// failed reports whether err says that there is no room, and remembers it.
func (s *space) failed(err error) bool {
	if !noSpace(err) || !s.patient.Load() {
		return false
	}
	s.refused.Store(time.Now().UnixNano())
	return true
}

// spaceGrace is how many more attempts are made when the engine is being closed: a disk may be full for a moment only.
const spaceGrace = 20

// pause waits and reports false if it is time to give up.
func (s *space) pause() bool {
	t := time.NewTimer(spaceRetry)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.halt:
		<-t.C
		return s.late.Add(1) <= spaceGrace
	}
}

// outlast repeats an operation on a file that pebble cannot do without until it does not fail for want of room.
func (s *space) outlast(file string, op func() error) error {
	err := op()
	if !s.failed(err) {
		return err
	}
	s.log.Error("storage: the disk is full, waiting for space; nothing is accepted meanwhile", "file", file, "error", err)
	s.waiting.Add(1)
	defer s.waiting.Add(-1)
	for s.failed(err) && s.pause() {
		err = op()
	}
	if err == nil {
		s.log.Info("storage: there is space again", "file", file)
	}
	return err
}

// spaceFS is a file system on which space waits.
type spaceFS struct {
	vfs.FS
	*space
}

// Unwrap lets pebble find the file system below.
func (f spaceFS) Unwrap() vfs.FS { return f.FS }

// vital files are those whose failure is the end: logs, manifest, options and markers, whatever directory they are in.
func (f spaceFS) vital(name string) bool {
	return !strings.HasSuffix(name, ".sst") && !strings.HasSuffix(name, ".blob")
}

// attempt runs an operation that changes the directory.
func (f spaceFS) attempt(name string, op func() error) error {
	if f.vital(name) {
		return f.outlast(name, op)
	}
	err := op()
	if f.failed(err) {
		f.pause() // what failed is tried again at once
	}
	return err
}

func (f spaceFS) file(name string, open func() (vfs.File, error)) (vfs.File, error) {
	var file vfs.File
	err := f.attempt(name, func() (err error) {
		file, err = open()
		return err
	})
	if err != nil {
		return nil, err
	}
	return &spaceFile{File: file, fs: f, name: name}, nil
}

func (f spaceFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.file(name, func() (vfs.File, error) { return f.FS.Create(name, c) })
}

func (f spaceFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.file(newname, func() (vfs.File, error) { return f.FS.ReuseForWrite(oldname, newname, c) })
}

func (f spaceFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return f.file(name, func() (vfs.File, error) { return f.FS.OpenReadWrite(name, c, opts...) })
}

func (f spaceFS) Rename(oldname, newname string) error {
	return f.attempt(newname, func() error { return f.FS.Rename(oldname, newname) })
}

func (f spaceFS) Link(oldname, newname string) error {
	return f.attempt(newname, func() error { return f.FS.Link(oldname, newname) })
}

// spaceFile is a file of a spaceFS that is open for writing.
type spaceFile struct {
	vfs.File
	fs   spaceFS
	name string
}

// Write goes on where an attempt ended: one may have written a part.
func (f *spaceFile) Write(p []byte) (n int, err error) {
	err = f.fs.attempt(f.name, func() error {
		m, err := f.File.Write(p[n:])
		n += m
		return err
	})
	return n, err
}

func (f *spaceFile) WriteAt(p []byte, at int64) (n int, err error) {
	err = f.fs.attempt(f.name, func() error {
		m, err := f.File.WriteAt(p[n:], at+int64(n))
		n += m
		return err
	})
	return n, err
}
