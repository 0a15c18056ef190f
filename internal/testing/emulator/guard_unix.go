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

// stopPatience is how long the guard may take to end the program.
const stopPatience = killWithin

// guardedCommand returns the command that runs args in the guard script, and the folder that the script will
// create. The script has a process group of its own: a signal to this program's group, such as Ctrl-C, must not end
// the script before its work is done.
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
