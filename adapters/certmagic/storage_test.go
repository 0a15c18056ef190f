package certmagic_test

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/certmagic"

	certmagickv "github.com/skykv/skykv/adapters/certmagic"
	"github.com/skykv/skykv/internal/testing/faults"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/lease"
	"github.com/skykv/skykv/providers/localkv"
	"github.com/skykv/skykv/providers/memkv"
)

var _ interface {
	certmagic.Storage
	certmagic.TryLocker
} = (*certmagickv.Storage)(nil)

func open(t *testing.T, store *kv.Store) *certmagickv.Storage {
	t.Helper()
	s, err := certmagickv.New(store, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// names are the names of files. Some are also names of directories, and some are prefixes of
// others.
var names = []string{
	"a", "a/b", "a-b", "a.b/c", "ab/c", "a/b/c", "a/d e/f", "a/d_e/f", "certificates/ca-directory/wildcard_.example.com/wildcard_.example.com.key",
	"a/xn--bcher-kva.example+rsa", "a/ü", "::/x", "ocsp/example.com-0123",
}

func fill(t *testing.T, s certmagic.Storage) {
	t.Helper()
	for _, name := range names {
		if err := s.Store(t.Context(), name, []byte("contents of "+name)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, memkv.New())
		for _, name := range names {
			if contents, err := s.Load(t.Context(), name); contents != nil || !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("rule: Load of what does not exist is fs.ErrNotExist; %q: %q, %v", name, contents, err)
			}
			if info, err := s.Stat(t.Context(), name); info != (certmagic.KeyInfo{}) || !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("rule: Stat of what does not exist is fs.ErrNotExist; %q: %v, %v", name, info, err)
			}
			if s.Exists(t.Context(), name) {
				t.Errorf("rule: what was not stored does not exist; %q does", name)
			}
		}
		if s.Exists(t.Context(), "") {
			t.Error("rule: a directory without files does not exist; the root does")
		}
		fill(t, s)
		stored := time.Now()
		time.Sleep(time.Hour)
		for _, name := range names {
			contents, err := s.Load(t.Context(), name)
			if string(contents) != "contents of "+name || err != nil {
				t.Errorf("rule: Load returns what Store stored; %q: %q, %v", name, contents, err)
			}
			want := certmagic.KeyInfo{Key: name, Modified: stored, Size: int64(len(contents)), IsTerminal: true}
			if info, err := s.Stat(t.Context(), name); info.Key != want.Key || !info.Modified.Equal(want.Modified) || info.Size != want.Size || !info.IsTerminal || err != nil {
				t.Errorf("rule: Stat describes a file; %q: %v, %v, want %v", name, info, err, want)
			}
			if !s.Exists(t.Context(), name) {
				t.Errorf("rule: what was stored exists; %q does not", name)
			}
		}
		for _, directory := range []string{"", "ab", "a.b", "a/d e", "certificates", "certificates/ca-directory", "ocsp/"} {
			if !s.Exists(t.Context(), directory) {
				t.Errorf("rule: a directory exists; %q does not", directory)
			}
			if info, err := s.Stat(t.Context(), directory); info.Key != directory || info.IsTerminal || err != nil {
				t.Errorf("rule: Stat of a directory has its name and is not terminal; %q: %v, %v", directory, info, err)
			}
			if _, err := s.Load(t.Context(), directory); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("rule: a directory has no contents; %q: %v", directory, err)
			}
		}
		if err := s.Store(t.Context(), "a/b", nil); err != nil {
			t.Fatal(err)
		}
		if contents, err := s.Load(t.Context(), "a/b"); contents == nil || len(contents) != 0 || err != nil {
			t.Errorf("rule: a file may be empty; got %v, %v", contents, err)
		}
	})
}

