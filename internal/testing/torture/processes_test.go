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

// childPath is an environment variable that makes this test binary a child. Its value is the path of
// the file that the child's clients use, or the argument of another program in childPrograms.
const childPath = "SKYKV_TORTURE_CHILD"

// order tells a child to run some clients of one round: the clients with the numbers from First
// to Last-1.
type order struct {
	Workload           Workload
	Round, First, Last int

	// Start is the time of monotonic at which the round started.
	Start int64
}

// report is a child's answer at the end of a round.
type report struct {
	Calls  []Call
	Faults int // the faults in all rounds so far
}

// childPrograms has, by name, what a child process can run in place of its usual work. The
// environment variable childProgram has the name.
var childPrograms = map[string]func(path string) error{}

const childProgram = "SKYKV_TORTURE_PROGRAM"

// runChild returns false if this process is not a child. Otherwise it runs the child's
// program, and returns true when the program has ended.
func runChild() bool {
	path := os.Getenv(childPath)
	if path == "" {
		return false
	}
	program := childPrograms[os.Getenv(childProgram)]
	if program == nil {
		program = func(path string) error { return obey(path, os.Stdin, os.Stdout) }
	}
	if err := program(path); err != nil {
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
	if err := encoder.Encode(report{}); err != nil { // says that the child is ready
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
		calls := o.Workload.Run(context.Background(), o.Round, o.First, o.Last, o.Start, store)
		if err := encoder.Encode(report{calls, in.Faults()}); err != nil {
			return err
		}
	}
}

// inProcesses returns a function that runs a round with a third of its clients in each of
// two other processes, and the rest here. Its first call starts these processes.
func inProcesses(t testing.TB, w *world, path string) func(*testing.T, Workload, int) *History {
	type child struct {
		*json.Encoder
		*json.Decoder
		process *os.Process
		faults  int
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
			children = append(children, &child{json.NewEncoder(orders), json.NewDecoder(bufio.NewReader(reports)), cmd.Process, 0})
		}
		for _, c := range children { // wait until all are ready, so that they begin the first round together
			if err := c.Decode(new(report)); err != nil {
				t.Fatal(err)
			}
		}
		return children
	})
	return func(t *testing.T, workload Workload, round int) *History {
		children := start()
		begun := monotonic()
		share := workload.Clients / (others + 1)
		for i, c := range children {
			o := order{Workload: workload, Round: round, First: i * share, Last: (i + 1) * share, Start: begun}
			o.Workload.Injector = nil
			if err := c.Encode(o); err != nil {
				t.Fatal(err)
			}
		}
		paused := make(chan struct{})
		go func() {
			defer close(paused)
			// The pause imitates a machine that swaps memory or moves a virtual machine,
			// where any part of a call may take long.
			rng := faults.Rand(workload.Seed, "pauses", fmt.Sprint(round))
			pause(children[round%others].process, time.Duration(rng.IntN(30))*time.Millisecond, time.Duration(rng.IntN(50))*time.Millisecond)
		}()
		h := &History{Calls: workload.Run(t.Context(), round, others*share, workload.Clients, begun, w.stores...)}
		<-paused
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
