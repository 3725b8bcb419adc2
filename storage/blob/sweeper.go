package blob

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

// SweeperConfig configures a Sweeper. Library is required.
type SweeperConfig struct {
	Library *Library
	// Grace is the age below which nothing is removed, blobs and unfinished uploads alike; default 24 hours. An
	// upload that takes longer than that is lost.
	Grace time.Duration
	// Interval between the end of a pass and the next, give or take a tenth so that nodes do not sweep in step;
	// default 6 hours.
	Interval time.Duration
	Observer Observer         // nil: none
	Now      func() time.Time // default time.Now
	Logger   *slog.Logger     // default: discard
}

// Observer is told of every pass of a sweeper. It must not block.
type Observer interface {
	Swept(p Pass)
}

// Pass is what a sweep saw and did.
type Pass struct {
	Blobs, Bytes               int64 // that there were, removed ones included
	RemovedBlobs, RemovedBytes int64
	Uploads                    int   // unfinished uploads removed
	Failed                     int64 // blobs that could not be looked at or removed: the next pass tries again
	Took                       time.Duration
	Err                        error // why the pass ended early, if it did
}

// Sweeper removes blobs that nothing refers to, and what unfinished uploads left behind.
type Sweeper struct{ cfg SweeperConfig }

// NewSweeper returns a sweeper, which does nothing until it is run.
func NewSweeper(cfg SweeperConfig) *Sweeper {
	if cfg.Grace <= 0 {
		cfg.Grace = 24 * time.Hour
	}
	if cfg.Interval <= 0 {
		cfg.Interval = 6 * time.Hour
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Sweeper{cfg}
}

// Run sweeps from time to time until ctx ends. The first pass comes after a tenth of the interval.
func (s *Sweeper) Run(ctx context.Context) {
	t := time.NewTimer(s.cfg.Interval / 10)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		s.Sweep(ctx)
		t.Reset(s.cfg.Interval - s.cfg.Interval/10 + rand.N(s.cfg.Interval/5+1))
	}
}

// Sweep makes one pass.
func (s *Sweeper) Sweep(ctx context.Context) Pass {
	start := s.cfg.Now()
	before := start.Add(-s.cfg.Grace)
	var p Pass
	var first error
	store := s.cfg.Library.store
	err := store.List(ctx, func(i Info) bool {
		p.Blobs++
		p.Bytes += i.Size
		if !i.Stored.Before(before) {
			return true
		}
		removed, err := s.cfg.Library.Sweep(ctx, i.Key)
		switch {
		case ctx.Err() != nil:
			return false
		case err != nil:
			p.Failed++
			if first == nil {
				first = fmt.Errorf("%s: %w", i.Key, err)
			}
		case removed:
			p.RemovedBlobs++
			p.RemovedBytes += i.Size
		}
		return true
	})
	uploads, cleanErr := store.Clean(ctx, before)
	p.Uploads, p.Took = uploads, s.cfg.Now().Sub(start)
	if p.Err = errors.Join(err, cleanErr, ctx.Err()); ctx.Err() == nil && (p.Err != nil || first != nil) {
		s.cfg.Logger.Warn("blobs: a sweep was not complete, the next one tries again", "failed", p.Failed,
			"error", errors.Join(p.Err, first))
	}
	s.cfg.Logger.Info("blobs: swept", "blobs", p.Blobs, "bytes", p.Bytes, "removed", p.RemovedBlobs,
		"removed_bytes", p.RemovedBytes, "unfinished_uploads", p.Uploads, "took", p.Took)
	if s.cfg.Observer != nil {
		s.cfg.Observer.Swept(p)
	}
	return p
}