func TestList(t *testing.T) {
	t.Parallel()
	s := open(t, memkv.New())
	fill(t, s)
	// The reference is certmagic's own storage. In a file system, no file is also a directory. So
	// the reference does not get the two files whose names are also names of directories.
	reference := &certmagic.FileStorage{Path: t.TempDir()}
	both := []string{"a", "a/b"}
	for _, name := range names {
		if !slices.Contains(both, name) {
			if err := reference.Store(t.Context(), name, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, path := range []string{"", "a", "a/", "a/b", "ab", "a.b", "a/d e", "a/d_e", "certificates", "certificates/ca-directory", "ocsp", "::"} {
		for _, recursive := range []bool{false, true} {
			want, err := reference.List(t.Context(), path, recursive)
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.List(t.Context(), path, recursive)
			slices.Sort(want)
			slices.Sort(got)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("rule: List is that of a file system; of %q, recursive %t, it is %q, %v, want %q", path, recursive, got, err, want)
			}
		}
	}
	for _, path := range []string{"b", "a/c", "certificate", "ocsp/example"} {
		if got, err := s.List(t.Context(), path, true); got != nil || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("rule: List of what is no directory is fs.ErrNotExist; %q: %q, %v", path, got, err)
		}
	}
}

func TestListOfSlashes(t *testing.T) {
	t.Parallel()
	s := open(t, memkv.New())
	if err := s.Store(t.Context(), "a/", nil); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"a", "a/", "a//"} {
		for _, recursive := range []bool{false, true} {
			if got, err := s.List(t.Context(), path, recursive); !slices.Equal(got, []string{"a/"}) || err != nil {
				t.Errorf("rule: slashes at the end of a path do not matter; List of %q returns %q, %v", path, got, err)
			}
		}
	}
}

func TestDelete(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	s := open(t, store)
	fill(t, s)
	if err := s.Lock(t.Context(), "a/lock"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "a", "never"} {
		if err := s.Delete(t.Context(), name); err != nil {
			t.Errorf("rule: Delete removes a name, and one that does not exist is no error; %q: %v", name, err)
		}
	}
	for _, name := range names {
		want := name != "a" && !strings.HasPrefix(name, "a/")
		if got := s.Exists(t.Context(), name); got != want {
			t.Errorf("rule: Delete of a directory removes all below it, and nothing beside it; %q exists: %t, want %t", name, got, want)
		}
	}
	before, err := store.Count(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), ""); !errors.Is(err, kv.ErrInvalidKey) {
		t.Errorf("rule: Delete of an empty name is refused; got %v", err)
	}
	if after, err := store.Count(t.Context(), ""); after != before || err != nil {
		t.Errorf("rule: Delete of an empty name removes nothing; %d entries are left of %d, %v", after, before, err)
	}
	if err := s.Unlock(t.Context(), "a/lock"); err != nil {
		t.Errorf("rule: Delete leaves locks alone; got %v", err)
	}
}

func TestLargeFiles(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	largest := make([]byte, kv.MaxValueLen-8)
	if err := open(t, store).Store(t.Context(), "a", largest); err != nil {
		t.Errorf("rule: a file has up to 24 KiB less 8 bytes; got %v", err)
	}
	if err := open(t, store).Store(t.Context(), "a", append(largest, 0)); !errors.Is(err, kv.ErrValueTooLarge) {
		t.Errorf("rule: a larger file is ErrValueTooLarge; got %v", err)
	}
	large := open(t, store.With(kv.MaxValue(kv.MaxLargeValueLen)))
	if err := large.Store(t.Context(), "a", make([]byte, kv.MaxLargeValueLen-8)); err != nil {
		t.Errorf("rule: with kv.MaxValue a file may be larger; got %v", err)
	}
	if contents, err := open(t, store).Load(t.Context(), "a"); len(contents) != kv.MaxLargeValueLen-8 || err != nil {
		t.Errorf("rule: a larger file is read without kv.MaxValue; %d bytes, %v", len(contents), err)
	}
	if err := large.Store(t.Context(), strings.Repeat("a", 508), nil); !errors.Is(err, kv.ErrInvalidKey) {
		t.Errorf("rule: a name that is too long is ErrInvalidKey; got %v", err)
	}
	if err := large.Store(t.Context(), strings.Repeat("a", 507), nil); err != nil {
		t.Errorf("rule: a name has up to 507 bytes; got %v", err)
	}
}

func TestLongNames(t *testing.T) {
	t.Parallel()
	s := open(t, memkv.New())
	for _, n := range []int{504, 505, 507, 508, 10_000} { // the name of a directory may have 504 bytes, and the name of a file 507
		name := strings.Repeat("a", n)
		if n <= 507 {
			if err := s.Store(t.Context(), name, nil); err != nil || !s.Exists(t.Context(), name) {
				t.Errorf("Store of a name of %d bytes: %v", n, err)
			}
		}
		if err := s.Delete(t.Context(), name); err != nil || s.Exists(t.Context(), name) {
			t.Errorf("rule: Delete returns an error only if the name still exists; %d bytes: %v", n, err)
		}
		_, load := s.Load(t.Context(), name)
		_, stat := s.Stat(t.Context(), name)
		_, list := s.List(t.Context(), name, true)
		for call, err := range map[string]error{"Load": load, "Stat": stat, "List": list} {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("rule: a name that is too long does not exist; %s of %d bytes: %v", call, n, err)
			}
		}
	}
}

