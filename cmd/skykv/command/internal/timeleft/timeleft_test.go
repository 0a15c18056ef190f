package timeleft

import (
	"testing"
	"time"
)

func TestString(t *testing.T) {
	t.Parallel()
	for left, want := range map[time.Duration]string{
		-time.Second: "expired", 0: "expired", 10*time.Second + 500*time.Millisecond: "10 s left", 90 * time.Second: "1 min 30 s left",
		3*time.Hour + 5*time.Minute: "3 h 5 min left", 50 * time.Hour: "2 d 2 h left",
	} {
		if got := String(left); got != want {
			t.Errorf("%s is shown as %q, want %q", left, got, want)
		}
	}
}
