//go:build unix

package emulator

import (
	"os/exec"
	"syscall"
)

// stopPatience is how long the guard gets to do its work.
const stopPatience = killWithin

// guardedCommand runs args under the guard, in a process group of its own: what is sent to this program's group,
// as by Ctrl-C, would else end the guard before its work is done.
func guardedCommand(args ...string) *exec.Cmd {
	args = guarded(args...)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

func kill(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
