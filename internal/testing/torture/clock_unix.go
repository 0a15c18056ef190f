//go:build unix

package torture

import "golang.org/x/sys/unix"

// monotonic reads the clock that all processes of the machine share and that nobody can set
// (CLOCK_MONOTONIC), in nanoseconds.
func monotonic() int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(err)
	}
	return now.Nano()
}
