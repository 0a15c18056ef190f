package watch

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skykv/skykv/internal/testing/faults"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

const every = 10 * time.Second

// counted returns a store that reaches data through a simulated network. It also returns the
// network, which counts requests.
func counted(data *kv.Store) (*kv.Store, *faults.Injector) {
	in := new(faults.Injector)
	return data.With(kv.Wrap(kv.Level1, faults.Driver(in, 1))), in
}

// text describes a change in a few characters.
func text(c Change, err error) string {
	switch {
	case err != nil:
		return "error " + c.Key
	case c.Deleted:
		return "-" + c.Key
	}
	return "+" + c.Key + "=" + string(c.Value)
}

// watching starts a loop over Watch. It returns a function that waits for the next poll and
// returns the changes that the poll yielded.
func watching(t *testing.T, store *kv.Store, prefix string, opts ...Option) (poll func() []string) {
	t.Helper()
	var mu sync.Mutex
	var seen []string
	go func() {
		for change, err := range Watch(t.Context(), store, prefix, every, opts...) {
			if t.Context().Err() != nil {
				return
			}
			mu.Lock()
			seen = append(seen, text(change, err))
			mu.Unlock()
		}
	}()
	first := true
	return func() []string {
		if !first {
			time.Sleep(every)
		}
		first = false
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		now := seen
		seen = nil
		return now
	}
}

func put(t *testing.T, s *kv.Store, key, value string, opts ...kv.PutOption) {
	t.Helper()
	if _, err := s.Put(t.Context(), key, []byte(value), opts...); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, s *kv.Store, key string) {
	t.Helper()
	if err := s.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := memkv.New()
		put(t, s, "a:1", "one")
		put(t, s, "b:1", "other")
		poll := watching(t, s, "a:")
		for _, step := range []struct {
			rule string
			do   func()
			want []string
		}{
			{"the first poll yields all entries of the prefix", func() {}, []string{"+a:1=one"}},
			{"without a change nothing is yielded", func() {}, nil},
			{"a new entry is yielded, others are not", func() { put(t, s, "a:2", "two"); put(t, s, "b:2", "") }, []string{"+a:2=two"}},
			{"the latest state is yielded, states in between may not be", func() { put(t, s, "a:1", "x"); put(t, s, "a:1", "y") }, []string{"+a:1=y"}},
			{"a put of the same value is a change", func() { put(t, s, "a:1", "y") }, []string{"+a:1=y"}},
			{"a key that is put and deleted between two polls is not yielded", func() { put(t, s, "a:3", ""); remove(t, s, "a:3") }, nil},
			{"a touch is a change", func() {
				if _, err := s.Touch(t.Context(), "a:2", kv.TTL(2*every+time.Second)); err != nil {
					t.Fatal(err)
				}
			}, []string{"+a:2=two"}},
			{"a deletion is yielded", func() { remove(t, s, "a:1") }, []string{"-a:1"}},
			{"an expiry is yielded", func() {}, []string{"-a:2"}},
			{"an entry that is put again is yielded", func() { put(t, s, "a:2", "again") }, []string{"+a:2=again"}},
			{"deletions come after the others, in order of the keys", func() {
				put(t, s, "a:9", "")
				put(t, s, "a:8", "")
				remove(t, s, "a:2")
			}, []string{"+a:8=", "+a:9=", "-a:2"}},
		} {
			step.do()
			if got := poll(); !slices.Equal(got, step.want) {
				t.Errorf("rule: %s; got %q, want %q", step.rule, got, step.want)
			}
		}
	})
}

func TestChangesHaveEntries(t *testing.T) {
	t.Parallel()
	s := memkv.New()
	at := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	version, err := s.Put(t.Context(), "a", []byte("value"), kv.ExpiresAt(at))
	if err != nil {
		t.Fatal(err)
	}
	for change, err := range Watch(t.Context(), s, "", every) {
		if err != nil || change.Version != version || !change.ExpiresAt.Equal(at) || string(change.Value) != "value" {
			t.Errorf("rule: a change has the entry, for a compare-and-swap; got %+v, %v", change.Entry, err)
		}
		break
	}
}

