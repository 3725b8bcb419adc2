// Command requirements holds docs/requirements.md against the tests: those that prove a requirement carry its number in
// their name, as TestReq047_… does.
//
//	go run ./internal/requirements [-run]
//
// What is promised about speed is a benchmark, which CI runs without judging the time. The command prints every requirement with its tests, with -run after running them (those that need a server are skipped where
// there is none, and say so), and fails if a number that must have a test has none, or one failed. The package's test
// fails for a number without one, too. It must not know what any requirement says.
package main
