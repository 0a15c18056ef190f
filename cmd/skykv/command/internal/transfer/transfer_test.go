package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// flaky is a sink that fails now and then, sometimes after it has written a part of a batch.
type flaky struct {
	Sink
	mu     sync.Mutex
	chance *rand.Rand
	rate   float64
}

var errFlaky = errors.New("the sink failed")

func (f *flaky) Write(ctx context.Context, entries []kv.Entry) (Counts, Mark, error) {
	f.mu.Lock()
	fails, part := f.chance.Float64() < f.rate, f.chance.IntN(len(entries)+1)
	f.mu.Unlock()
	if fails {
		_, _, _ = f.Sink.Write(ctx, entries[:part])
		return Counts{}, Mark{}, errFlaky
	}
	return f.Sink.Write(ctx, entries)
}

func store(t *testing.T, n int) *kv.Store {
	t.Helper()
	s := memkv.New()
	items := make([]kv.Item, n)
	for i := range items {
		items[i] = kv.Item{Key: fmt.Sprintf("key:%06d", i), Value: fmt.Appendf(nil, "value %d", i)}
		if i%3 == 0 {
			items[i].ExpiresAt = time.Now().Add(time.Hour + time.Duration(i)*time.Millisecond)
		}
	}
	if _, err := s.PutMany(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	return s
}

// differences returns the differences that Compare finds.
func differences(t *testing.T, first, second *kv.Store, prefix string) []Difference {
	t.Helper()
	var found []Difference
	if _, err := Compare(t.Context(), first, second, prefix, func(d Difference) error {
		found = append(found, d)
		return nil
	}, func(int64) {}); err != nil {
		t.Fatal(err)
	}
	return found
}

func unexpected(t *testing.T) func(string, error) {
	return func(key string, err error) { t.Errorf("entry %q failed: %v", key, err) }
}

// The rule: after a failed write, a run that continues from the last checkpoint copies all
// remaining entries.
func TestResumed(t *testing.T) {
	t.Parallel()
	for _, ifNotExists := range []bool{false, true} {
		for seed := range uint64(6) {
			from, to := store(t, 5_000), memkv.New()
			path := filepath.Join(t.TempDir(), "checkpoint")
			job := Job{Command: "copy", From: "a", To: "b", IfNotExists: ifNotExists}
			sink := &flaky{Sink: ToStore(to, 4, ifNotExists), chance: rand.New(rand.NewPCG(seed, 1)), rate: 0.3}
			runs, done := 0, int64(0)
			for {
				runs++
				state, resumed, err := ReadCheckpoint(path, job)
				if err != nil {
					t.Fatal(err)
				}
				if state.Counts.Done() < done {
					t.Fatalf("seed %d: run %d begins after %d entries, %d were durable", seed, runs, state.Counts.Done(), done)
				}
				end, err := Run(t.Context(), Config{
					Source: FromStore(from, ""), Sink: sink, From: state, Failed: unexpected(t),
					Save: func(s State) error { return WriteCheckpoint(path, job, s) },
				})
				if done = end.Counts.Done(); err == nil {
					if done != 5_000 {
						t.Errorf("seed %d: %d entries are counted; resumed: %t", seed, done, resumed)
					}
					break
				}
				if !errors.Is(err, errFlaky) {
					t.Fatal(err)
				}
			}
			if found := differences(t, from, to, ""); len(found) > 0 {
				t.Fatalf("seed %d, after %d runs: rule: every entry is copied with its expiry; %v differ", seed, runs, found[:1])
			}
		}
	}
}

// The rule: if several lines have the same key, the last one wins, or the first one with
// ifNotExists. This is so even if several batches run at once.
func TestLastOfDuplicatesWins(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		chance := rand.New(rand.NewPCG(seed, 2))
		var lines strings.Builder
		first, last := make(map[string]string), make(map[string]string)
		for i := range 8_000 {
			key, value := fmt.Sprintf("key:%d", chance.IntN(1500)), fmt.Sprint(i)
			if _, twice := first[key]; !twice {
				first[key] = value
			}
			last[key] = value
			fmt.Fprintf(&lines, "{\"key\":%q,\"value\":%q}\n", key, value)
		}
		for ifNotExists, want := range map[bool]map[string]string{false: last, true: first} {
			to := memkv.New()
			slow := &delayed{ToStore(to, 8, ifNotExists)}
			_, err := Run(t.Context(), Config{
				Source: FromLines(func(context.Context, int64) (io.Reader, error) { return strings.NewReader(lines.String()), nil }),
				Sink:   slow, Failed: unexpected(t),
			})
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for entry, err := range to.Scan(t.Context(), "") {
				if n++; err != nil || string(entry.Value) != want[entry.Key] {
					t.Fatalf("seed %d, ifNotExists %t: %s is %s, %v; want %s", seed, ifNotExists, entry.Key, entry.Value, err, want[entry.Key])
				}
			}
			if n != len(want) {
				t.Errorf("the store has %d keys; want %d", n, len(want))
			}
		}
	}
}

