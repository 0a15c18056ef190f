package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/skykv/skykv/conformance/emulator"
)

type emulators struct{ started []*emulator.Emulator }

func (es *emulators) works(context.Context) []work { return nil }

func (es *emulators) stop() {
	for _, e := range es.started {
		if err := e.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", errors.Join(err))
		}
	}
}
