package localkv_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/localkv"
)

// bugs are drivers with one bug, for processes: the tests of what processes do must find
// them.
var bugs = map[string]func(kv.Driver) kv.Driver{
	"acknowledges before it writes": func(d kv.Driver) kv.Driver {
		return bug{Driver: d, put: func(_ context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
			go func() {
				time.Sleep(time.Millisecond)
				_, _ = d.Put(context.Background(), rec, cond)
			}()
			return kv.Outcome{Done: true, Version: rec.Token}, nil
		}}
	},
	"writes a value in two steps": func(d kv.Driver) kv.Driver {
		return bug{Driver: d, put: func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
			half := rec
			half.Value = rec.Value[:len(rec.Value)/2]
			if out, err := d.Put(ctx, half, cond); err != nil || !out.Done {
				return out, err
			}
			return d.Put(ctx, rec, kv.Condition{Now: cond.Now})
		}}
	},
	"judges the condition before it writes": func(d kv.Driver) kv.Driver {
		return bug{Driver: d, put: func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
			found, ok, err := d.Get(ctx, rec.Key, false)
			live := ok && (found.Expires == 0 || found.Expires > cond.Now)
			if err != nil || cond.Absent && live || cond.Version != "" && found.Version != cond.Version {
				return kv.Outcome{Exists: ok, Found: found}, err
			}
			return d.Put(ctx, rec, kv.Condition{Now: cond.Now})
		}}
	},
}

// bug is a driver with another Put.
type bug struct {
	kv.Driver
	put func(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error)
}

func (d bug) Put(ctx context.Context, rec kv.Record, cond kv.Condition) (kv.Outcome, error) {
	return d.put(ctx, rec, cond)
}

const bugVariable = "SKYKV_LOCALKV_TEST_BUG"

// openWithBug opens the file of a process that startWithBug started.
func openWithBug(path string) (*kv.Store, error) {
	store, err := localkv.New(path, nil)
	if wrap := bugs[os.Getenv(bugVariable)]; wrap != nil && err == nil {
		store = store.With(kv.Wrap(kv.Level1, wrap))
	}
	return store, err
}

// startWithBug is start, of a process whose driver has a bug; "" stands for none.
func startWithBug(t *testing.T, bug, program string, args ...string) *child {
	t.Helper()
	c := prepared(t, program, args...)
	c.cmd.Env = append(c.cmd.Env, bugVariable+"="+bug)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

// A test that cannot fail proves nothing.
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
				t.Errorf("rule: a driver that %s is found", name)
			}
		})
	}
}
