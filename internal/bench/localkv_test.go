package bench

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/localkv"
	"go.etcd.io/bbolt"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// The embedded stores hold localKeys values of localValue bytes. Puts overwrite a
// random one with a fresh value: SQLite skips writing bytes that did not change.
const (
	localKeys  = 10_000
	localValue = 1024
)

// local is an embedded store under test, used by one goroutine.
type local interface {
	get(key string) ([]byte, error)
	put(key string, value []byte) error // durable when it returns
}

// localStores open the stores to compare in a directory, each as its
// documentation says and at its best settings: open gives a function that makes
// one user of the store, for each goroutine.
var localStores = []struct {
	name string
	open func(b *testing.B, dir string) func() local
}{
	{"sqlite", openSQLite},
	{"skykv", openSkykv},
	{"bbolt", openBbolt},
}

type skykvLocal struct {
	b     *testing.B
	store *kv.Store
}

func openSkykv(b *testing.B, dir string) func() local {
	store, err := localkv.New(filepath.Join(dir, "skykv.db"), nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { store.Close() })
	return func() local { return skykvLocal{b, store} }
}

func (s skykvLocal) get(key string) ([]byte, error) {
	entry, err := s.store.Get(s.b.Context(), key)
	return entry.Value, err
}

func (s skykvLocal) put(key string, value []byte) error {
	_, err := s.store.Put(s.b.Context(), key, value)
	return err
}

// sqliteLocal is the library that localkv uses, used directly: a connection for
// each goroutine, prepared statements, and the pragmas of localkv. Its table has
// neither expiry nor token.
type sqliteLocal struct {
	conn               *sqlite.Conn
	selectKV, insertKV *sqlite.Stmt
}

func openSQLite(b *testing.B, dir string) func() local {
	path := filepath.Join(dir, "sqlite.db")
	return func() local {
		conn, err := sqlite.OpenConn(path) // in WAL mode
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { conn.Close() })
		for _, statement := range []string{
			"PRAGMA synchronous = FULL",
			"PRAGMA fullfsync = ON",
			"PRAGMA checkpoint_fullfsync = ON",
			"PRAGMA journal_size_limit = 8388608",
			"PRAGMA trusted_schema = OFF",
			"CREATE TABLE IF NOT EXISTS kv (k TEXT NOT NULL PRIMARY KEY, v BLOB NOT NULL)",
		} {
			if err := sqlitex.ExecuteTransient(conn, statement, nil); err != nil {
				b.Fatal(err)
			}
		}
		return &sqliteLocal{
			conn:     conn,
			selectKV: conn.Prep("SELECT v FROM kv WHERE k = ?1"),
			insertKV: conn.Prep("INSERT INTO kv (k, v) VALUES (?1, ?2) ON CONFLICT (k) DO UPDATE SET v = excluded.v"),
		}
	}
}

func (s *sqliteLocal) get(key string) ([]byte, error) {
	s.selectKV.BindText(1, key)
	found, err := s.selectKV.Step()
	if !found || err != nil {
		return nil, fmt.Errorf("found %t: %w", found, err)
	}
	value := make([]byte, s.selectKV.ColumnLen(0))
	s.selectKV.ColumnBytes(0, value)
	return value, s.selectKV.Reset()
}

func (s *sqliteLocal) put(key string, value []byte) error {
	s.insertKV.BindText(1, key)
	s.insertKV.BindBytes(2, value)
	if _, err := s.insertKV.Step(); err != nil {
		return err
	}
	return s.insertKV.Reset()
}

type bboltLocal struct{ db *bbolt.DB }

var bboltBucket = []byte("kv")

func openBbolt(b *testing.B, dir string) func() local {
	db, err := bbolt.Open(filepath.Join(dir, "bbolt.db"), 0o600, &bbolt.Options{FreelistType: bbolt.FreelistMapType})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	if err := db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket(bboltBucket)
		return err
	}); err != nil {
		b.Fatal(err)
	}
	return func() local { return bboltLocal{db} }
}

func (s bboltLocal) get(key string) (value []byte, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		value = append([]byte{}, tx.Bucket(bboltBucket).Get([]byte(key))...)
		return nil
	})
	return value, err
}

func (s bboltLocal) put(key string, value []byte) error {
	return s.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bboltBucket).Put([]byte(key), value) })
}

