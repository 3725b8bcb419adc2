// Package tenancytest has a store of tenants in memory, for tests of what is built on package tenancy.
package tenancytest
