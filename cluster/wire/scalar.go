package wire

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/wire/internal/pb"
)

// next appends an element to a list of a pooled message, one that an earlier message left there if possible.
func next[T any](list *[]*T) *T {
	n := len(*list)
	if n < cap(*list) {
		*list = (*list)[:n+1]
		if (*list)[n] != nil {
			return (*list)[n]
		}
		(*list)[n] = new(T)
	} else {
		*list = append(*list, new(T))
	}
	return (*list)[n]
}

// listOf converts a list; that of nothing is nil.
func listOf[M, T any](list []*M, one func(*M) T) []T {
	if len(list) == 0 {
		return nil
	}
	out := make([]T, len(list))
	for i, m := range list {
		out[i] = one(m)
	}
	return out
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	m := t.UnixMicro()
	if m >= 0 {
		m++
	}
	return m
}

func instant(m int64) time.Time {
	if m == 0 {
		return time.Time{}
	}
	if m > 0 {
		m--
	}
	return time.UnixMicro(m).UTC()
}

func halves[ID ~[16]byte](id ID) (hi, lo uint64) {
	b := [16]byte(id)
	return binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
}

func whole[ID ~[16]byte](hi, lo uint64) ID {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], hi)
	binary.BigEndian.PutUint64(b[8:], lo)
	return ID(b)
}

func shardOf(n uint32) (int, error) {
	if n >= chat.Shards {
		return 0, fmt.Errorf("%w: there is no shard %d", ErrMalformed, n)
	}
	return int(n), nil
}

func putUsers(list []string, users []chat.UserID) []string {
	for _, u := range users {
		list = append(list, string(u))
	}
	return list
}

func usersOf(list []string) []chat.UserID {
	if len(list) == 0 {
		return nil
	}
	users := make([]chat.UserID, len(list))
	for i, s := range list {
		users[i] = chat.UserID(s)
	}
	return users
}

// few is up to how many shards a list of them is smaller than the bitmap.
const few = chat.Shards / 8 / 2

func putShards(s *chat.ShardSet) *pb.ShardSet {
	if s == nil {
		return nil
	}
	m := pb.ShardSetFromVTPool()
	n := 0
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	if n > few {
		m.Words = append(m.Words, s[:]...)
		return m
	}
	for i, w := range s {
		for ; w != 0; w &= w - 1 {
			m.Few = append(m.Few, uint32(i*64+bits.TrailingZeros64(w)))
		}
	}
	return m
}

func shards(m *pb.ShardSet) (*chat.ShardSet, error) {
	if m == nil {
		return nil, nil //nolint:nilnil // none was sent
	}
	var s chat.ShardSet
	if len(m.Words) > len(s) {
		return nil, fmt.Errorf("%w: %d words of shards", ErrMalformed, len(m.Words))
	}
	copy(s[:], m.Words)
	for _, n := range m.Few {
		shard, err := shardOf(n)
		if err != nil {
			return nil, err
		}
		s.Add(shard)
	}
	return &s, nil
}

func putSet(s *chat.MemberSet) *pb.MemberSet {
	if s == nil {
		return nil
	}
	m := pb.MemberSetFromVTPool()
	m.Version = s.Version
	n := 0
	for _, u := range s.Users {
		n += len(u)
		m.Lengths = append(m.Lengths, uint32(len(u)))
	}
	var b strings.Builder
	b.Grow(n)
	for _, u := range s.Users {
		b.WriteString(string(u))
	}
	m.Users = b.String()
	return m
}

func setOf(m *pb.MemberSet) (*chat.MemberSet, error) {
	if m == nil {
		return nil, nil //nolint:nilnil // none was sent
	}
	s := &chat.MemberSet{Version: m.Version}
	if len(m.Lengths) == 0 {
		return s, nil
	}
	rest := m.Users
	s.Users = make([]chat.UserID, len(m.Lengths))
	for i, n := range m.Lengths {
		if uint64(n) > uint64(len(rest)) {
			return nil, fmt.Errorf("%w: a set of members is cut off", ErrMalformed)
		}
		s.Users[i], rest = chat.UserID(rest[:n]), rest[n:]
	}
	return s, nil
}

// tenants writes and reads the tenants of a list, most of which has but one.
type tenants struct {
	last string
	any  bool
}

func (t *tenants) put(tenant chat.TenantID) (text string, same bool) {
	if t.any && t.last == string(tenant) {
		return "", true
	}
	t.last, t.any = string(tenant), true
	return t.last, false
}

func (t *tenants) of(text string, same bool) chat.TenantID {
	if !same {
		t.last = text
	}
	return chat.TenantID(t.last)
}

func putUserKey(m *pb.UserKey, k chat.UserKey, t *tenants) {
	m.Tenant, m.SameTenant = t.put(k.Tenant)
	m.User = string(k.User)
}

func userKey(m *pb.UserKey, t *tenants) chat.UserKey {
	return chat.UserKey{Tenant: t.of(m.GetTenant(), m.GetSameTenant()), User: chat.UserID(m.GetUser())}
}

func putUserKeys(list *[]*pb.UserKey, keys []chat.UserKey) {
	var t tenants
	for _, k := range keys {
		putUserKey(next(list), k, &t)
	}
}

func userKeys(list []*pb.UserKey) []chat.UserKey {
	var t tenants
	return listOf(list, func(m *pb.UserKey) chat.UserKey { return userKey(m, &t) })
}
