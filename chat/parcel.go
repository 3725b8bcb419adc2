package chat

// Parcel is what the directories of two nodes send one another. Parcels are immutable; those from one node to another
// are handled in the order in which they were sent.
type Parcel interface {
	// Name is the parcel's name in metrics and logs.
	Name() string
}

type (
	// ToHome takes a delivery to the node that owns the directory shards in Shards. It is for those of the recipients
	// whose shards these are. Recipients without users name the set that was sent before with the same conversation and
	// version: a receiver that has it no more refuses (ErrUnknownSet).
	ToHome struct {
		Delivery *Delivery
		Shards   *ShardSet
	}
	// ToEdge takes a delivery from the owner of directory shards to a node with sessions of such users. As ToHome.
	ToEdge struct {
		Delivery *Delivery
		Shards   *ShardSet
	}
	// Enrol tells the owner of a directory shard of users that came to the sender, whose first session opened there, or
	// left it. With All, Came is everybody of the shard who is there, and whoever was there before has left; Open says
	// that some of them have sessions that opened before: who cannot tell whether the sender missed deliveries refuses
	// (ErrNotFound), and these sessions have to come back and resume.
	Enrol struct {
		Shard      int
		Came, Left []UserKey
		All        bool
		Open       bool
	}
	// Digests tells the owner of directory shards what the sender has enrolled there. It answers with Recount.
	Digests struct{ List []ShardDigest }
	// Recount asks a node to enrol all its users of these shards again. Missed says that deliveries to them got lost that
	// nobody remembers: their sessions have to come back and resume.
	Recount struct {
		Shards *ShardSet
		Missed bool
	}
	// Charges tells what users spent of their rate limit elsewhere.
	Charges struct{ List []Charge }
)

func (ToHome) Name() string  { return "to_home" }
func (ToEdge) Name() string  { return "to_edge" }
func (Enrol) Name() string   { return "enrol" }
func (Digests) Name() string { return "digests" }
func (Recount) Name() string { return "recount" }
func (Charges) Name() string { return "charges" }

// ShardDigest is what a node has enrolled of a directory shard: how many users, and the exclusive or of their hashes.
type ShardDigest struct {
	Shard int
	Users int
	Sum   uint64
}

// Charge is what one user spent of the rate limit, in commands.
type Charge struct {
	User   UserKey
	Amount float64
}