// broken is a driver that hides or alters what its scans and reads find.
type broken struct {
	kv.Driver
	scan func(records iter.Seq2[kv.Record, error]) iter.Seq2[kv.Record, error]
	get  func(kv.Found) kv.Found
	read func(key string) error // returns the error of the read of a key
}

func (b broken) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	if b.scan == nil {
		return b.Driver.Scan(ctx, req)
	}
	return b.scan(b.Driver.Scan(ctx, req))
}

func (b broken) GetMany(ctx context.Context, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	return func(yield func(kv.Found, error) bool) {
		for found, err := range b.Driver.GetMany(ctx, req) {
			if b.get != nil {
				found = b.get(found)
			}
			if b.read != nil {
				err = cmp.Or(err, b.read(found.Key))
			}
			if !yield(found, err) {
				return
			}
		}
	}
}

// The function program simulates a program that keeps a copy of the entries that it watches, while
// other programs write entries and some requests fail. Now and then, the program stores the copy with
// a cursor. It is restarted several times from the stored copy and cursor. The result is how
// the copy differs from the entries in the end, and the numbers of restarts and errors.
func program(t *testing.T, seed uint64, driver func(kv.Driver) kv.Driver) (differences []string, restarts, faulty int) {
	synctest.Test(t, func(t *testing.T) {
		data := memkv.New()
		view := data
		if driver != nil {
			view = data.With(kv.Wrap(kv.Level1, driver))
		}
		watched, network := counted(view)
		random := rand.New(rand.NewPCG(seed, 1))
		change := func() {
			key := fmt.Sprintf("k:%03d", random.IntN(300))
			switch random.IntN(4) {
			case 0:
				remove(t, data, key)
			case 1:
				put(t, data, key, fmt.Sprint(random.Int()), kv.TTL(time.Duration(1+random.IntN(50))*time.Second))
			default:
				put(t, data, key, fmt.Sprint(random.Int()))
			}
		}
		calm := false
		network.Use(func(r faults.Request) faults.Kind {
			kinds := []faults.Kind{faults.Drop, faults.Truncate, faults.Throttle, faults.Delay}
			if n := random.IntN(12); n < len(kinds) && !calm {
				return kinds[n]
			}
			return faults.Pass
		})
		stored, cursor := map[string]string{}, []byte(nil)
		var copied map[string]string
		run := func(lasts time.Duration) {
			ctx, cancel := context.WithTimeout(t.Context(), lasts)
			defer cancel()
			copied = maps.Clone(stored)
			for c, err := range Watch(ctx, watched, "k:", every, From(cursor)) {
				switch {
				case err != nil:
					faulty++
				case c.Deleted:
					delete(copied, c.Key)
				default:
					copied[c.Key] = string(c.Value)
				}
				if random.IntN(10) == 0 {
					stored, cursor = maps.Clone(copied), c.Cursor()
				}
				if calm {
					continue
				}
				for range random.IntN(3) {
					change() // in the middle of a poll
				}
				if random.IntN(100) == 0 {
					return // the program crashes
				}
			}
		}
		for ; restarts < 40; restarts++ {
			for range random.IntN(40) {
				change()
			}
			run(time.Duration(1+random.IntN(8)) * every)
		}
		calm = true
		run(8 * every) // long enough for the last entries to expire
		there := map[string]string{}
		for entry, err := range data.Scan(t.Context(), "k:") {
			if err != nil {
				t.Fatal(err)
			}
			there[entry.Key] = string(entry.Value)
		}
		for key, value := range there {
			if copied[key] != value {
				differences = append(differences, fmt.Sprintf("%s is %q, and in the copy %q", key, value, copied[key]))
			}
		}
		for key := range copied {
			if _, ok := there[key]; !ok {
				differences = append(differences, key+" is gone, and in the copy still")
			}
		}
	})
	return differences, restarts, faulty
}

