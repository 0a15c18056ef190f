package torture

import (
	"os"
	"time"
)

// pause does nothing, because Windows has no signal that stops a process.
func pause(*os.Process, time.Duration, time.Duration) {}
