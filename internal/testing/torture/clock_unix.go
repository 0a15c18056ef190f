//go:build unix

package torture

import "golang.org/x/sys/unix"

// monotonic returns the time of CLOCK_MONOTONIC in nanoseconds. All processes of the
// machine share this clock, and nobody can set it.
func monotonic() int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(err)
	}
	return now.Nano()
}
