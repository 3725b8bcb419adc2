// Package tenancy keeps tenants, their limits and API keys, who is kept out, and the audit log.
//
// What decides whether somebody is let in (the state and limits of tenants, suspended users, revoked tokens) every node
// holds in memory, so that asking costs nothing and never waits: see Registry.Admit. The truth is in storage. A change is
// stored, then announced in one row of storage, which every node reads a few times a second (Config.Poll): so it holds on
// all nodes within a second, survives every restart, and needs no node to reach another. Nodes that missed too many
// announcements, and all of them every few minutes, read everything again.
//
// API keys are not held in memory: each use is a read of one row, so that a revoked key ends at once, everywhere.
package tenancy
