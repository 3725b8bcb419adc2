package cassandra

import (
	"os/exec"
	"runtime"
	"syscall"
)

// startWithParent starts cmd so that the kernel kills it when this process ends, however it ends, and closes exited
// when it has ended. The kernel goes by the thread that forked, so that thread is kept until then.
func startWithParent(cmd *exec.Cmd, exited chan struct{}) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(exited)
		}
	}()
	return <-started
}
