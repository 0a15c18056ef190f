package torture

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/skykv/skykv/internal/testing/faults"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/localkv"
)

// childPath, in the environment, makes this test binary a process with clients of the
// file that it names.
const childPath = "SKYKV_TORTURE_CHILD"

// order is what a child is told: to run its clients of one round.
type order struct {
	Workload           Workload
	Round, First, Last int

	// Start is the wall clock's reading at the start of the round: the one clock
	// that all processes have.
	Start time.Time
}

// report is what a child says at the end of a round.
type report struct {
	Calls  []Call
	Faults int // so far
}

// runChild reports whether this process was a child, which now has ended.
func runChild() bool {
	path := os.Getenv(childPath)
	if path == "" {
		return false
	}
	if err := obey(path, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

func obey(path string, orders io.Reader, reports io.Writer) error {
	opened, err := localkv.New(path, nil)
	if err != nil {
		return err
	}
	defer opened.Close()
	in := new(faults.Injector)
	store := opened.With(kv.Wrap(kv.Level1, faults.Driver(in, attempts)))
	decoder, encoder := json.NewDecoder(orders), json.NewEncoder(reports)
	if err := encoder.Encode(report{}); err != nil { // ready
		return err
	}
	for {
		var o order
		if err := decoder.Decode(&o); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		in.Use(faults.Seeded(o.Workload.Seed, Rates, 10))
		o.Workload.Injector = in
		calls := o.Workload.Run(context.Background(), o.Round, o.First, o.Last, monotonic(o.Start), store)
		if err := encoder.Encode(report{calls, in.Faults()}); err != nil {
			return err
		}
	}
}

// monotonic gives the moment of a wall clock's reading a little ago, as one that
// changes of the wall clock do not move. The time that a process lost its processor
// while it read its two clocks would shift all that it reports, against the others.
func monotonic(wall time.Time) time.Time {
	for {
		before := time.Now()
		now := time.Now()
		if time.Since(before) < 20*time.Microsecond {
			return now.Add(-time.Duration(now.UnixNano() - wall.UnixNano()))
		}
	}
}

// inProcesses starts processes, and gives the function that runs a round with a third
// of its clients in each of them and the rest here.
func inProcesses(t testing.TB, w *world, path string) func(*testing.T, Workload, int) *History {
	type child struct {
		*json.Encoder
		*json.Decoder
		faults int
	}
	const others = 2
	start := sync.OnceValue(func() []*child {
		var children []*child
		for range others {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), childPath+"="+path)
			cmd.Stderr = os.Stderr
			orders, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			reports, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				orders.Close()
				if err := cmd.Wait(); err != nil {
					t.Errorf("a process with clients: %v", err)
				}
			})
			children = append(children, &child{json.NewEncoder(orders), json.NewDecoder(bufio.NewReader(reports)), 0})
		}
		for _, c := range children { // the first round is to begin in all of them at once
			if err := c.Decode(new(report)); err != nil {
				t.Fatal(err)
			}
		}
		return children
	})
	return func(t *testing.T, workload Workload, round int) *History {
		children := start()
		wall := time.Now().Round(0)
		share := workload.Clients / (others + 1)
		for i, c := range children {
			o := order{Workload: workload, Round: round, First: i * share, Last: (i + 1) * share, Start: wall}
			o.Workload.Injector = nil
			if err := c.Encode(o); err != nil {
				t.Fatal(err)
			}
		}
		h := &History{Calls: workload.Run(t.Context(), round, others*share, workload.Clients, monotonic(wall), w.stores...)}
		w.faults = 0
		for _, c := range children {
			var r report
			if err := c.Decode(&r); err != nil {
				t.Fatal(err)
			}
			h.Calls = append(h.Calls, r.Calls...)
			c.faults = r.Faults
			w.faults += r.Faults
		}
		return h
	}
}
