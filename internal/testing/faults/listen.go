package faults

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"syscall"
)

// The function listen opens a listener at addr. If addr is empty, listen chooses a port of
// 127.0.0.1 outside the range from which systems assign ports. Other programs then hardly ever
// take the port while the proxy is down.
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