func TestNothingIsLost(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		differences, restarts, faulty := program(t, seed, nil)
		if len(differences) > 0 {
			t.Errorf("rule: no change is lost by errors and restarts; seed %d: %q", seed, differences)
		}
		if restarts < 40 || faulty < 40 {
			t.Errorf("too little happened to prove anything: %d restarts, %d errors", restarts, faulty)
		}
	}
}

// The function program finds differences if the driver has a bug.
func TestNothingIsLostFindsBugs(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]broken{
		"scans that end early as if they were complete": {scan: func(records iter.Seq2[kv.Record, error]) iter.Seq2[kv.Record, error] {
			return func(yield func(kv.Record, error) bool) {
				n := 0
				for rec, err := range records {
					if n++; n > 50 || !yield(rec, err) {
						return
					}
				}
			}
		}},
		"versions that do not change": {
			scan: func(records iter.Seq2[kv.Record, error]) iter.Seq2[kv.Record, error] {
				return func(yield func(kv.Record, error) bool) {
					for rec, err := range records {
						if rec.Version = "same"; !yield(rec, err) {
							return
						}
					}
				}
			},
			get: func(found kv.Found) kv.Found { found.Version = "same"; return found },
		},
		"entries that are gone and still read": {get: func(found kv.Found) kv.Found {
			if !found.Exists {
				found.Exists, found.Version, found.Value = true, "old", []byte("old")
			}
			return found
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			differences, _, _ := program(t, 1, func(d kv.Driver) kv.Driver { b.Driver = d; return b })
			if len(differences) == 0 {
				t.Errorf("rule: %s make the copy differ, which the check finds; it found nothing", name)
			}
		})
	}
}

// A scan may miss an entry that is deleted and put again while the scan runs.
func TestMissedByAScan(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		data := memkv.New()
		var hide atomic.Bool
		s := data.With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver {
			return broken{Driver: d, scan: func(records iter.Seq2[kv.Record, error]) iter.Seq2[kv.Record, error] {
				return func(yield func(kv.Record, error) bool) {
					for rec, err := range records {
						if !(hide.Load() && rec.Key == "a") && !yield(rec, err) {
							return
						}
					}
				}
			}}
		}))
		put(t, data, "a", "1")
		put(t, data, "b", "1")
		poll := watching(t, s, "")
		poll()
		hide.Store(true)
		put(t, data, "a", "2")
		if got, want := poll(), []string{"+a=2"}; !slices.Equal(got, want) {
			t.Errorf("rule: an entry that a scan misses is not taken for deleted; got %q, want %q", got, want)
		}
		if got := poll(); len(got) > 0 {
			t.Errorf("rule: nor is it yielded again; got %q", got)
		}
	})
}

// For a record that skykv did not write, each poll yields an error, and never a deletion.
func TestForeignRecord(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		data := memkv.New()
		var foreign atomic.Bool
		s := data.With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver {
			return broken{Driver: d, scan: func(records iter.Seq2[kv.Record, error]) iter.Seq2[kv.Record, error] {
				return func(yield func(kv.Record, error) bool) {
					for rec, err := range records {
						if foreign.Load() && rec.Key == "a" {
							err = &kv.Error{Kind: kv.ErrIncompatible, Err: errors.New("foreign")}
						}
						if !yield(rec, err) {
							return
						}
					}
				}
			}}
		}))
		put(t, data, "a", "1")
		put(t, data, "b", "1")
		poll := watching(t, s, "")
		poll()
		foreign.Store(true)
		for range 3 {
			put(t, data, "b", "2")
			if got, want := poll(), []string{"error a", "+b=2"}; !slices.Equal(got, want) {
				t.Errorf("rule: an error beside a key concerns that key alone; got %q, want %q", got, want)
			}
		}
		foreign.Store(false)
		if got := poll(); len(got) > 0 {
			t.Errorf("rule: an entry that did not change is not yielded; got %q", got)
		}
	})
}

