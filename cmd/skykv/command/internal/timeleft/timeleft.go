// Package timeleft says in words when an entry will expire.
package timeleft

import (
	"fmt"
	"time"
)

// String says how much time is left, in at most two units: "29 min 3 s left".
func String(left time.Duration) string {
	switch {
	case left <= 0:
		return "expired"
	case left < time.Minute:
		return fmt.Sprintf("%d s left", int(left.Seconds()))
	case left < time.Hour:
		return fmt.Sprintf("%d min %d s left", int(left.Minutes()), int(left.Seconds())%60)
	case left < 24*time.Hour:
		return fmt.Sprintf("%d h %d min left", int(left.Hours()), int(left.Minutes())%60)
	}
	return fmt.Sprintf("%d d %d h left", int(left.Hours())/24, int(left.Hours())%24)
}
