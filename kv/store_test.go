package kv_test

import (
	"context"
	"errors"
	"iter"
	"strings"
	"testing"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// closing is a driver that closes the store during every call.
type closing struct {
	kv.Driver
	store *kv.Store
}

func (d *closing) lost() error {
	d.store.Close()
	return &kv.Error{Kind: kv.ErrUnavailable, MayHaveApplied: true, Err: errors.New("the connection is closing")}
}

func (d *closing) Get(context.Context, kv.GetRequest) (kv.Found, error) {
	return kv.Found{}, d.lost()
}

func (d *closing) Write(context.Context, kv.WriteRequest) (kv.Outcome, error) {
	return kv.Outcome{}, d.lost()
}

func (d *closing) Scan(context.Context, kv.ScanRequest) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) { yield(kv.Record{}, d.lost()) }
}

func (d *closing) WriteMany(context.Context, kv.WriteManyRequest) []kv.WriteResult {
	return []kv.WriteResult{{Err: d.lost()}}
}

func TestCallsUnderWayAtClose(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(*kv.Store) error{
		"get": func(s *kv.Store) error { _, err := s.Get(t.Context(), "a"); return err },
		"put": func(s *kv.Store) error { _, err := s.Put(t.Context(), "a", nil); return err },
		"scan": func(s *kv.Store) (last error) {
			for _, err := range s.Scan(t.Context(), "") {
				last = err
			}
			return last
		},
		"put many": func(s *kv.Store) error { _, err := s.PutMany(t.Context(), []kv.Item{{Key: "a"}}); return err },
	} {
		d := new(closing)
		d.store = memkv.New().With(kv.Wrap(kv.Level1, func(next kv.Driver) kv.Driver { d.Driver = next; return d }))
		err := call(d.store)
		if !errors.Is(err, kv.ErrClosed) || errors.Is(err, kv.ErrUnavailable) {
			t.Errorf("rule: a call that loses its connection to Close is ErrClosed; %s returns %v", name, err)
		}
		if wrote := name == "put" || name == "put many"; wrote && !errors.Is(err, kv.ErrIndeterminate) {
			t.Errorf("rule: a write that was sent stays ErrIndeterminate; %s returns %v", name, err)
		}
	}
}

// described is a driver with another Info.
type described struct {
	kv.Driver
	info kv.Info
}

func (d described) Info() kv.Info { return d.info }

func TestInfoIsChecked(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rule  string
		info  kv.Info
		legal bool
	}{
		{"a name has at most 255 bytes, as many as a version's text can hold", kv.Info{Name: strings.Repeat("n", 255), Shards: 1}, true},
		{"a name has at most 255 bytes, as many as a version's text can hold", kv.Info{Name: strings.Repeat("n", 256), Shards: 1}, false},
		{"a driver has at least one shard", kv.Info{Name: "n"}, false},
	} {
		func() {
			defer func() {
				if p := recover(); (p == nil) != c.legal {
					t.Errorf("rule: %s; with %d bytes and %d shards the panic is %v", c.rule, len(c.info.Name), c.info.Shards, p)
				}
			}()
			store := memkv.New().With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return described{d, c.info} }))
			version, err := store.Put(t.Context(), "k", nil)
			if err != nil {
				t.Fatal(err)
			}
			if parsed, err := kv.ParseVersion(version.String()); parsed != version {
				t.Errorf("rule: a version's text parses to the version; got %v, %v", parsed, err)
			}
		}()
	}
}