func TestValueOfOthers(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	s := open(t, store)
	if _, err := store.Put(t.Context(), "file:a", []byte("secret")); err != nil {
		t.Fatal(err)
	}
	_, stat := s.Stat(t.Context(), "a")
	_, load := s.Load(t.Context(), "a")
	for call, err := range map[string]error{"Stat": stat, "Load": load} {
		if !errors.Is(err, kv.ErrIncompatible) || strings.Contains(err.Error(), "secret") {
			t.Errorf("rule: what is no file is ErrIncompatible, without its value; %s: %v", call, err)
		}
	}
}

func TestStoreFails(t *testing.T) {
	t.Parallel()
	in := new(faults.Injector)
	s := open(t, memkv.New().With(kv.Wrap(kv.Level1, faults.Driver(in, 1))))
	fill(t, s)
	in.Use(faults.Always(faults.Drop))
	_, load := s.Load(t.Context(), "a")
	_, stat := s.Stat(t.Context(), "a")
	_, list := s.List(t.Context(), "a", true)
	_, try := s.TryLock(t.Context(), "a")
	for call, err := range map[string]error{
		"Load": load, "Stat": stat, "List": list, "TryLock": try, "Store": s.Store(t.Context(), "a", nil), "Delete": s.Delete(t.Context(), "a"),
	} {
		if !errors.Is(err, kv.ErrUnavailable) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("rule: a store that is unavailable is an error, and no missing file; %s: %v", call, err)
		}
	}
	if s.Exists(t.Context(), "a") {
		t.Error("rule: Exists is false when the store failed, as the interface wants it")
	}
	// The lookup of the file succeeds, and the lookup of the directory fails.
	in.Use(faults.Reads(faults.Pass, faults.Drop, faults.Pass, faults.Drop))
	if _, err := s.Stat(t.Context(), "ab"); !errors.Is(err, kv.ErrUnavailable) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("rule: a store that is unavailable is no missing directory; got %v", err)
	}
	if s.Exists(t.Context(), "ab") {
		t.Error("rule: Exists is false when the store failed, as the interface wants it")
	}
	in.Use(faults.Writes(faults.Lose))
	if err := s.Store(t.Context(), "new", []byte("1")); !errors.Is(err, kv.ErrIndeterminate) {
		t.Errorf("rule: a write whose response was lost is ErrIndeterminate; got %v", err)
	}
}

func TestLocks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in, one, two := processes(t)
		const name = "issue_cert_*.example.com/ü"
		var working atomic.Int64
		var workers sync.WaitGroup
		for _, s := range []*certmagickv.Storage{one, one, two, two} {
			workers.Go(func() {
				for range 5 {
					if err := s.Lock(t.Context(), name); err != nil {
						t.Error(err)
						return
					}
					if working.Add(1) > 1 {
						t.Error("rule: one has a lock at a time")
					}
					time.Sleep(3 * lease.DefaultTTL) // the lock is renewed during this pause
					working.Add(-1)
					if err := s.Unlock(t.Context(), name); err != nil {
						t.Error(err)
					}
				}
			})
		}
		workers.Wait()

		if ok, err := one.TryLock(t.Context(), name); !ok || err != nil {
			t.Fatalf("rule: TryLock takes a free lock; got %t, %v", ok, err)
		}
		if ok, err := two.TryLock(t.Context(), name); ok || err != nil {
			t.Errorf("rule: TryLock of a lock that is held is false, and no error; got %t, %v", ok, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := two.Lock(ctx, name); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("rule: Lock waits until its context ends; got %v", err)
		}

		// The process that holds the lock is cut off from the store. To the other
		// process it looks dead.
		in.Use(faults.Always(faults.Drop))
		begun := time.Now()
		if err := two.Lock(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		// The last renewal may have been up to a third of the TTL before the process was cut off.
		if waited := time.Since(begun); waited < lease.DefaultTTL*2/3 || waited > lease.DefaultTTL+lease.DefaultTTL/10 {
			t.Errorf("rule: the lock of a process that died is free a TTL and a Poll after its last renewal; it took %s", waited)
		}
		in.Use(nil)
		if err := one.Unlock(t.Context(), name); !errors.Is(err, lease.ErrLost) {
			t.Errorf("rule: Unlock of a lock that was lost is ErrLost; got %v", err)
		}
		if ok, err := one.TryLock(t.Context(), name); ok || err != nil {
			t.Errorf("rule: Unlock releases no lock of another process; TryLock returns %t, %v", ok, err)
		}
		if err := two.Unlock(t.Context(), name); err != nil {
			t.Error(err)
		}
		if err := two.Unlock(t.Context(), name); err == nil || !strings.Contains(err.Error(), "does not hold") {
			t.Errorf("rule: Unlock without a Lock is an error; got %v", err)
		}
	})
}

