package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"

	gokvbbolt "github.com/philippgille/gokv/bbolt"
	"go.etcd.io/bbolt"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/localkv"
)

var localWorks = []work{
	{name: "Get/service=local", turns: 40, ops: 200, open: localGet},
	{name: "Get-of-2-goroutines/service=local", turns: 10, ops: 10_000, open: localScaling},
	{name: "Put-durable/service=local", turns: 40, ops: 2, open: localPut},
}

// localKeys is how many keys an embedded store holds. A put overwrites one of them, at
// random, with a new value, because SQLite does not write bytes that have not changed.
const localKeys = 10_000

// local is an embedded store, as one goroutine uses it.
type local interface {
	get(ctx context.Context, key string) ([]byte, error)
	put(ctx context.Context, key string, value []byte) error // the write is durable when put returns
	fill(ctx context.Context, keys []string) error
}

type localStore struct {
	name string
	open func(b *bed, folder string) (func() (local, error), error)
}

// localStores are the embedded stores. sqlite has localkv's settings, and bbolt has the kind of
// freelist that its documentation calls faster. The function open opens a store in a folder, and
// returns a function that makes a local for one goroutine.
var localStores = []localStore{
	{"sqlite", openSQLite},
	{"skykv", openSkykv},
	{"bbolt", openBbolt},
	{"gokv", openGokvBbolt},
}

// fill puts an entry under each of the keys, and closes the store.
func (s localStore) fill(ctx context.Context, folder string, keys []string) (err error) {
	b := &bed{ctx: ctx}
	defer func() { err = errors.Join(err, b.close()) }()
	users, err := s.open(b, folder)
	if err != nil {
		return err
	}
	user, err := users()
	if err != nil {
		return err
	}
	return user.fill(ctx, keys)
}

func localKeyNames() []string {
	keys := make([]string, localKeys)
	for i := range keys { // evenly over the range of keys
		keys[i] = fmt.Sprintf("user:%016x", uint64(i)*0x9e3779b97f4a7c15)
	}
	return keys
}

// values makes random values, each different from the one before. Every sequence begins with
// the same values.
type values struct{ random *rand.ChaCha8 }

func newValues() values { return values{rand.NewChaCha8([32]byte{})} }

func (v values) fresh() []byte {
	value := make([]byte, valueLen)
	v.random.Read(value)
	return value
}

// localContenders fills and opens every embedded store. The argument do returns the function
// that does the operations to measure.
func localContenders(b *bed, do func(users func() (local, error), keys []string) (func(context.Context, int) error, error)) ([]contender, error) {
	keys := localKeyNames()
	var contenders []contender
	for _, store := range localStores {
		folder, err := b.folder()
		if err != nil {
			return nil, err
		}
		// The store is closed after it was filled, and opened again. Closing empties SQLite's
		// log, so reads do not have to search the log for the latest writes.
		if err := store.fill(b.ctx, folder, keys); err != nil {
			return nil, err
		}
		users, err := store.open(b, folder)
		if err != nil {
			return nil, err
		}
		job, err := do(users, keys)
		if err != nil {
			return nil, err
		}
		contenders = append(contenders, contender{store: store.name, do: job})
	}
	return contenders, nil
}

func localGet(b *bed) ([]contender, error) {
	return localContenders(b, func(users func() (local, error), keys []string) (func(context.Context, int) error, error) {
		user, err := users()
		return getRandom(user, keys), err
	})
}

func localPut(b *bed) ([]contender, error) {
	return localContenders(b, func(users func() (local, error), keys []string) (func(context.Context, int) error, error) {
		user, err := users()
		values := newValues()
		return each(func(ctx context.Context) error {
			return user.put(ctx, keys[rand.IntN(len(keys))], values.fresh())
		}), err
	})
}

func getRandom(user local, keys []string) func(context.Context, int) error {
	return each(func(ctx context.Context) error {
		value, err := user.get(ctx, keys[rand.IntN(len(keys))])
		return checkLen(len(value), err)
	})
}

// localScaling reads from the same store with one goroutine, and with two.
func localScaling(b *bed) ([]contender, error) {
	var twos []func(context.Context, int) error
	ones, err := localContenders(b, func(users func() (local, error), keys []string) (func(context.Context, int) error, error) {
		first, err := users()
		if err != nil {
			return nil, err
		}
		second, err := users()
		if err != nil {
			return nil, err
		}
		jobs := []func(context.Context, int) error{getRandom(first, keys), getRandom(second, keys)}
		twos = append(twos, func(ctx context.Context, n int) error {
			errs := make([]error, len(jobs))
			var running sync.WaitGroup
			for i, job := range jobs {
				running.Go(func() { errs[i] = job(ctx, n/len(jobs)) })
			}
			running.Wait()
			return errors.Join(errs...)
		})
		return jobs[0], nil
	})
	if err != nil {
		return nil, err
	}
	var all []contender
	for i, one := range ones {
		all = append(all, one, contender{store: one.store + "-x2", do: twos[i]})
	}
	return all, nil
}

type skykvLocal struct{ store *kv.Store }

func openSkykv(b *bed, folder string) (func() (local, error), error) {
	store, err := localkv.New(filepath.Join(folder, "skykv.db"), nil)
	if err != nil {
		return nil, err
	}
	b.onClose(store.Close)
	return func() (local, error) { return skykvLocal{store}, nil }, nil
}

func (s skykvLocal) get(ctx context.Context, key string) ([]byte, error) {
	entry, err := s.store.Get(ctx, key)
	return entry.Value, err
}

func (s skykvLocal) put(ctx context.Context, key string, value []byte) error {
	_, err := s.store.Put(ctx, key, value)
	return err
}

