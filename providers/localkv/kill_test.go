package localkv_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/localkv"
)

// killWorkers is the number of goroutines that write at the same time. Each has killKeys
// keys of its own.
const (
	killWorkers = 4
	killKeys    = 12
)

// killValue returns the value that write number seq stores under key. A mix of two such
// values is never equal to one of them.
func killValue(key string, seq uint64) []byte {
	seed := sha256.Sum256(fmt.Appendf(nil, "%s %d", key, seq))
	value := make([]byte, 1+binary.BigEndian.Uint64(seed[:])%kv.MaxValueLen)
	rand.NewChaCha8(seed).Read(value)
	return value
}

// workUntilKilled writes without end. Before each write it prints "put SEQ KEY…" or "delete
// SEQ KEY…". When the write is acknowledged, it prints "done SEQ".
func workUntilKilled(c *child, args []string) error {
	store, err := openWithBug(args[0])
	if err != nil {
		return err
	}
	first, err := strconv.ParseUint(args[1], 10, 64)
	if err != nil {
		return err
	}
	failed := make(chan error)
	var mu sync.Mutex // so that lines of different workers do not mix
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		c.say(format, args...)
	}
	for worker := range killWorkers {
		go func() {
			ctx := context.Background()
			for seq := first + uint64(worker); ; seq += killWorkers {
				keys := make([]string, 1+rand.IntN(3))
				at := rand.IntN(killKeys)
				for i := range keys {
					keys[i] = fmt.Sprintf("w%d:%02d", worker, (at+i)%killKeys)
				}
				var err error
				if rand.IntN(5) == 0 {
					say("delete %d %s", seq, strings.Join(keys, " "))
					err = store.DeleteMany(ctx, keys)
				} else if len(keys) == 1 {
					say("put %d %s", seq, keys[0])
					_, err = store.Put(ctx, keys[0], killValue(keys[0], seq))
				} else {
					say("put %d %s", seq, strings.Join(keys, " "))
					items := make([]kv.Item, len(keys))
					for i, key := range keys {
						items[i] = kv.Item{Key: key, Value: killValue(key, seq)}
					}
					_, err = store.PutMany(ctx, items)
				}
				if err != nil {
					failed <- err
				}
				say("done %d", seq)
			}
		}()
	}
	return <-failed
}

// If a process is killed at any moment, no acknowledged write is lost. Every value is whole:
// it is the value of the last acknowledged write or of an unfinished one. SKYKV_KILL_ROUNDS
// sets the number of rounds.
func TestKill(t *testing.T) {
	t.Parallel()
	rounds := 20
	if text := os.Getenv("SKYKV_KILL_ROUNDS"); text != "" {
		var err error
		if rounds, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	acknowledged, unknown, failure := killRounds(t, "", rounds)
	if failure != "" {
		t.Fatal(failure)
	}
	t.Logf("%d rounds: %d acknowledged writes, %d unfinished, none lost, none torn", rounds, acknowledged, unknown)
	if acknowledged < rounds || unknown == 0 {
		t.Errorf("%d acknowledged writes and %d unfinished in %d rounds: the test proves nothing", acknowledged, unknown, rounds)
	}
}

// killRounds starts a process, kills it while it writes, and checks the file, again and
// again. It returns the numbers of acknowledged and unfinished writes, and the first
// failure.
func killRounds(t *testing.T, bug string, rounds int) (acknowledged, unknown int, failure string) {
	path := filepath.Join(t.TempDir(), "app.db")
	type write struct {
		seq    uint64
		delete bool
	}
	possible := make(map[string][]write) // by key: the last acknowledged write, and later ones
	var seq uint64
	for round := range rounds {
		c := startWithBug(t, bug, "work", path, fmt.Sprint(seq))
		begun := make(map[uint64][]string)
		for acks, killAt := 0, 1+rand.IntN(200); c.lines.Scan(); {
			fields := strings.Fields(c.lines.Text())
			n, err := strconv.ParseUint(fields[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			seq = max(seq, n+1)
			if fields[0] != "done" {
				begun[n] = fields[2:]
				for _, key := range fields[2:] {
					if possible[key] == nil {
						possible[key] = []write{{delete: true}} // absent so far
					}
					possible[key] = append(possible[key], write{n, fields[0] == "delete"})
				}
				continue
			}
			for _, key := range begun[n] {
				p := possible[key]
				possible[key] = p[len(p)-1:] // this write is the last one, because only one worker writes the key
			}
			delete(begun, n)
			acknowledged++
			if acks++; acks == killAt {
				if err := c.cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		c.cmd.Wait()
		unknown += len(begun)

		checkIntegrity(t, path)
		store, err := localkv.New(path, nil)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		for key, writes := range possible {
			entry, err := store.Get(t.Context(), key)
			if err != nil && !errors.Is(err, kv.ErrNotFound) {
				t.Fatalf("round %d: %v", round, err)
			}
			found := false
			for _, w := range writes {
				if w.delete && err != nil || !w.delete && err == nil && bytes.Equal(entry.Value, killValue(key, w.seq)) {
					found, possible[key] = true, []write{w}
				}
			}
			if !found {
				failure = fmt.Sprintf("round %d: %q has a value of %d bytes (%v) from none of the writes %+v", round, key, len(entry.Value), err, writes)
			}
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		if failure != "" || t.Failed() {
			break
		}
	}
	return acknowledged, unknown, failure
}
