package torture

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"sync"

	"github.com/skykv/skykv/internal/testing/faults"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
	"github.com/skykv/skykv/providers/aztableskv"
	"github.com/skykv/skykv/providers/dynamokv"
	"github.com/skykv/skykv/providers/firestorekv"
	"github.com/skykv/skykv/providers/localkv"
)

// place says where the data of a world is. A world is a provider with its service: see the type
// world.
type place struct {
	World    string
	Endpoint string // the endpoint of the service, if the service is reached over a network
	Name     string // the name of the table or collection, or the path of the file
}

// open opens a store with a client of its own. The caller must close the store, and then
// call end, which closes the client.
func (p place) open(ctx context.Context) (store *kv.Store, end func(), err error) {
	end = func() {}
	switch p.World {
	case "file":
		store, err = localkv.New(p.Name, nil)
	case "dynamodb":
		store, err = dynamokv.New(ctx, dynamoClient(p.Endpoint), p.Name, nil)
	case "aztables":
		client, failed := aztablesClient(p.Endpoint)
		if failed != nil {
			return nil, end, failed
		}
		store, err = aztableskv.New(ctx, client, p.Name, aztablesOptions)
	case "firestore":
		client, failed := firestoreClient(ctx, p.Endpoint)
		if failed != nil {
			return nil, end, failed
		}
		end = func() { client.Close() }
		store, err = firestorekv.New(ctx, client, "torture", p.Name, &firestorekv.Options{Layout: provider.LayoutSkykv})
	default:
		err = fmt.Errorf("no other process can open a store of %q", p.World)
	}
	return store, end, err
}

// memberRates are the faults of a member's requests.
type memberRates struct {
	Seed  uint64
	Rates faults.Rates
}

// plan returns a plan that chooses a fault for each request at random.
func (r memberRates) plan() faults.Plan { return faults.Seeded(r.Seed, r.Rates, math.MaxInt) }

// task tells a member what to do.
type task struct {
	Place  place
	Faults memberRates // used if the place has no network
	Number int         // the member's number, different for each member
	Calls  int
}

// said is one line in the report of a member.
type said struct {
	ID   string // the ID of the transfer or increment, if any
	What string // "begins", "ok", "no", "unknown", "sum" or "counted"
	N    int64
	Why  string
}

// memberPrograms are the programs that members run. A program ends soon after ctx ends, or earlier.
var memberPrograms = map[string]func(ctx context.Context, store *kv.Store, t task, say func(said)) error{}

const memberProgram = "member"

func init() {
	childPrograms[memberProgram] = func(text string) error {
		var order struct {
			Program string
			Task    task
		}
		if err := json.Unmarshal([]byte(text), &order); err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		store, end, err := order.Task.Place.open(ctx)
		if err != nil {
			return err
		}
		defer end()
		defer store.Close()
		if order.Task.Place.Endpoint == "" {
			in := new(faults.Injector)
			in.Use(order.Task.Faults.plan())
			store = store.With(kv.Wrap(kv.Level1, faults.Driver(in, attempts)))
			defer in.Take() // waits for late requests
		}
		stop, stopped := context.WithCancel(ctx)
		defer stopped()
		go func() {
			io.Copy(io.Discard, os.Stdin)
			stopped()
		}()
		var mu sync.Mutex
		encoder := json.NewEncoder(os.Stdout)
		return memberPrograms[order.Program](stop, store, order.Task, func(line said) {
			mu.Lock()
			defer mu.Unlock()
			encoder.Encode(line)
		})
	}
}

// member is a client that can be killed. It is a process or, if the data is in the memory
// of this process, a goroutine.
type member struct {
	lines <-chan said // closed when the member has ended
	kill  func()
	stop  func() // asks the member to end
	wait  func() error
}

// join starts a member that runs program with the world's data.
func (w *world) join(t checking, program string, order task) *member {
	t.Helper()
	order.Place = w.place
	lines := make(chan said)
	if w.place.World == "" {
		stop, stopped := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() {
			defer close(lines)
			done <- memberPrograms[program](stop, w.stores[order.Number%len(w.stores)], order, func(line said) { lines <- line })
		}()
		return &member{lines: lines, kill: stopped, stop: stopped, wait: func() error { return <-done }}
	}
	text, err := json.Marshal(map[string]any{"Program": program, "Task": order})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childPath+"="+string(text), childProgram+"="+memberProgram)
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
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(reports); scanner.Scan(); {
			var line said
			if json.Unmarshal(scanner.Bytes(), &line) == nil { // the last line may be incomplete
				lines <- line
			}
		}
	}()
	return &member{
		lines: lines,
		kill:  func() { cmd.Process.Kill() },
		stop:  func() { orders.Close() },
		wait:  cmd.Wait,
	}
}
