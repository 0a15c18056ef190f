//go:build !unix

package emulator

import "os/exec"

// stopPatience is none: nothing here watches the program's input.
const stopPatience = 0

func guardedCommand(args ...string) *exec.Cmd { return exec.Command(args[0], args[1:]...) }

func kill(cmd *exec.Cmd) { _ = cmd.Process.Kill() }
