package torture

import "time"

// monotonic returns the time of a clock that all processes of the machine share, in
// nanoseconds.
func monotonic() int64 { return time.Now().UnixNano() }
