//go:build !linux

package cassandra

import "os/exec"

// startWithParent starts cmd and closes exited when it has ended.
func startWithParent(cmd *exec.Cmd, exited chan struct{}) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait(); close(exited) }()
	return nil
}
