//go:build !reactor_portable

package reactor

type tlsState struct{}

func (r *reactor) startTLS(c *conn)                       {}
func (r *reactor) tlsReady(c *conn)                       {}
func (r *reactor) tlsDone(h Handle)                       {}
func (r *reactor) receiveTLS(c *conn) (int, bool, bool)   { return 0, false, false }
func (r *reactor) writeTLS(c *conn, b []byte) (int, bool) { return 0, false }
func (r *reactor) flushTLS(c *conn)                       {}
func (r *reactor) closeNotify(c *conn)                    {}
func (r *reactor) freeTLSState(c *conn)                   {}
func (r *reactor) handOverTLS(c *conn, data []byte)       {}
