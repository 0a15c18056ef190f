package torture

import (
	"os"
	"time"
)

// pause does nothing: no signal stops a process there.
func pause(*os.Process, time.Duration, time.Duration) {}
