//go:build unix

package torture

import (
	"os"
	"syscall"
	"time"
)

// pause stops a process after some time, and resumes it later.
func pause(p *os.Process, after, lasts time.Duration) {
	time.Sleep(after)
	_ = p.Signal(syscall.SIGSTOP) // it may have ended
	time.Sleep(lasts)
	_ = p.Signal(syscall.SIGCONT)
}