func (s skykvLocal) fill(ctx context.Context, keys []string) error {
	values := newValues()
	items := make([]kv.Item, len(keys))
	for i, key := range keys {
		items[i] = kv.Item{Key: key, Value: values.fresh()}
	}
	_, err := s.store.PutMany(ctx, items)
	return err
}

// sqliteLocal uses localkv's SQLite library directly, with a connection for each goroutine,
// prepared statements, and localkv's pragmas. Its table has neither an expiry nor a token.
type sqliteLocal struct {
	conn               *sqlite.Conn
	selectKV, insertKV *sqlite.Stmt
}

func openSQLite(b *bed, folder string) (func() (local, error), error) {
	path := filepath.Join(folder, "sqlite.db")
	return func() (local, error) {
		conn, err := sqlite.OpenConn(path) // sets WAL mode
		if err != nil {
			return nil, err
		}
		b.onClose(conn.Close)
		for _, statement := range []string{
			"PRAGMA synchronous = FULL",
			"PRAGMA fullfsync = ON",
			"PRAGMA checkpoint_fullfsync = ON",
			"PRAGMA journal_size_limit = 8388608",
			"PRAGMA trusted_schema = OFF",
			"CREATE TABLE IF NOT EXISTS kv (k TEXT NOT NULL PRIMARY KEY, v BLOB NOT NULL)",
		} {
			if err := sqlitex.ExecuteTransient(conn, statement, nil); err != nil {
				return nil, err
			}
		}
		return &sqliteLocal{
			conn:     conn,
			selectKV: conn.Prep("SELECT v FROM kv WHERE k = ?1"),
			insertKV: conn.Prep("INSERT INTO kv (k, v) VALUES (?1, ?2) ON CONFLICT (k) DO UPDATE SET v = excluded.v"),
		}, nil
	}, nil
}

func (s *sqliteLocal) get(_ context.Context, key string) ([]byte, error) {
	s.selectKV.BindText(1, key)
	found, err := s.selectKV.Step()
	if !found || err != nil {
		return nil, fmt.Errorf("found %t: %w", found, err)
	}
	value := make([]byte, s.selectKV.ColumnLen(0))
	s.selectKV.ColumnBytes(0, value)
	return value, s.selectKV.Reset()
}

func (s *sqliteLocal) put(_ context.Context, key string, value []byte) error {
	s.insertKV.BindText(1, key)
	s.insertKV.BindBytes(2, value)
	if _, err := s.insertKV.Step(); err != nil {
		return err
	}
	return s.insertKV.Reset()
}

func (s *sqliteLocal) fill(ctx context.Context, keys []string) (err error) {
	end, err := sqlitex.ImmediateTransaction(s.conn)
	if err != nil {
		return err
	}
	defer end(&err)
	values := newValues()
	for _, key := range keys {
		if err := s.put(ctx, key, values.fresh()); err != nil {
			return err
		}
	}
	return nil
}

type bboltLocal struct{ db *bbolt.DB }

var bboltBucket = []byte("kv")

func openBbolt(b *bed, folder string) (func() (local, error), error) {
	db, err := bbolt.Open(filepath.Join(folder, "bbolt.db"), 0o600, &bbolt.Options{FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return nil, err
	}
	b.onClose(db.Close)
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bboltBucket)
		return err
	})
	return func() (local, error) { return bboltLocal{db}, nil }, err
}

func (s bboltLocal) get(_ context.Context, key string) (value []byte, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		value = append([]byte{}, tx.Bucket(bboltBucket).Get([]byte(key))...)
		return nil
	})
	return value, err
}

func (s bboltLocal) put(_ context.Context, key string, value []byte) error {
	return s.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bboltBucket).Put([]byte(key), value) })
}

func (s bboltLocal) fill(_ context.Context, keys []string) error {
	return fillBbolt(s.db, bboltBucket, keys)
}

func fillBbolt(db *bbolt.DB, bucket []byte, keys []string) error {
	values := newValues()
	return db.Update(func(tx *bbolt.Tx) error {
		bucket, err := tx.CreateBucketIfNotExists(bucket)
		for i := 0; err == nil && i < len(keys); i++ {
			err = bucket.Put([]byte(keys[i]), values.fresh())
		}
		return err
	})
}

// gokvLocal is gokv over bbolt.
type gokvLocal struct{ store gokvbbolt.Store }

const gokvBucket = "default"

func openGokvBbolt(b *bed, folder string) (func() (local, error), error) {
	path := filepath.Join(folder, "gokv.db")
	// gokv has no batches, so bbolt fills the file before gokv opens it.
	db, err := bbolt.Open(path, 0o600, nil)
	if err == nil {
		err = errors.Join(fillBbolt(db, []byte(gokvBucket), localKeyNames()), db.Close())
	}
	if err != nil {
		return nil, err
	}
	store, err := gokvbbolt.NewStore(gokvbbolt.Options{Path: path, BucketName: gokvBucket, Codec: rawCodec{}})
	if err != nil {
		return nil, err
	}
	b.onClose(store.Close)
	return func() (local, error) { return gokvLocal{store}, nil }, nil
}

func (s gokvLocal) get(_ context.Context, key string) (value []byte, err error) {
	found, err := s.store.Get(key, &value)
	if !found && err == nil {
		err = errors.New("not found")
	}
	return value, err
}

func (s gokvLocal) put(_ context.Context, key string, value []byte) error {
	return s.store.Set(key, value)
}

func (s gokvLocal) fill(context.Context, []string) error { return nil }

// rawCodec stores values as they are, instead of in one of gokv's encodings.
type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error) { return v.([]byte), nil }

func (rawCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = data
	return nil
}