// A scan without values may not notice that an entry is damaged. The read of the entry notices it.
func TestDamagedEntry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		data := memkv.New()
		var damaged atomic.Bool
		s := data.With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver {
			return broken{Driver: d, read: func(key string) error {
				if damaged.Load() && key == "a" {
					return &kv.Error{Kind: kv.ErrIncompatible, Err: errors.New("damaged")}
				}
				return nil
			}}
		}))
		for _, key := range []string{"a", "b"} {
			put(t, data, key, "1")
		}
		poll := watching(t, s, "")
		poll()
		damaged.Store(true)
		put(t, data, "a", "2")
		for range 3 {
			put(t, data, "b", "2")
			if got, want := poll(), []string{"error a", "+b=2"}; !slices.Equal(got, want) {
				t.Errorf("rule: the error of an entry that is damaged comes with its key, and the poll misses no other change; got %q, want %q", got, want)
			}
		}
		damaged.Store(false)
		if got, want := poll(), []string{"+a=2"}; !slices.Equal(got, want) {
			t.Errorf("rule: a change that could not be read is yielded later; got %q, want %q", got, want)
		}
	})
}

func TestErrorsBetweenPolls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		data := memkv.New()
		s, network := counted(data)
		put(t, data, "a", "1")
		poll := watching(t, s, "")
		poll()
		for _, kind := range []faults.Kind{faults.Drop, faults.Throttle, faults.Refuse, faults.Fail} {
			for name, request := range map[string]string{"scan": "Scan", "read": "GetMany"} {
				network.Use(func(r faults.Request) faults.Kind {
					if r.Method == request {
						return kind
					}
					return faults.Pass
				})
				put(t, data, "a", "2")
				put(t, data, "b", "2")
				for range 2 {
					if got, want := poll(), []string{"error "}; !slices.Equal(got, want) {
						t.Errorf("rule: a poll whose %s fails (%s) yields an error, and nothing is deleted; got %q", name, kind, got)
					}
				}
				network.Use(nil)
				if got, want := poll(), []string{"+a=2", "+b=2"}; !slices.Equal(got, want) {
					t.Errorf("rule: what a poll missed (%s of a %s) the next yields; got %q, want %q", kind, name, got, want)
				}
			}
		}
	})
}

func TestPrice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		data := memkv.New()
		s, network := counted(data)
		for i := range 250 {
			put(t, data, fmt.Sprintf("flags::%05d", i), "")
		}
		poll := watching(t, s, "flags::")
		for _, want := range []int{1 + 3, 1, 1} { // the first poll has three GetMany of up to 100 keys
			before := network.Counts()[faults.Pass]
			poll()
			if n := network.Counts()[faults.Pass] - before; n != want {
				t.Errorf("rule: a poll is a scan, and a read of the keys that changed; it made %d requests, want %d", n, want)
			}
		}
	})
}

func TestEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began, errs := time.Now(), []error(nil)
		for _, err := range Watch(ctx, memkv.New(), "", every) {
			errs = append(errs, err)
		}
		if len(errs) != 1 || !errors.Is(errs[0], context.DeadlineExceeded) || time.Since(began) != time.Minute {
			t.Errorf("rule: the loop ends with its context, whose error is the last; after %s: %v", time.Since(began), errs)
		}
	})
	synctest.Test(t, func(t *testing.T) { // the context ends during a request
		s, network := counted(memkv.New())
		network.Use(faults.Always(faults.Hang))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var errs []error
		for _, err := range Watch(ctx, s, "", every) {
			errs = append(errs, err)
		}
		if len(errs) != 1 || !errors.Is(errs[0], context.DeadlineExceeded) {
			t.Errorf("rule: the loop ends with its context, whose error is the last; got %v", errs)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := memkv.New()
		time.AfterFunc(time.Minute, func() { s.Close() })
		var errs []error
		for _, err := range Watch(t.Context(), s, "", every) {
			errs = append(errs, err)
		}
		if len(errs) != 1 || !errors.Is(errs[0], kv.ErrClosed) {
			t.Errorf("rule: the loop ends when the store closes; got %v", errs)
		}
	})
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	data := memkv.New()
	small, err := data.Namespace(strings.Repeat("n", kv.MaxKeyLen-2))
	if err != nil {
		t.Fatal(err)
	}
	s, network := counted(data)
	for name, c := range map[string]struct {
		watch iter.Seq2[Change, error]
		want  error
	}{
		"a prefix that is none":               {Watch(t.Context(), s, "a/b", every), kv.ErrInvalidKey},
		"a prefix that is too long":           {Watch(t.Context(), s, strings.Repeat("a", kv.MaxKeyLen+1), every), kv.ErrInvalidKey},
		"a prefix too long for the namespace": {Watch(t.Context(), small, "abc", every), kv.ErrInvalidKey},
		"no pause":                            {Watch(t.Context(), s, "", 0), kv.ErrInvalidOption},
		"a forgotten unit":                    {Watch(t.Context(), s, "", 30), kv.ErrInvalidOption},
		"a negative pause":                    {Watch(t.Context(), s, "", -time.Second), kv.ErrInvalidOption},
		"an option that is nil":               {Watch(t.Context(), s, "", every, nil), kv.ErrInvalidOption},
		"a store with a wrong option":         {Watch(t.Context(), data.With(kv.MaxValue(kv.MaxLargeValueLen+1)), "", every), kv.ErrInvalidOption},
		"a cursor that is none":               {Watch(t.Context(), s, "", every, From([]byte("cursor"))), kv.ErrInvalidCursor},
	} {
		var errs []error
		for change, err := range c.watch {
			errs = append(errs, err)
			if change.Key != "" || len(change.Cursor()) == 0 {
				t.Errorf("%s: the change is %+v", name, change)
			}
		}
		if len(errs) != 1 || !errors.Is(errs[0], c.want) {
			t.Errorf("rule: %s ends the loop with an error that matches %v; got %v", name, c.want, errs)
		}
	}
	if counts := network.Counts(); len(counts) > 0 {
		t.Errorf("rule: bad input is refused before I/O; there were requests: %v", counts)
	}
}

// cursorOf returns the cursor after Watch has yielded the first entries of a prefix. The number
// of these entries is the last parameter.
func cursorOf(t *testing.T, s *kv.Store, prefix string, entries int) (cursor []byte) {
	t.Helper()
	for change, err := range Watch(t.Context(), s, prefix, every) {
		if err != nil {
			t.Fatal(err)
		}
		if entries--; entries == 0 {
			return change.Cursor()
		}
	}
	return nil
}

func TestCursorSize(t *testing.T) {
	t.Parallel()
	s := memkv.New()
	for i := range 1000 {
		put(t, s, fmt.Sprintf("flags::%05d", i), "")
	}
	if n := len(cursorOf(t, s, "flags::", 1000)); n < 11_000 || n > 12_000 {
		t.Errorf("rule: a cursor of 1,000 short keys has about 11 KB; it has %d bytes", n)
	}
}

