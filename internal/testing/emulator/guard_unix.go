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

// stopPatience is the time for the guard to do its work.
const stopPatience = killWithin

// guardedCommand runs args under the guard, which creates the folder, in a separate process group. Otherwise a signal
// to this program's group, such as Ctrl-C, would end the guard before its work is done.
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
