package storage

import "time"

const (
	// AuditTTL is how long an entry of the audit log is kept.
	AuditTTL = 400 * 24 * time.Hour
	// RestrictionSlots is how many partitions TableRestrictions has.
	RestrictionSlots = 16
	// UploadsTTL is how long the uploads of a tenant's day are known.
	UploadsTTL = 40 * 24 * time.Hour
)

// Columns of TableTenants.
const (
	tenantVersion = iota
	tenantName
	tenantState
	tenantReason
	tenantSettings
	tenantLimits
	tenantCreatedAt
	tenantUpdatedAt
	tenantErasure // JSON; of a tenant that is being erased
	tenantColumns
)

// Columns of TableKeys.
const (
	keyVersion = iota
	keyTenant
	keyName
	keyScopes
	keyHash
	keyOld
	keyOldUntil
	keyCreatedBy
	keyCreatedAt
	keyExpiresAt
	keyRevokedAt
	keyUsedAt
	keyColumns
)

// Columns of TableRestrictions.
const (
	restrictionSuspended = iota
	restrictionSuspendedAt
	restrictionReason
	restrictionBefore
	restrictionUntil
	restrictionColumns
)

// Kinds of TableRestrictions.
const (
	restrictsUser  = 1
	restrictsToken = 2
)

// Columns of TableAudit.
const (
	auditAt = iota
	auditActorKind
	auditActor
	auditAction
	auditObjects // JSON list
	auditAddress
	auditOutcome
	auditColumns
)

var (
	// TableTenants holds the tenants that were created, all in the partition of slot 0: every node reads them at its
	// start. Rows are written by compare-and-set alone and never deleted: an id is not given twice.
	TableTenants = &Table{
		ID: 31, Name: "tenants",
		Partition:  []Column{{Name: "slot", Kind: Int}},
		Clustering: []Column{{Name: "tenant", Kind: Text}},
		Columns: []Column{
			tenantVersion: {Name: "version", Kind: Int}, tenantName: {Name: "name", Kind: Text}, tenantState: {Name: "state", Kind: Int},
			tenantReason: {Name: "reason", Kind: Text}, tenantSettings: {Name: "settings", Kind: Text},
			tenantLimits: {Name: "limits", Kind: Text}, tenantCreatedAt: {Name: "created_at", Kind: Time},
			tenantUpdatedAt: {Name: "updated_at", Kind: Time}, tenantErasure: {Name: "erasure", Kind: Text},
		},
	}
	// TableKeys holds API keys by their id. Rows are written by compare-and-set alone.
	TableKeys = &Table{
		ID: 32, Name: "api_keys",
		Partition: []Column{{Name: "id", Kind: Text}},
		Columns: []Column{
			keyVersion: {Name: "version", Kind: Int}, keyTenant: {Name: "tenant", Kind: Text}, keyName: {Name: "name", Kind: Text},
			keyScopes: {Name: "scopes", Kind: Text}, keyHash: {Name: "hash", Kind: Blob}, keyOld: {Name: "old_hash", Kind: Blob},
			keyOldUntil: {Name: "old_until", Kind: Time}, keyCreatedBy: {Name: "created_by", Kind: Text},
			keyCreatedAt: {Name: "created_at", Kind: Time}, keyExpiresAt: {Name: "expires_at", Kind: Time},
			keyRevokedAt: {Name: "revoked_at", Kind: Time}, keyUsedAt: {Name: "used_at", Kind: Time},
		},
	}
	// TableTenantKeys finds the keys of a tenant. A row is written before its key: it may name one that is not there.
	TableTenantKeys = &Table{
		ID: 33, Name: "tenant_keys",
		Partition:  []Column{{Name: "tenant", Kind: Text}},
		Clustering: []Column{{Name: "id", Kind: Text}},
	}
	// TableRestrictions holds who is kept out: suspended users, and tokens that are refused before they expire. Rows are
	// written by compare-and-set alone. Those of tokens that have long expired are deleted; those of users stay, also when
	// they restrict nobody any more.
	TableRestrictions = &Table{
		ID: 34, Name: "restrictions",
		Partition:  []Column{{Name: "slot", Kind: Int}},
		Clustering: []Column{{Name: "tenant", Kind: Text}, {Name: "kind", Kind: Int}, {Name: "name", Kind: Text}},
		Columns: []Column{
			restrictionSuspended: {Name: "suspended", Kind: Bool}, restrictionSuspendedAt: {Name: "suspended_at", Kind: Time},
			restrictionReason: {Name: "reason", Kind: Text}, restrictionBefore: {Name: "revoked_before", Kind: Time},
			restrictionUntil: {Name: "until", Kind: Time},
		},
	}
	// TableAudit holds the audit log, a partition for each tenant and day (of UTC, since 1970), and one with the days.
	TableAudit = &Table{
		ID: 35, Name: "audit", TTL: AuditTTL,
		Partition:  []Column{{Name: "tenant", Kind: Text}, {Name: "day", Kind: Int}},
		Clustering: []Column{{Name: "id", Kind: Blob}},
		Columns: []Column{
			auditAt: {Name: "at", Kind: Time}, auditActorKind: {Name: "actor_kind", Kind: Text}, auditActor: {Name: "actor", Kind: Text},
			auditAction: {Name: "action", Kind: Text}, auditObjects: {Name: "objects", Kind: Text},
			auditAddress: {Name: "address", Kind: Text}, auditOutcome: {Name: "outcome", Kind: Text},
		},
	}
	// TableTenantUsers lists the users of a tenant. A row is written before its user: it may name one that is not there.
	TableTenantUsers = &Table{
		ID: 36, Name: "tenant_users",
		Partition:  []Column{{Name: "tenant", Kind: Text}, {Name: "slot", Kind: Int}},
		Clustering: []Column{{Name: "user", Kind: Text}},
	}
	// TableUploads holds what a tenant's users uploaded in a day, a row for each process that took something in: its one
	// writer.
	TableUploads = &Table{
		ID: 37, Name: "uploads", TTL: UploadsTTL,
		Partition:  []Column{{Name: "tenant", Kind: Text}, {Name: "day", Kind: Int}},
		Clustering: []Column{{Name: "process", Kind: Text}},
		Columns:    []Column{{Name: "bytes", Kind: Int}, {Name: "files", Kind: Int}},
	}
	// TableUserUploads holds what a user uploaded on the last day with an upload. Rows are written by compare-and-set
	// alone.
	TableUserUploads = &Table{
		ID: 38, Name: "user_uploads",
		Partition: []Column{{Name: "tenant", Kind: Text}, {Name: "user", Kind: Text}},
		Columns:   []Column{{Name: "day", Kind: Int}, {Name: "bytes", Kind: Int}, {Name: "files", Kind: Int}},
	}
	tenancyTables = []*Table{TableTenants, TableKeys, TableTenantKeys, TableRestrictions, TableAudit, TableTenantUsers, TableUploads,
		TableUserUploads}
)