// processes returns the storages of two processes. The requests of the first one pass through
// the injector.
func processes(t *testing.T) (in *faults.Injector, one, two *certmagickv.Storage) {
	t.Helper()
	in = new(faults.Injector)
	data := memkv.New()
	return in, open(t, data.With(kv.Wrap(kv.Level1, faults.Driver(in, 1)))), open(t, data)
}

func wantFree(t *testing.T, s *certmagickv.Storage) {
	t.Helper()
	if ok, err := s.TryLock(t.Context(), "a"); !ok || err != nil {
		t.Errorf("rule: a lock is free after Unlock; got %t, %v", ok, err)
	}
	if err := s.Unlock(t.Context(), "a"); err != nil {
		t.Error(err)
	}
}

// certmagic passes the name of a lock to Unlock, but does not say which goroutine calls it. So
// Unlock must release the lost lock before the lock that is held.
func TestUnlockOfALostLock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in, one, two := processes(t)
		if err := one.Lock(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		in.Use(faults.Always(faults.Drop))
		time.Sleep(2 * lease.DefaultTTL)
		in.Use(nil)
		if err := one.Lock(t.Context(), "a"); err != nil { // another goroutine of the process
			t.Fatal(err)
		}
		if err := one.Unlock(t.Context(), "a"); !errors.Is(err, lease.ErrLost) {
			t.Errorf("rule: Unlock of a lock that was lost is ErrLost; got %v", err)
		}
		if ok, err := two.TryLock(t.Context(), "a"); ok || err != nil {
			t.Errorf("rule: Unlock of a lock that was lost does not release that of another goroutine; TryLock returns %t, %v", ok, err)
		}
		if err := one.Unlock(t.Context(), "a"); err != nil {
			t.Error(err)
		}
		wantFree(t, two)
	})
}

// certmagic does not call Unlock again after an error. The next Lock and Unlock of the same name
// must work nevertheless.
func TestLockAfterAFailedUnlock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in, one, two := processes(t)
		for _, failed := range []bool{true, false} {
			if err := one.Lock(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			if failed {
				in.Use(faults.Always(faults.Drop))
			}
			if err := one.Unlock(t.Context(), "a"); (err != nil) != failed {
				t.Errorf("Unlock: %v; want an error: %t", err, failed)
			}
			in.Use(nil)
		}
		wantFree(t, two)
	})
}

func TestUnlockIsTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in, one, two := processes(t)
		if err := one.Lock(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		in.Use(faults.Always(faults.Drop))
		if err := one.Unlock(t.Context(), "a"); !errors.Is(err, kv.ErrUnavailable) {
			t.Errorf("rule: Unlock is an error when the lock could not be released; got %v", err)
		}
		in.Use(nil)
		if err := one.Unlock(t.Context(), "a"); err != nil {
			t.Errorf("rule: Unlock may be tried again; got %v", err)
		}
		wantFree(t, two)
	})
}

func TestOptions(t *testing.T) {
	t.Parallel()
	if s, err := certmagickv.New(memkv.New(), &lease.Options{TTL: 30}); s != nil || !errors.Is(err, kv.ErrInvalidOption) {
		t.Errorf("rule: options out of their bounds are ErrInvalidOption; got %v", err)
	}
	longest, err := memkv.New().Namespace(strings.Repeat("a", kv.MaxKeyLen-1))
	if err != nil {
		t.Fatal(err)
	}
	if s, err := certmagickv.New(longest, nil); s != nil || !errors.Is(err, kv.ErrInvalidKey) {
		t.Errorf("rule: a namespace that leaves no bytes for names is ErrInvalidKey; got %v", err)
	}
}

// file returns a function that opens a store in a file. Each call stands for a process.
func file(t *testing.T) (open func() *kv.Store) {
	url := "file:" + filepath.ToSlash(filepath.Join(t.TempDir(), "store.db"))
	return func() *kv.Store {
		store, err := localkv.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
		return store
	}
}