// delayed delays batches by random times, so they may finish out of order.
type delayed struct{ Sink }

func (d *delayed) Write(ctx context.Context, entries []kv.Entry) (Counts, Mark, error) {
	var spin []byte
	for range rand.IntN(20) {
		spin = append(spin, bytes.Repeat([]byte("x"), 10_000)...)
	}
	_ = spin
	return d.Sink.Write(ctx, entries)
}

func TestExpiredMeanwhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		from, to := memkv.New(), memkv.New()
		for key, ttl := range map[string]time.Duration{"short": 10 * time.Millisecond, "long": time.Hour} {
			if _, err := from.Put(t.Context(), key, nil, kv.TTL(ttl)); err != nil {
				t.Fatal(err)
			}
		}
		source := FromStore(from, "")
		state, err := Run(t.Context(), Config{
			Source: func(ctx context.Context, p Position) iter.Seq2[Record, error] {
				return func(yield func(Record, error) bool) {
					for rec, err := range source(ctx, p) {
						if !yield(rec, err) {
							return
						}
					}
					time.Sleep(10 * time.Millisecond) // in fake time, until "short" expires
				}
			},
			Sink: ToStore(to, 1, false), Failed: unexpected(t),
		})
		if err != nil || state.Counts != (Counts{Written: 1, Expired: 1}) {
			t.Errorf("the run ends with %+v, %v; want one written and one expired", state.Counts, err)
		}
		if found := differences(t, from, to, ""); len(found) > 0 {
			t.Errorf("rule: an expired entry is not a difference; got %v", found)
		}
	})
}

func TestIfAbsentKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	from, to := store(t, 1000), memkv.New()
	if _, err := to.Put(t.Context(), "key:000500", []byte("own")); err != nil {
		t.Fatal(err)
	}
	state, err := Run(t.Context(), Config{Source: FromStore(from, ""), Sink: ToStore(to, 2, true), Failed: unexpected(t)})
	if err != nil || state.Counts != (Counts{Written: 999, Skipped: 1}) {
		t.Errorf("the run ends with %+v, %v; want 999 written and one skipped", state.Counts, err)
	}
	if found := differences(t, from, to, ""); len(found) != 1 || found[0] != (Difference{"key:000500", Value}) {
		t.Errorf("the stores differ in %v; want the value of key:000500", found)
	}
}

// The rule: a cancelled transfer ends even while its source waits for input that may never
// come, for example from a terminal.
func TestCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("Ctrl-C")
	to := memkv.New()
	saved := 0
	state, err := Run(ctx, Config{
		Source: func(ctx context.Context, _ Position) iter.Seq2[Record, error] {
			return func(yield func(Record, error) bool) {
				for i := range batchEntries + 1 {
					key := fmt.Sprintf("k%d", i)
					if !yield(Record{kv.Entry{Key: key}, Position{Key: key}}, nil) {
						return
					}
				}
				<-ctx.Done()
			}
		},
		Sink: ToStore(to, 2, false), Failed: unexpected(t),
		Save:     func(State) error { saved++; return nil },
		Progress: func(State) { cancel(why) },
	})
	if !errors.Is(err, why) || state.Counts.Written != batchEntries || saved == 0 {
		t.Errorf("the run ends with %+v, %v and %d checkpoints; want %d written, the cause, and at least one", state.Counts, err, saved, batchEntries)
	}
}

// refusing is a sink whose Write always fails.
type refusing struct{ Sink }

func (refusing) Write(context.Context, []kv.Entry) (Counts, Mark, error) {
	return Counts{}, Mark{}, errFlaky
}

// The rule: a transfer that has failed ends, even while its source waits for input.
func TestFailsWhileTheSourceWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		from, to := io.Pipe()
		defer to.Close()
		go func() {
			for i := range batchEntries {
				fmt.Fprintf(to, "{\"key\":\"key:%d\",\"value\":\"\"}\n", i)
			}
		}()
		ended := make(chan error, 1)
		go func() {
			_, err := Run(t.Context(), Config{
				Source: FromLines(func(ctx context.Context, _ int64) (io.Reader, error) { return waiting{ctx, from}, nil }),
				Sink:   refusing{ToStore(memkv.New(), 2, false)},
				Failed: unexpected(t),
			})
			ended <- err
		}()
		synctest.Wait()
		select {
		case err := <-ended:
			if !errors.Is(err, errFlaky) {
				t.Errorf("it ends with %v", err)
			}
		default:
			t.Error("it waits for more input")
		}
	})
}

