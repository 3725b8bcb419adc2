package storage

import "time"

// TokenTTL is how long a refresh token stays on the list of those that are refused: longer than any lives.
const TokenTTL = 30 * 24 * time.Hour

// Columns of TablePairs: two sides of the same shape.
const (
	sideContactSince = iota
	sideFavorite
	sideBlockedAt
	sideRequest
	sideRequestState
	sideRequestAt
	sideDecidedAt
	sideQuiet
	sideColumns
)

const (
	pairVersion = iota
	pairLo
	pairHi      = pairLo + sideColumns
	pairColumns = pairHi + sideColumns
)

// Columns of TablePersonal.
const (
	personalHideReceipts = iota
	personalInvisible
	personalLastSeen
	personalColumns
)

// Directions of TableRequests.
const (
	requestSent     = 1
	requestReceived = 2
)

var (
	// TablePairs holds what is between two users: the truth that the lists below are derived from. One row per pair,
	// written by its single owner.
	TablePairs = &Table{
		ID: 11, Name: "pairs",
		Partition: []Column{{Name: "tenant", Kind: Text}, {Name: "lo", Kind: Text}, {Name: "hi", Kind: Text}},
		Columns: []Column{
			pairVersion:               {Name: "version", Kind: Int},
			pairLo + sideContactSince: {Name: "lo_contact_since", Kind: Time},
			pairLo + sideFavorite:     {Name: "lo_favorite", Kind: Bool},
			pairLo + sideBlockedAt:    {Name: "lo_blocked_at", Kind: Time},
			pairLo + sideRequest:      {Name: "lo_request", Kind: Blob},
			pairLo + sideRequestState: {Name: "lo_request_state", Kind: Int},
			pairLo + sideRequestAt:    {Name: "lo_request_at", Kind: Time},
			pairLo + sideDecidedAt:    {Name: "lo_decided_at", Kind: Time},
			pairLo + sideQuiet:        {Name: "lo_quiet", Kind: Bool},
			pairHi + sideContactSince: {Name: "hi_contact_since", Kind: Time},
			pairHi + sideFavorite:     {Name: "hi_favorite", Kind: Bool},
			pairHi + sideBlockedAt:    {Name: "hi_blocked_at", Kind: Time},
			pairHi + sideRequest:      {Name: "hi_request", Kind: Blob},
			pairHi + sideRequestState: {Name: "hi_request_state", Kind: Int},
			pairHi + sideRequestAt:    {Name: "hi_request_at", Kind: Time},
			pairHi + sideDecidedAt:    {Name: "hi_decided_at", Kind: Time},
			pairHi + sideQuiet:        {Name: "hi_quiet", Kind: Bool},
		},
	}
	// TableUnsettled names pairs whose lists, or whose conversation, may not show the newest change yet.
	TableUnsettled = &Table{
		ID: 12, Name: "unsettled_pairs",
		Partition:  []Column{{Name: "shard", Kind: Int}},
		Clustering: []Column{{Name: "tenant", Kind: Text}, {Name: "lo", Kind: Text}, {Name: "hi", Kind: Text}},
	}
	// TableContacts is a user's list of contacts.
	TableContacts = &Table{
		ID: 13, Name: "contacts",
		Partition:  []Column{{Name: "tenant", Kind: Text}, {Name: "user", Kind: Text}},
		Clustering: []Column{{Name: "contact", Kind: Text}},
		Columns:    []Column{{Name: "since", Kind: Time}, {Name: "favorite", Kind: Bool}},
	}
	// TableRequests is a user's list of friend requests, sent and received.
	TableRequests = &Table{
		ID: 14, Name: "friend_requests",
		Partition:  []Column{{Name: "tenant", Kind: Text}, {Name: "user", Kind: Text}},
		Clustering: []Column{{Name: "direction", Kind: Int}, {Name: "other", Kind: Text}},
		Columns: []Column{{Name: "id", Kind: Blob}, {Name: "state", Kind: Int}, {Name: "created_at", Kind: Time},
			{Name: "decided_at", Kind: Time}, {Name: "quiet", Kind: Bool}},
	}
	// TableBlocks is a user's list of blocked users.
	TableBlocks = &Table{
		ID: 15, Name: "blocks",
		Partition:  []Column{{Name: "tenant", Kind: Text}, {Name: "user", Kind: Text}},
		Clustering: []Column{{Name: "blocked", Kind: Text}},
		Columns:    []Column{{Name: "at", Kind: Time}},
	}
	// TablePersonal holds what a user set, which the user's single owner writes, and when the user was last known to
	// be connected, which others write: each writes its own columns.
	TablePersonal = &Table{
		ID: 16, Name: "personal",
		Partition: []Column{{Name: "tenant", Kind: Text}, {Name: "user", Kind: Text}},
		Columns: []Column{
			personalHideReceipts: {Name: "hide_receipts", Kind: Bool}, personalInvisible: {Name: "invisible", Kind: Bool},
			personalLastSeen: {Name: "last_seen", Kind: Time},
		},
	}
	// TableTokens holds refresh tokens that are refused before they expire: used up or revoked. Rows are made by
	// compare-and-set alone and never changed.
	TableTokens = &Table{
		ID: 17, Name: "refused_tokens", TTL: TokenTTL,
		Partition: []Column{{Name: "tenant", Kind: Text}, {Name: "token", Kind: Text}},
		Columns:   []Column{{Name: "at", Kind: Time}},
	}
	// TableEmails finds users by address. Rows may be stale: who reads one compares it with the user's own.
	TableEmails = &Table{
		ID: 18, Name: "emails",
		Partition:  []Column{{Name: "tenant", Kind: Text}, {Name: "email", Kind: Text}},
		Clustering: []Column{{Name: "user", Kind: Text}},
	}
	peopleTables = []*Table{TablePairs, TableUnsettled, TableContacts, TableRequests, TableBlocks, TablePersonal,
		TableTokens, TableEmails}
)
