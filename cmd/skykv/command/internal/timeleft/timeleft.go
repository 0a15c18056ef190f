// Package timeleft says in words when an entry will expire.
package timeleft

import (
	"fmt"
	"time"
)

// String says how much time is left at the instant now until expires, in at most two units: "29 min
// 3 s left".
func String(now, expires time.Time) string {
	ms := expires.UnixMilli() - now.UnixMilli() // not a time.Duration, which ends at 292 years
	s := ms / 1000
	minutes, h := s/60, s/3600
	switch {
	case ms <= 0:
		return "expired"
	case minutes == 0:
		return fmt.Sprintf("%d s left", s)
	case h == 0:
		return fmt.Sprintf("%d min %d s left", minutes, s%60)
	case h < 24:
		return fmt.Sprintf("%d h %d min left", h, minutes%60)
	}
	return fmt.Sprintf("%d d %d h left", h/24, h%24)
}