// waiting is a reader whose Read fails when ctx ends. The command reads its standard input in
// the same way.
type waiting struct {
	ctx context.Context
	r   io.ReadCloser
}

func (w waiting) Read(p []byte) (int, error) {
	defer context.AfterFunc(w.ctx, func() { w.r.Close() })()
	return w.r.Read(p)
}

func TestCompareFindsEveryDifference(t *testing.T) {
	t.Parallel()
	ctx, first, second := t.Context(), store(t, 100), memkv.New()
	if _, err := Run(ctx, Config{Source: FromStore(first, ""), Sink: ToStore(second, 1, false), Failed: unexpected(t)}); err != nil {
		t.Fatal(err)
	}
	change := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	change(nil, second.Delete(ctx, "key:000007"))
	change(second.Put(ctx, "key:000008", []byte("other")))
	change(second.Put(ctx, "key:000010", []byte("value 10"), kv.TTL(time.Minute)))
	change(second.Put(ctx, "key:000012", []byte("value 12")))
	change(second.Put(ctx, "a", nil))
	change(second.Put(ctx, "z", nil))
	want := []Difference{{"a", Extra}, {"key:000007", Missing}, {"key:000008", Value}, {"key:000010", Expiry}, {"key:000012", Expiry}, {"z", Extra}}
	if got := fmt.Sprint(differences(t, first, second, "")); got != fmt.Sprint(want) {
		t.Errorf("Compare finds\n%v; want\n%v", got, want)
	}
	if got := differences(t, first, second, "key:00001"); len(got) != 2 {
		t.Errorf("below the prefix Compare finds %v; want two", got)
	}
	broken := second.With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return breaks{d} }))
	if _, err := Compare(ctx, first, broken, "", func(Difference) error { return nil }, func(int64) {}); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("a scan that fails returns %v; want its error", err)
	}
}

type breaks struct{ kv.Driver }

func (breaks) Scan(context.Context, kv.ScanRequest) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		_ = yield(kv.Record{Key: "key:000000"}, nil) && yield(kv.Record{}, &kv.Error{Kind: kv.ErrUnavailable})
	}
}

// The rule: a run continues from its checkpoint whatever the names of its files, which may have any
// bytes.
func TestCheckpointOfAnyName(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "checkpoint")
	for _, job := range []Job{{From: "/in\xff", To: "/out\xfe"}, {From: "/in\xfe", To: "/out\xff"}} {
		if err := WriteCheckpoint(path, job, State{}); err != nil {
			t.Fatal(err)
		}
		if _, resumed, err := ReadCheckpoint(path, job); !resumed || err != nil {
			t.Errorf("rule: the names of files may have any bytes; the checkpoint from %q to %q is read as %t, %v", job.From, job.To, resumed, err)
		}
		if _, _, err := ReadCheckpoint(path, Job{From: "/in\ufffd", To: "/out\ufffd"}); err == nil {
			t.Errorf("a run between other files continues from the checkpoint from %q to %q", job.From, job.To)
		}
	}
}

func TestCheckpointRefusesOthers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "checkpoint")
	job := Job{Command: "copy", From: "file:a", To: "file:b", Prefix: "p"}
	state := State{Position: Position{Key: "p:1"}, Counts: Counts{Written: 7}, Mark: Mark{9, 1}}
	if got, resumed, err := ReadCheckpoint(path, job); got != (State{}) || resumed || err != nil {
		t.Errorf("without a file the state is %v, %t, %v; want the beginning", got, resumed, err)
	}
	if err := WriteCheckpoint(path, job, state); err != nil {
		t.Fatal(err)
	}
	if got, resumed, err := ReadCheckpoint(path, job); got != state || !resumed || err != nil {
		t.Errorf("the state is read as %+v, %t, %v", got, resumed, err)
	}
	for says, other := range map[string]Job{
		"command": {Command: "export", From: job.From, To: job.To, Prefix: "p"}, "source": {Command: "copy", From: "x", To: job.To, Prefix: "p"},
		"destination": {Command: "copy", From: job.From, To: "x", Prefix: "p"}, "prefix": {Command: "copy", From: job.From, To: job.To},
		"--if-not-exists": {Command: "copy", From: job.From, To: job.To, Prefix: "p", IfNotExists: true},
		"size":            {Command: "copy", From: job.From, To: job.To, Prefix: "p", Size: 1},
		"time":            {Command: "copy", From: job.From, To: job.To, Prefix: "p", Modified: 1},
	} {
		if _, _, err := ReadCheckpoint(path, other); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("a checkpoint of another %s returns %v", says, err)
		}
	}
	folder := t.TempDir()
	if err := WriteCheckpoint(folder, job, state); err == nil {
		t.Error("a checkpoint replaces a folder")
	}
	if _, err := os.Stat(NextCheckpoint(folder)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("rule: a checkpoint that cannot be written leaves no file; the file is %v", err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		// The file may be cut off anywhere, and any of its bytes may be changed. Without its
		// last byte, a newline, a checkpoint is still complete.
		changed := bytes.Clone(whole)
		changed[i] ^= 1
		for _, text := range [][]byte{whole[:i], changed} {
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
			if got, _, err := ReadCheckpoint(path, job); err == nil && got != state {
				t.Fatalf("the damaged checkpoint %q is read as %+v", text, got)
			} else if err == nil && i < len(whole)-1 && len(text) == i {
				t.Fatalf("half of a checkpoint, %q, is read", text)
			}
		}
	}
}

