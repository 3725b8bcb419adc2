// Package vclient holds many WebSocket client connections on one thread: epoll, no goroutine and no buffer for a connection that
// has nothing to say. It is the load harness's side of RFC 6455, without extensions and without TLS: what a generator costs must not be
// what limits a run.
//
// A Loop belongs to the goroutine that calls Run, or Step. It tells its Handler what happens, there; and whatever is asked of a
// connection is asked there, from a Handler's method, a timer, or a function given to Do, which alone may be called from elsewhere.
package vclient
