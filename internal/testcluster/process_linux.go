package testcluster

import (
	"os/exec"
	"runtime"
	"syscall"
)

// startWithParent starts cmd, in the surroundings that inside makes, so that the kernel kills it when this process ends,
// however it ends; ended is told of the end. The kernel goes by the thread that forked, so that thread is kept until then.
func startWithParent(cmd *exec.Cmd, inside func(func() error) error, ended func(error)) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := inside(cmd.Start)
		started <- err
		if err == nil {
			ended(cmd.Wait())
		}
	}()
	return <-started
}
