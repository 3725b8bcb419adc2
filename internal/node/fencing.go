package node

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/scylla"
)

// adoptFencing takes over what the keyspace has, if that is what was asked for. A keyspace that no node has ever served is given
// what was asked for, by whoever may create it.
func (n *Node) adoptFencing(ctx context.Context, e *scylla.Engine) error {
	if want := storage.Fencing(n.cfg.Fencing); want != "" && (n.cfg.CQLMigrate || n.cfg.Dev) {
		idle := func(ctx context.Context) error { return unserved(ctx, e) }
		err := idle(ctx) // before anybody is kept from starting
		if err == nil {
			err = storage.ChangeFencing(ctx, e, want, idle)
		}
		if err != nil && !errors.Is(err, errServed) {
			return err
		}
	}
	state, err := storage.ReadFencing(ctx, e)
	if err != nil {
		return err
	}
	n.strict = state.Mode == storage.FencingStrict
	e.RaiseClock(state.Clock)
	return n.checkFencing(ctx, e)
}

// checkFencing reports whether the keyspace has the fencing that this node goes by.
func (n *Node) checkFencing(ctx context.Context, e storage.Engine) error {
	state, err := storage.ReadFencing(ctx, e)
	if err != nil {
		return err
	}
	want := storage.Fencing(n.cfg.Fencing)
	if want == "" {
		want = storage.FencingLease
		if n.strict {
			want = storage.FencingStrict
		}
	}
	how := fmt.Sprintf(`to change it stop all nodes and run "hub migrate --fencing %s" with the settings of the store`, want)
	switch {
	case state.Changing:
		return fmt.Errorf("%w: it is being changed to %s, or somebody gave up doing so; when nobody is at it, run \"hub migrate --fencing %[2]s\"",
			storage.ErrFencing, state.Mode)
	case state.Mode != want:
		return fmt.Errorf("%w: it is %s, this node wants %s; leave --fencing out to go by the keyspace; %s", storage.ErrFencing, state.Mode, want, how)
	}
	return nil
}

// errServed reports a keyspace that nodes run on, or have run on.
var errServed = errors.New("nodes have served the keyspace")

func unserved(ctx context.Context, e storage.Engine) error {
	st := storage.New(e, storage.Config{})
	leases, err := st.NodeLeases(ctx)
	if err != nil {
		return err
	}
	owners, err := st.ShardOwners(ctx)
	if err != nil {
		return err
	}
	for _, o := range owners {
		if o.Epoch > 0 {
			return errServed
		}
	}
	if len(leases) > 0 {
		return errServed
	}
	return nil
}

// migrateFencing changes the fencing of a keyspace that no node runs on.
func migrateFencing(ctx context.Context, cfg scylla.Config, to storage.Fencing, dryRun bool, log io.Writer) error {
	if log == nil {
		log = io.Discard
	}
	e, err := scylla.Open(ctx, cfg)
	if err != nil {
		if dryRun && errors.Is(err, storage.ErrSchema) {
			fmt.Fprintf(log, "-- then the fencing becomes %s\n", to)
			return nil
		}
		return err
	}
	state, err := storage.ReadFencing(ctx, e)
	if err != nil || state.Mode == to && !state.Changing {
		return errors.Join(err, e.Close())
	}
	fmt.Fprintf(log, "-- then the fencing becomes %s, it is %s\n", to, state.Mode)
	if !dryRun {
		err = storage.ChangeFencing(ctx, e, to, func(ctx context.Context) error { return alone(ctx, storage.New(e, storage.Config{})) })
	}
	return errors.Join(err, e.Close())
}
