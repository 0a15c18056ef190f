//go:build unix

package torture

import (
	"os"
	"syscall"
	"time"
)

// pause stops a process after a while, and lets it go on after another one.
func pause(p *os.Process, after, lasts time.Duration) {
	time.Sleep(after)
	_ = p.Signal(syscall.SIGSTOP) // it may have ended
	time.Sleep(lasts)
	_ = p.Signal(syscall.SIGCONT)
}
