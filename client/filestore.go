package client

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// FileStore is a Store in one file: a log of JSON lines that is rewritten when most of it is history. A send
// is synced to disk before Put returns. A torn last line, left by a crash, is dropped: it was never promised.
// One process at a time may open a file.
type FileStore struct {
	path string

	mu      sync.Mutex
	f       *os.File
	size    int64 // of the complete lines
	state   *MemoryStore
	records int   // lines in the file
	failed  error // a write failed and what the file holds is not known
}

// compactAfter is the number of lines below which a file is never rewritten.
const compactAfter = 1024

type fileRecord struct {
	Put      *Pending `json:"put,omitempty"`
	Remove   string   `json:"remove,omitempty"`
	Position string   `json:"position,omitempty"`
	Seq      uint64   `json:"seq,omitempty"` // 0: the position is deleted
}

// OpenFileStore opens or creates the file, readable by its owner alone since it holds unsent messages.
func OpenFileStore(path string) (*FileStore, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the outbox: %w", err)
	}
	s := &FileStore{path: path, f: f, state: NewMemoryStore()}
	if err := s.recover(); err != nil {
		return nil, errors.Join(fmt.Errorf("read the outbox %s: %w", path, err), f.Close())
	}
	return s, nil
}

func lock(f *os.File) error {
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("in use by another process: %w", err)
	}
	return nil
}

func (s *FileStore) recover() error {
	if err := lock(s.f); err != nil {
		return err
	}
	r := bufio.NewReader(s.f)
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break // what stands behind the last newline is torn
		}
		if err != nil {
			return err
		}
		var rec fileRecord
		if err := json.Unmarshal(line, &rec); err != nil {
			return fmt.Errorf("line %d: %w", s.records+1, err)
		}
		s.apply(rec)
		s.records++
		s.size += int64(len(line))
	}
	if err := s.f.Truncate(s.size); err != nil {
		return err
	}
	_, err := s.f.Seek(s.size, io.SeekStart)
	return err
}

func (s *FileStore) apply(r fileRecord) {
	switch {
	case r.Put != nil:
		_ = s.state.Put(*r.Put)
	case r.Remove != "":
		_ = s.state.Remove(r.Remove)
	case r.Seq == 0:
		_ = s.state.DeletePosition(r.Position)
	default:
		_ = s.state.SetPosition(r.Position, r.Seq)
	}
}

func (s *FileStore) append(r fileRecord, durable bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return s.failed
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	b = append(b, '\n')
	if _, err := s.f.Write(b); err != nil {
		// Part of a line may be there: cut it off, or the next one would be glued to it.
		if terr := s.f.Truncate(s.size); terr != nil {
			s.failed = fmt.Errorf("outbox file is unusable: %w", errors.Join(err, terr))
		} else if _, serr := s.f.Seek(s.size, io.SeekStart); serr != nil {
			s.failed = fmt.Errorf("outbox file is unusable: %w", errors.Join(err, serr))
		}
		return fmt.Errorf("write the outbox: %w", err)
	}
	if durable {
		if err := s.f.Sync(); err != nil {
			// After a failed fsync the page cache cannot be trusted (Rebello et al., ATC 2020): no retry.
			s.failed = fmt.Errorf("sync the outbox: %w", err)
			return s.failed
		}
	}
	s.size += int64(len(b))
	s.records++
	s.apply(r)
	live := len(s.state.s.Positions) + len(s.state.s.Outbox)
	if s.records > compactAfter && s.records > 4*live {
		if err := s.compact(); err != nil {
			return fmt.Errorf("rewrite the outbox: %w", err)
		}
	}
	return nil
}

// compact writes the present state to a new file and puts it in the place of the old one.
func (s *FileStore) compact() error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	n := 0
	for id, seq := range s.state.s.Positions {
		n++
		if err := enc.Encode(fileRecord{Position: id, Seq: seq}); err != nil {
			return err
		}
	}
	for _, p := range s.state.s.Outbox {
		n++
		if err := enc.Encode(fileRecord{Put: &p}); err != nil {
			return err
		}
	}
	tmp := s.path + ".new"
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	size := int64(buf.Len())
	err = lock(f)
	if err == nil {
		_, err = f.Write(buf.Bytes())
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(tmp, s.path)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	old := s.f
	s.f, s.size, s.records = f, size, n
	err = old.Close()
	dir, derr := os.Open(filepath.Dir(s.path))
	if derr != nil {
		return errors.Join(err, derr)
	}
	return errors.Join(err, dir.Sync(), dir.Close())
}

// Load implements Store.
func (s *FileStore) Load() (Snapshot, error) { return s.state.Load() }

// SetPosition implements Store. The position becomes durable with the next Put, or when the system writes it.
func (s *FileStore) SetPosition(conversation string, seq uint64) error {
	return s.append(fileRecord{Position: conversation, Seq: seq}, false)
}

// DeletePosition implements Store.
func (s *FileStore) DeletePosition(conversation string) error {
	return s.append(fileRecord{Position: conversation}, false)
}

// Put implements Store.
func (s *FileStore) Put(p Pending) error { return s.append(fileRecord{Put: &p}, true) }

// Remove implements Store.
func (s *FileStore) Remove(clientID string) error {
	return s.append(fileRecord{Remove: clientID}, false)
}

// Close syncs and closes the file.
func (s *FileStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = os.ErrClosed
	}
	return errors.Join(s.f.Sync(), s.f.Close())
}
