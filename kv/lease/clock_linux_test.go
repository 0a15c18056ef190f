package lease

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestThroughSuspension(t *testing.T) {
	t.Parallel()
	read := func() time.Duration {
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
			t.Fatal(err)
		}
		return time.Duration(now.Nano())
	}
	before := read()
	got := throughSuspension()
	if after := read(); got < before || got > after {
		t.Errorf("rule: the clock of a holder is CLOCK_BOOTTIME; it reads %s, want %s to %s", got, before, after)
	}
}
