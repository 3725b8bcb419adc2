// Package nodews runs client.js, a test of a WebSocket echo server with npm ws: a client that shares no code
// with the hub. It exists for tests only.
//
// The package of npm is pinned by package-lock.json and installed into a directory below os.UserCacheDir, never
// into the source tree. It must not know what server it talks to. Run starts two processes in turn (npm, node)
// and waits for both.
package nodews
