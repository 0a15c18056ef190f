//go:build unix

package torture

import (
	"os"
	"syscall"
	"time"
)

// The function pause waits, stops the process, waits again, and resumes the process. The
// parameter after is the duration of the first wait, and the parameter lasts is the duration of
// the second.
func pause(p *os.Process, after, lasts time.Duration) {
	time.Sleep(after)
	_ = p.Signal(syscall.SIGSTOP) // fails if the process has ended
	time.Sleep(lasts)
	_ = p.Signal(syscall.SIGCONT)
}