// fillLocal stores all keys: one transaction each would take minutes of syncs.
func fillLocal(b *testing.B, user local) {
	fresh := newValues()
	switch s := user.(type) {
	case skykvLocal:
		items := make([]kv.Item, localKeys)
		for i := range items {
			items[i] = kv.Item{Key: localKey(i), Value: append([]byte{}, fresh()...)}
		}
		if err := s.store.PutMany(b.Context(), items); err != nil {
			b.Fatal(err)
		}
	case *sqliteLocal:
		end, err := sqlitex.ImmediateTransaction(s.conn)
		for i := 0; err == nil && i < localKeys; i++ {
			err = s.put(localKey(i), fresh())
		}
		if end(&err); err != nil {
			b.Fatal(err)
		}
	case bboltLocal:
		if err := s.db.Update(func(tx *bbolt.Tx) error {
			for i := range localKeys {
				if err := tx.Bucket(bboltBucket).Put([]byte(localKey(i)), fresh()); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
}

// localKey spreads the keys, of 21 bytes, over their range.
func localKey(i int) string { return fmt.Sprintf("user:%016x", uint64(i)*0x9e3779b97f4a7c15) }

// newValues gives a generator of values that were never stored before.
func newValues() func() []byte {
	random := rand.NewChaCha8([32]byte{})
	value := make([]byte, localValue)
	return func() []byte {
		random.Read(value)
		return value
	}
}

func BenchmarkLocal(b *testing.B) {
	keys := make([]string, localKeys)
	for i := range keys {
		keys[i] = localKey(i)
	}
	for _, store := range localStores {
		b.Run("op=get/store="+store.name, func(b *testing.B) {
			user := store.open(b, b.TempDir())()
			fillLocal(b, user)
			b.ReportAllocs()
			for b.Loop() {
				if value, err := user.get(keys[rand.IntN(localKeys)]); err != nil || len(value) != localValue {
					b.Fatal(len(value), err)
				}
			}
		})
	}
	for _, store := range localStores {
		b.Run("op=get-parallel/store="+store.name, func(b *testing.B) {
			users := store.open(b, b.TempDir())
			fillLocal(b, users())
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				user := users()
				for pb.Next() {
					if value, err := user.get(keys[rand.IntN(localKeys)]); err != nil || len(value) != localValue {
						b.Error(len(value), err)
					}
				}
			})
		})
	}
	for _, store := range localStores {
		b.Run("op=put/store="+store.name, func(b *testing.B) {
			user := store.open(b, b.TempDir())()
			fillLocal(b, user)
			fresh := newValues()
			b.ReportAllocs()
			for b.Loop() {
				if err := user.put(keys[rand.IntN(localKeys)], fresh()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkLocalRatio does each operation on all stores in turn, so that they
// share the machine's noise and the disk's, and reports the medians and their
// ratios to SQLite's.
func BenchmarkLocalRatio(b *testing.B) {
	for _, op := range []string{"get", "put"} {
		b.Run("op="+op, func(b *testing.B) {
			users := make([]local, len(localStores))
			took := make([][]time.Duration, len(localStores))
			for i, store := range localStores {
				users[i] = store.open(b, b.TempDir())()
				fillLocal(b, users[i])
			}
			fresh := newValues()
			for b.Loop() {
				key, value := localKey(rand.IntN(localKeys)), fresh()
				for _, i := range rand.Perm(len(users)) { // who follows SQLite finds the caches warm
					begun := time.Now()
					var err error
					if op == "get" {
						_, err = users[i].get(key)
					} else {
						err = users[i].put(key, value)
					}
					took[i] = append(took[i], time.Since(begun))
					if err != nil {
						b.Fatal(err)
					}
				}
			}
			var medians []float64
			for i, store := range localStores {
				slices.Sort(took[i])
				medians = append(medians, float64(took[i][len(took[i])/2]))
				b.ReportMetric(medians[i], store.name+"-ns/op")
				if i > 0 {
					b.ReportMetric(medians[i]/medians[0], store.name+"/"+localStores[0].name)
				}
			}
			b.ReportMetric(0, "ns/op") // of all stores together: means nothing
		})
	}
}

// BenchmarkLocalScaling reads with one goroutine and with two in turns of some
// milliseconds, and reports the speedup of the best turns: those in which nobody
// else had the processors.
func BenchmarkLocalScaling(b *testing.B) {
	for _, store := range localStores {
		b.Run("op=get/store="+store.name, func(b *testing.B) {
			open := store.open(b, b.TempDir())
			users := []local{open(), open()}
			fillLocal(b, users[0])
			const turn = 200 // gets of each goroutine
			best := [2]time.Duration{time.Hour, time.Hour}
			for b.Loop() {
				for n := range best {
					var wg sync.WaitGroup
					begun := time.Now()
					for _, user := range users[:n+1] {
						wg.Go(func() {
							for range turn {
								if _, err := user.get(localKey(rand.IntN(localKeys))); err != nil {
									b.Error(err)
								}
							}
						})
					}
					wg.Wait()
					best[n] = min(best[n], time.Since(begun))
				}
			}
			b.ReportMetric(float64(best[0])/turn, "1-ns/op")
			b.ReportMetric(float64(best[1])/turn/2, "2-ns/op")
			b.ReportMetric(2*float64(best[0])/float64(best[1]), "speedup")
			b.ReportMetric(0, "ns/op") // of both together: means nothing
		})
	}
}
