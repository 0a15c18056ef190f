package lease

import (
	"syscall"
	"time"
	"unsafe"
)

// bootTime is CLOCK_BOOTTIME: https://man7.org/linux/man-pages/man2/clock_gettime.2.html
const bootTime = 7

// throughSuspension reads a clock that counts the time in which the machine is suspended.
func throughSuspension() time.Duration {
	var now syscall.Timespec
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, bootTime, uintptr(unsafe.Pointer(&now)), 0)
	if errno != 0 { // a sandbox without it
		return wallClock()
	}
	return time.Duration(now.Nano())
}
