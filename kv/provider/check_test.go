package provider

import (
	"strings"
	"testing"
	"time"
)

func TestClock(t *testing.T) {
	t.Parallel()
	begun := time.Date(2027, 1, 31, 12, 0, 0, 500e6, time.UTC)
	for _, c := range []struct {
		there time.Time // the time in the header, in whole seconds
		took  time.Duration
		want  Status
		says  string
	}{
		{begun.Truncate(time.Second), 0, OK, "agrees"},
		{begun.Truncate(time.Second).Add(time.Second), 600 * time.Millisecond, OK, "agrees"},
		{begun.Truncate(time.Second).Add(-time.Second), 0, OK, "500ms ahead of"},
		{begun.Truncate(time.Second).Add(-4 * time.Second), 0, Warn, "3.5s ahead of"},
		{begun.Truncate(time.Second).Add(4 * time.Second), 100 * time.Millisecond, Warn, "3.4s behind"},
		{begun.Add(-time.Hour), 0, Fail, "ahead of"},
		{begun.Add(time.Hour), time.Second, Fail, "behind"},
	} {
		got := clock(c.there, begun, c.took)
		if got.Status != c.want || !strings.Contains(got.Detail, c.says) || (got.Status == OK) != (got.Fix == "") {
			t.Errorf("a service at %s, this host at %s, after %s: %+v; want %s and %q", c.there, begun, c.took, got, c.want, c.says)
		}
	}
}
