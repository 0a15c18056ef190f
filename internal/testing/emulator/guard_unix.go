//go:build unix

package emulator

import (
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// stopPatience is how long the guard gets to do its work.
const stopPatience = killWithin

// guardedCommand runs args under the guard, which makes the folder, in a process group of its own: what is sent to this
// program's group, as by Ctrl-C, would else end the guard before its work is done.
func guardedCommand(args ...string) (cmd *exec.Cmd, folder string, err error) {
	folder, err = filepath.Abs(filepath.Join(os.TempDir(), "skykv-emulator-"+strings.ToLower(rand.Text())))
	if err != nil {
		return nil, "", err
	}
	args = guarded(args...)
	cmd = exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "SKYKV_EMULATOR_FOLDER="+folder)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd, folder, nil
}

func kill(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
