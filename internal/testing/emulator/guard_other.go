//go:build !unix

package emulator

import (
	"os"
	"os/exec"
)

// stopPatience is 0 because there is no guard here that could end the program.
const stopPatience = 0

// guardedCommand returns the command that runs args in a new folder, without a guard.
func guardedCommand(args ...string) (cmd *exec.Cmd, folder string, err error) {
	folder, err = os.MkdirTemp("", "skykv-emulator-")
	if err != nil {
		return nil, "", err
	}
	cmd = exec.Command(args[0], args[1:]...)
	cmd.Dir = folder
	return cmd, folder, nil
}

func kill(cmd *exec.Cmd) { _ = cmd.Process.Kill() }
