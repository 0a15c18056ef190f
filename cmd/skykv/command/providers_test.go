package command

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
	"github.com/skykv/skykv/providers"
	"github.com/skykv/skykv/providers/memkv"
)

// asCommand names an environment variable. If the variable is set, the test binary runs the
// command, with the [unusual] providers as well.
const asCommand = "SKYKV_TEST_COMMAND"

// unusual are providers of stores that do unusual things.
var unusual = provider.Set{
	{Scheme: "foreign", Form: "foreign:", Open: foreign},
	{Scheme: "damaged", Form: "damaged:", Open: wrapped(func(d kv.Driver) kv.Driver { return damaged{d} })},
	{Scheme: "silent", Form: "silent:", Open: wrapped(func(d kv.Driver) kv.Driver { return mute{d} })},
	{Scheme: "late", Form: "late:", Open: openLate},
	{Scheme: "refusing", Form: "refusing:", Open: func(context.Context, string) (*kv.Store, error) {
		return memkv.New().With(kv.MaxValue(-1)), nil // every call of this store returns ErrInvalidOption
	}},
	{Scheme: "hostile", Form: "hostile:", Open: wrapped(func(d kv.Driver) kv.Driver { return hostile{d} })},
	{Scheme: "counted", Form: "counted:", Connect: connectCounted, Open: func(context.Context, string) (*kv.Store, error) {
		return nil, fmt.Errorf("a store is opened with a separate client")
	}},
}

// unusually is like the function command, but the run also has the unusual providers.
func unusually(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := command(t, args...)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Path = exe
	cmd.Env = append(cmd.Env, asCommand+"=1")
	return cmd
}

func runUnusual() int { return Run(slices.Concat(providers.All(), unusual), os.Args[1:]) }

func wrapped(wrap func(kv.Driver) kv.Driver) func(context.Context, string) (*kv.Store, error) {
	return func(context.Context, string) (*kv.Store, error) {
		return memkv.New().With(kv.Wrap(kv.Level1, wrap)), nil
	}
}

// foreignNames are names that other programs may give to records, but that are not keys.
var foreignNames = []string{"\x01\x1b[31m", "a\nb", "a/b", "c d", "ü", "z\u202e", "z" + strings.Repeat("z", 2000)}

// foreign opens a store with the keys a, c and e among names that are not keys.
func foreign(ctx context.Context, _ string) (*kv.Store, error) {
	store := memkv.New()
	if _, err := store.PutMany(ctx, []kv.Item{{Key: "a", Value: []byte("1")}, {Key: "c", Value: []byte("2")}, {Key: "e", Value: []byte("3")}}); err != nil {
		return nil, err
	}
	return store.With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return among{d} })), nil
}

type among struct{ kv.Driver }

func (d among) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		records := make(map[string]kv.Record)
		for rec, err := range d.Driver.Scan(ctx, req) {
			if err != nil {
				yield(rec, err)
				return
			}
			records[rec.Key] = rec
		}
		for _, name := range foreignNames {
			if name >= req.From && name <= req.To {
				records[name] = kv.Record{Key: name, Value: []byte("foreign")}
			}
		}
		for _, name := range slices.Sorted(maps.Keys(records)) {
			var err error
			if records[name].Token == "" {
				err = &kv.Error{Kind: kv.ErrIncompatible}
			}
			if !yield(records[name], err) {
				return
			}
		}
	}
}

// damaged has one record, under the key ab, which cannot be read.
type damaged struct{ kv.Driver }

func (damaged) Scan(_ context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		if req.From <= "ab" && "ab" <= req.To {
			yield(kv.Record{Key: "ab"}, &kv.Error{Kind: kv.ErrIncompatible})
		}
	}
}

// mute never responds.
type mute struct{ kv.Driver }

func (mute) Get(ctx context.Context, _ kv.GetRequest) (kv.Found, error) {
	<-ctx.Done()
	return kv.Found{}, ctx.Err()
}

func (mute) Write(ctx context.Context, _ kv.WriteRequest) (kv.Outcome, error) {
	<-ctx.Done()
	return kv.Outcome{}, ctx.Err()
}

func (mute) Scan(ctx context.Context, _ kv.ScanRequest) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		<-ctx.Done()
		yield(kv.Record{}, ctx.Err())
	}
}

// late has one entry, under the key a. Its GetMany returns what it has read, but only after its
// context has ended.
type late struct{ kv.Driver }

func openLate(ctx context.Context, _ string) (*kv.Store, error) {
	store := memkv.New().With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return late{d} }))
	_, err := store.Put(ctx, "a", nil)
	return store, err
}

func (d late) GetMany(ctx context.Context, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	<-ctx.Done()
	return d.Driver.GetMany(context.WithoutCancel(ctx), req)
}

// hostileText would clear a terminal, change its title and reverse the text of the line.
const hostileText = "\x1b[2J\x1b]0;mine\x07\x7f\u009b31m\u202eno\u2066\xff\x9b\r"

// hostile returns hostileText as a value and in the errors of reads. Its writes fail as if the
// connection to a service had broken.
type hostile struct{ kv.Driver }

func (hostile) Get(_ context.Context, req kv.GetRequest) (kv.Found, error) {
	if req.Key == "value" {
		return kv.Found{Exists: true, Record: kv.Record{Key: req.Key, Value: []byte(hostileText), Version: "1"}}, nil
	}
	return kv.Found{}, &kv.Error{Kind: kv.ErrUnavailable, Err: fmt.Errorf("the service says %s", hostileText)}
}

func (hostile) Write(context.Context, kv.WriteRequest) (kv.Outcome, error) {
	return kv.Outcome{}, &kv.Error{Kind: kv.ErrUnavailable, Err: fmt.Errorf("write tcp 192.0.2.1:443: %w", syscall.EPIPE)}
}

// counted is a connection. When it is closed, it prints how many stores were opened with it.
type counted struct{ opened int }

func connectCounted(context.Context, string) (provider.Connection, error) {
	fmt.Fprintln(os.Stderr, "connected")
	return new(counted), nil
}

func (c *counted) Open(context.Context) (*kv.Store, error) {
	c.opened++
	return memkv.New(), nil
}

func (c *counted) Identity() string { return "counted:" }

func (c *counted) Close() { fmt.Fprintf(os.Stderr, "opened %d stores\n", c.opened) }