func TestDamagedCursors(t *testing.T) {
	t.Parallel()
	s := memkv.New()
	for _, key := range []string{"a:", "a:1", "a:10", "a:2", "a:::"} {
		put(t, s, key, "")
	}
	cursor := cursorOf(t, s, "a:", 5)
	known, err := decodeCursor("a:", cursor)
	if err != nil || len(known) != 5 || !bytes.Equal(encodeCursor("a:", known), cursor) {
		t.Fatalf("rule: a cursor is decoded to what was encoded; got %v, %v", known, err)
	}
	sealed := func(prefix string, body ...any) []byte {
		var b []byte
		for _, part := range body {
			switch part := part.(type) {
			case int:
				b = binary.AppendUvarint(b, uint64(part))
			case uint64:
				b = binary.AppendUvarint(b, part)
			case string:
				b = append(b, part...)
			}
		}
		return slices.Concat([]byte{cursorFormat}, checksum(prefix, b), b)
	}
	const m = "12345678"
	if _, err := decodeCursor("a:", sealed("a:", 0, 1, "1", m, 1, 1, "2", m)); err != nil {
		t.Fatalf("a cursor by hand: %v", err)
	}
	bad := map[string][]byte{
		"of another prefix":            cursorOf(t, s, "a", 5),
		"of another format":            append([]byte{2}, cursor[1:]...),
		"of one byte":                  {cursorFormat},
		"with a byte more":             append(slices.Clone(cursor), 0),
		"with keys out of order":       sealed("a:", 0, 1, "2", m, 0, 1, "1", m),
		"with a key twice":             sealed("a:", 0, 1, "1", m, 1, 0, m),
		"with a key that is none":      sealed("a:", 0, 1, "/", m),
		"with a long key":              sealed("a:", 0, kv.MaxKeyLen, strings.Repeat("a", kv.MaxKeyLen), m),
		"that shares too much":         sealed("a:", 0, 1, "1", m, 2, 1, "2", m),
		"that ends within a key":       sealed("a:", 0, 3, "1", m),
		"that ends within a mark":      sealed("a:", 0, 1, "1", "1234"),
		"that ends after a length":     sealed("a:", 0),
		"with a length that is huge":   sealed("a:", 0, uint64(1<<62), "1", m),
		"with a length that overflows": sealed("a:", strings.Repeat("\xff", 11), 1, "1", m),
	}
	for i := range cursor {
		damaged := slices.Clone(cursor)
		damaged[i] ^= 1 << (i % 8)
		bad[fmt.Sprintf("with another byte %d", i)] = damaged
		if i > 0 {
			bad[fmt.Sprintf("of its first %d bytes", i)] = cursor[:i]
		}
	}
	for name, cursor := range bad {
		errs := 0
		for _, err := range Watch(t.Context(), s, "a:", every, From(cursor)) {
			if errs++; !errors.Is(err, kv.ErrInvalidCursor) || !strings.Contains(err.Error(), "want") {
				t.Fatalf("rule: a cursor %s is ErrInvalidCursor; got %v", name, err)
			}
		}
		if errs != 1 {
			t.Errorf("rule: a cursor %s ends the loop; it had %d errors", name, errs)
		}
	}
}

func TestFromKeepsNoSlice(t *testing.T) {
	t.Parallel()
	s := memkv.New()
	put(t, s, "a", "")
	put(t, s, "b", "")
	cursor := cursorOf(t, s, "", 1)
	from := From(cursor)
	clear(cursor) // the caller uses its buffer again
	for change, err := range Watch(t.Context(), s, "", every, from) {
		if got := text(change, err); got != "+b=" {
			t.Errorf("rule: From keeps no slice that it receives; Watch yields %q, %v, want +b=", got, err)
		}
		break
	}
}

// A cursor records the changes that were yielded, and no others.
func TestCursorWithinAPoll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := memkv.New()
		for i := range 5 {
			put(t, s, fmt.Sprint(i), "")
		}
		cursor := cursorOf(t, s, "", 3)
		remove(t, s, "0")
		if got, want := watching(t, s, "", From(cursor))(), []string{"+3=", "+4=", "-0"}; !slices.Equal(got, want) {
			t.Errorf("rule: a cursor continues after what was yielded; got %q, want %q", got, want)
		}
	})
}
