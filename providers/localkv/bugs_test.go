package localkv_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/localkv"
)

// bugs are functions that return a driver with one bug. The tests with several processes must
// find every bug.
var bugs = map[string]func(kv.Driver) kv.Driver{
	"acknowledges before it writes": func(d kv.Driver) kv.Driver {
		return bug{Driver: d, put: func(_ context.Context, req kv.WriteRequest) (kv.Outcome, error) {
			go func() {
				time.Sleep(time.Millisecond)
				_, _ = d.Write(context.Background(), req)
			}()
			return kv.Outcome{Done: true, Version: req.Token}, nil
		}}
	},
	"writes a value in two steps": func(d kv.Driver) kv.Driver {
		return bug{Driver: d, put: func(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
			half := req
			half.Value = req.Value[:len(req.Value)/2]
			if out, err := d.Write(ctx, half); err != nil || !out.Done {
				return out, err
			}
			req.Condition = kv.Condition{}
			return d.Write(ctx, req)
		}}
	},
	"judges the condition before it writes": func(d kv.Driver) kv.Driver {
		return bug{Driver: d, put: func(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
			found, err := d.Get(ctx, kv.GetRequest{Key: req.Key})
			live := found.Exists && (found.Expires == 0 || found.Expires > req.Now)
			cond := req.Condition
			if err != nil || cond.Kind == kv.CondAbsent && live || cond.Kind == kv.CondVersion && found.Version != cond.Version {
				return kv.Outcome{Exists: found.Exists, Found: found.Record}, err
			}
			req.Condition = kv.Condition{}
			return d.Write(ctx, req)
		}}
	},
}

// bug is a driver whose puts are replaced by the function put.
type bug struct {
	kv.Driver
	put func(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error)
}

func (d bug) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	if req.Kind != kv.KindPut {
		return d.Driver.Write(ctx, req)
	}
	return d.put(ctx, req)
}

const bugVariable = "SKYKV_LOCALKV_TEST_BUG"

// openWithBug opens a store whose driver has the bug that startWithBug chose for this process.
func openWithBug(path string) (*kv.Store, error) {
	store, err := localkv.New(path, nil)
	if wrap := bugs[os.Getenv(bugVariable)]; wrap != nil && err == nil {
		store = store.With(kv.Wrap(kv.Level1, wrap))
	}
	return store, err
}

// startWithBug is like start, but the stores that the process opens with openWithBug have the
// bug of this name. The name "" means no bug.
func startWithBug(t *testing.T, bug, program string, args ...string) *child {
	t.Helper()
	c := prepared(t, program, args...)
	c.cmd.Env = append(c.cmd.Env, bugVariable+"="+bug)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

// The tests must be able to fail: they find drivers with bugs.
func TestProcessesFindBugs(t *testing.T) {
	t.Parallel()
	for name, find := range map[string]func(t *testing.T, bug string) bool{
		"acknowledges before it writes": func(t *testing.T, bug string) bool {
			_, _, failure := killRounds(t, bug, 50)
			return failure != "" && raceToRead(t, bug, 20) != ""
		},
		"writes a value in two steps": func(t *testing.T, bug string) bool {
			_, _, failure := killRounds(t, bug, 50)
			return failure != ""
		},
		"judges the condition before it writes": func(t *testing.T, bug string) bool {
			for range 10 {
				got, want := raceToCount(t, bug)
				if len(raceToCreate(t, bug)) > 0 && got != want {
					return true
				}
			}
			return false
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !find(t, name) {
				t.Errorf("rule: the tests find a driver that %s", name)
			}
		})
	}
}
