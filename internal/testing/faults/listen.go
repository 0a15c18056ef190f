package faults

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"syscall"
)

// listen listens at addr or, if addr is empty, at a port of 127.0.0.1 outside
// the range from which systems assign ports, so that no program takes it while
// the proxy is down.
func listen(addr string) (net.Listener, error) {
	if addr != "" {
		return net.Listen("tcp", addr)
	}
	for {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000)))
		if !errors.Is(err, syscall.EADDRINUSE) {
			return listener, err
		}
	}
}