// The rule: a file that a killed run or a power cut left beside a checkpoint does not stop the next
// run. Any other file with that name does. A checkpoint keeps its mode.
func TestNextCheckpoint(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "checkpoint")
	job, state := Job{Command: "copy"}, State{Counts: Counts{Written: 7}}
	if err := WriteCheckpoint(path, job, state); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err == nil {
		err = os.Chmod(path, 0o640)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, left := range [][]byte{{}, whole[:5], whole[:len(whole)/2], whole, make([]byte, len(whole))} {
		if err := os.WriteFile(NextCheckpoint(path), left, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := WriteCheckpoint(path, job, state); err != nil {
			t.Errorf("after a run that left %q: %v", left, err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("a checkpoint of mode 0640 becomes %v, %v", info.Mode(), err)
	}
	const precious = "precious"
	if err := os.WriteFile(NextCheckpoint(path), []byte(precious), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteCheckpoint(path, job, state); err == nil || !strings.Contains(err.Error(), "exists, and is not skykv's") {
		t.Errorf("with another file beside it: %v; want an error", err)
	}
	if text, err := os.ReadFile(NextCheckpoint(path)); string(text) != precious {
		t.Errorf("the other file has %q, %v", text, err)
	}
}

func TestLinesGoOnAtTheMark(t *testing.T) {
	t.Parallel()
	from := store(t, 3000)
	path := filepath.Join(t.TempDir(), "out")
	whole := export(t, from, path, State{}, -1)
	for _, stopAfter := range []int64{1, 700, 1500, 2999} {
		path := filepath.Join(t.TempDir(), "out")
		var state State
		for {
			piece := export(t, from, path, state, stopAfter)
			if state = piece.state; piece.complete {
				break
			}
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, whole.bytes) {
			t.Errorf("in pieces of %d the export has %d bytes, %v; want the same %d", stopAfter, len(got), err, len(whole.bytes))
		}
	}
}

type exported struct {
	state    State
	complete bool
	bytes    []byte
}

// export continues an export from state. If limit is positive, it cancels the export after the
// first batch with which this call has written at least limit entries. After a cancelled export it
// leaves garbage at the end of the file, as a crash may.
func export(t *testing.T, from *kv.Store, path string, state State, limit int64) exported {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := errors.Join(state.Mark.Check(file), file.Truncate(state.Mark.Length)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	end, err := Run(ctx, Config{Source: FromStore(from, ""), Sink: ToLines(file, state.Mark), From: state, Failed: unexpected(t), Progress: func(s State) {
		if limit > 0 && s.Counts.Written-state.Counts.Written >= limit {
			cancel()
		}
	}})
	complete := err == nil
	if !complete {
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if _, err := file.WriteString("{\"key\":\"ha"); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return exported{end, complete, text}
}

// limited is a driver whose values have at most 24,576 bytes, as in the Alien platform's layout.
type limited struct{ kv.Driver }

func (l limited) Info() kv.Info {
	info := l.Driver.Info()
	info.MaxValueLen = kv.MaxValueLen
	return info
}

// The rule: the reason why a store cannot hold a value proposes max-value only if the store's driver
// can hold larger values.
func TestTakesProposesWhatHelps(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		store *kv.Store
		helps bool
	}{
		{"no max-value", memkv.New(), true},
		{"max-value=1000", memkv.New().With(kv.MaxValue(1000)), true},
		{"a driver without larger values", memkv.New().With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return limited{d} })), false},
		{"the largest max-value", memkv.New().With(kv.MaxValue(kv.MaxLargeValueLen)), false},
	} {
		most := c.store.Info().MaxValueLen
		err := ToStore(c.store, 1, false).Takes(kv.Entry{Key: "k", Value: make([]byte, most+1)})
		if !errors.Is(err, kv.ErrValueTooLarge) || !strings.Contains(err.Error(), fmt.Sprintf("at most %d", most)) || strings.Contains(err.Error(), "max-value=393216") != c.helps {
			t.Errorf("rule: the reason proposes max-value only if it helps; with %s it is %v, want a proposal: %t", c.name, err, c.helps)
		}
	}
}
