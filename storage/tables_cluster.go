package storage

// A lightweight transaction gets in the way of others in its partition, so rows that are written at once by many are
// spread over some: a node that takes 341 shards finds 10 or 11 of them in each of 32 partitions, and writes one of
// each at a time. One partition would put all of them in one queue; one for each shard would make 1,024 reads of what is
// read several times a second while shards move, and 32 are read at once.
const (
	// LeaseSlots is how many partitions TableNodeLeases has.
	LeaseSlots = 8
	// OwnerSlots is how many partitions TableShardOwners has: shard modulo OwnerSlots.
	OwnerSlots = 32
)

// Columns of TableNodeLeases.
const (
	leaseName = iota
	leaseVersion
	leaseDuration
	leaseState
	leaseClock
	leaseColumns
)

// Columns of TableShardOwners.
const (
	ownerNode = iota
	ownerEpoch
	ownerReleased
	ownerHeir
	ownerClock
	ownerColumns
)

var (
	// TableNodeLeases says which lives of nodes are alive. Rows are written by compare-and-set alone, as long as they
	// are alive; ended ones are deleted later.
	TableNodeLeases = &Table{
		ID: 19, Name: "node_leases",
		Partition:  []Column{{Name: "slot", Kind: Int}},
		Clustering: []Column{{Name: "node", Kind: Int}},
		Columns: []Column{
			leaseName: {Name: "name", Kind: Text}, leaseVersion: {Name: "version", Kind: Int},
			leaseDuration: {Name: "duration", Kind: Int}, leaseState: {Name: "state", Kind: Int},
			leaseClock: {Name: "clock", Kind: Int},
		},
	}
	// TableShardOwners says which life of a node serves a shard, and under which epoch. Rows are written by
	// compare-and-set alone and never deleted: their epochs must not fall.
	TableShardOwners = &Table{
		ID: 20, Name: "shard_owners",
		Partition:  []Column{{Name: "slot", Kind: Int}},
		Clustering: []Column{{Name: "shard", Kind: Int}},
		Columns: []Column{
			ownerNode: {Name: "node", Kind: Int}, ownerEpoch: {Name: "epoch", Kind: Int},
			ownerReleased: {Name: "released", Kind: Bool}, ownerHeir: {Name: "heir", Kind: Int},
			ownerClock: {Name: "clock", Kind: Int},
		},
	}
	clusterTables = []*Table{TableNodeLeases, TableShardOwners}
)
