package node

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/transport"
)

// collector exports what this node knows of the cluster.
func (c *clustering) collector() prometheus.Collector {
	type S struct {
		reached int
		status  ClusterStatus
	}
	m := &snapshot[S]{take: func() S { return S{c.reached(), c.status()} }}
	m.gauge("hub_cluster_lease_left_seconds", "For how long this node's lease still holds; 0: nothing is acknowledged.",
		func(s *S) float64 { return float64(s.status.LeaseLeft) / 1000 })
	m.gauge("hub_cluster_members", "Nodes that gossip says are there, this one included.", func(s *S) float64 { return float64(len(s.status.Members)) })
	m.gauge("hub_cluster_shards_unreached", "Shards whose owner is not known here, or cannot be asked.",
		func(s *S) float64 { return float64(chat.Shards - s.reached) })
	m.gauge("hub_cluster_shards_held", "Shards that this node serves.", func(*S) float64 { return float64(c.leases.Status().Held) })
	m.counter("hub_cluster_lease_renewals_total", "Renewals of this node's lease.", func(*S) float64 { return float64(c.leases.Stats().Renewals) })
	m.counter("hub_cluster_lease_failures_total", "Calls of the store about leases and shards that were not answered.",
		func(*S) float64 { return float64(c.leases.Stats().Failures) })
	m.counter("hub_cluster_shards_taken_total", "Shards that this node took.", func(*S) float64 { return float64(c.leases.Stats().Taken) })
	m.counter("hub_cluster_shards_released_total", "Shards that this node handed over.", func(*S) float64 { return float64(c.leases.Stats().Released) })
	m.counter("hub_cluster_shards_lost_total", "Shards that were taken from this node.", func(*S) float64 { return float64(c.leases.Stats().Lost) })
	m.counter("hub_cluster_declared_dead_total", "Nodes that this one declared dead.", func(*S) float64 { return float64(c.leases.Stats().DeclaredDead) })
	m.counter("hub_cluster_questions_local_total", "Attempts at questions answered by this node.", func(*S) float64 { return float64(c.router.Stats().Local) })
	m.counter("hub_cluster_questions_remote_total", "Attempts at questions made at other nodes.", func(*S) float64 { return float64(c.router.Stats().Remote) })
	m.counter("hub_cluster_questions_retried_total", "Attempts after the first of a question.", func(*S) float64 { return float64(c.router.Stats().Retried) })
	m.counter("hub_cluster_questions_failed_total", "Questions that nobody could be found to answer in time, or whose outcome is not known.",
		func(*S) float64 { return float64(c.router.Stats().GaveUp + c.router.Stats().Unknown) })
	m.gauge("hub_cluster_questions_waiting", "Questions that wait for an owner, or behind one that does.", func(*S) float64 { return float64(c.router.Stats().Waiting) })
	m.counter("hub_cluster_parcels_sent_total", "Deliveries and enrolments sent to other nodes.", func(*S) float64 { return float64(c.router.Stats().ParcelsSent) })
	m.counter("hub_cluster_parcels_received_total", "Deliveries and enrolments of other nodes.", func(*S) float64 { return float64(c.router.Stats().ParcelsReceived) })
	m.counter("hub_cluster_connections_refused_total", "Connections to --cluster-listen that came to nothing: of strangers, other versions, former lives.",
		func(*S) float64 { return float64(c.streamStats().Refused) })
	m.counter("hub_cluster_frames_unknown_total", "Frames of other nodes that this version does not know and skipped.", func(*S) float64 {
		var n uint64
		st := c.streamStats()
		for _, p := range st.Peers {
			n += p.Unknown
		}
		for _, in := range st.Inbound {
			n += in.Unknown
		}
		return float64(n)
	})
	d := c.node.hub.Stats
	m.gauge("hub_cluster_home_users", "Users whose home is here and who are connected anywhere.", func(*S) float64 { return float64(d().Home.Users) })
	m.gauge("hub_cluster_deliveries_under_way", "Deliveries that are not confirmed yet.", func(*S) float64 { return float64(d().Fanout.UnderWay) })
	m.gauge("hub_cluster_conversations_missed", "Conversations of which deliveries got lost and members have not been told yet.",
		func(*S) float64 { return float64(d().Fanout.Missed) })
	m.counter("hub_cluster_deliveries_lost_total", "Deliveries to a home that were lost or refused.", func(*S) float64 { return float64(d().Fanout.Lost) })
	m.counter("hub_cluster_head_notices_total", "Times that members were told how far a log reaches.", func(*S) float64 { return float64(d().Fanout.Heads) })
	return m
}

// streamStats is of the streams to other nodes; nothing for a node by itself.
func (c *clustering) streamStats() transport.Stats {
	if c.streams == nil {
		return transport.Stats{}
	}
	return c.streams.Stats()
}
