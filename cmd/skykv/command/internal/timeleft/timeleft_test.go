package timeleft

import (
	"testing"
	"time"
)

func TestString(t *testing.T) {
	t.Parallel()
	now := time.Date(2027, 1, 31, 12, 0, 0, 0, time.UTC)
	for left, want := range map[time.Duration]string{
		-time.Second: "expired", 0: "expired", 10*time.Second + 500*time.Millisecond: "10 s left", 90 * time.Second: "1 min 30 s left",
		3*time.Hour + 5*time.Minute: "3 h 5 min left", 50 * time.Hour: "2 d 2 h left",
	} {
		if got := String(now, now.Add(left)); got != want {
			t.Errorf("%s is shown as %q, want %q", left, got, want)
		}
	}
	if got := String(now, time.Date(2427, 1, 31, 12, 0, 0, 0, time.UTC)); got != "146097 d 0 h left" {
		t.Errorf("400 years are shown as %q", got)
	}
}
