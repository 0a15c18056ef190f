package torture

import "time"

// monotonic reads the clock that all processes of the machine share, in nanoseconds.
func monotonic() int64 { return time.Now().UnixNano() }
