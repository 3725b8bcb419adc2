// Package conformancetest replays the conformance pack, the JSON vectors of docs/conformance, against a hub over HTTP and
// WebSocket: Load reads the vectors, Run replays one, Coverage says which frames, error codes, close codes and responses
// they cover. The format is described in docs/conformance/README.md, which is all that a runner in another language needs;
// this one is a black box, too, and knows of the hub only what that text says.
//
// Its tests start the real binary and replay every vector (TestReq173_Vectors), and hold the pack to what the hub knows
// (TestReq173_EveryFrameAndRouteHasAVector).
//
//	go test ./internal/conformancetest -run TestReq173_Vectors/rest/contacts -record
//
// fills in what came for the steps of a vector that do not say yet what they expect, and puts the file into the layout of
// the others: read what it wrote before you commit it.
package conformancetest
