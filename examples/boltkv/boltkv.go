// Package boltkv is an example of a provider that a third party writes, outside this repository.
// Its stores are in bbolt, an embedded database in one file. The package has everything that a
// provider needs: a driver, a constructor, a [provider.Provider] that opens stores by URL, and a
// test that runs the suite. The command boltkv-cli is skykv with this provider.
package boltkv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

const (
	name    = "bolt"
	urlForm = "bolt:PATH"

	lockWait = time.Second // how long Open waits until another process closes the file
	pageRows = 256         // how many records a scan reads in one transaction
)

var bucket = []byte("kv")

// Open opens the store at a URL such as bolt:app.bolt or bolt:///var/lib/app.bolt. It creates
// the file if it does not exist. Only one process at a time can open the file. While one has
// it open, Open returns [kv.ErrUnavailable] in all others.
func Open(_ context.Context, url string) (*kv.Store, error) {
	path, err := pathOf(url)
	if err != nil {
		return nil, err
	}
	db, err := bbolt.Open(path, 0o644, &bbolt.Options{Timeout: lockWait})
	if err == nil {
		err = db.Update(func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucketIfNotExists(bucket)
			return err
		})
	}
	if err != nil {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
		return nil, &kv.Error{Op: "open", Provider: name, Kind: kindOf(err), Err: err}
	}
	return kv.New(&driver{db}), nil
}

func pathOf(url string) (string, error) {
	u, err := provider.ParseURL(name, urlForm, url)
	if err != nil {
		return "", err
	}
	if u.Host != "" || u.Path == "" {
		return "", u.Errorf("there is no path")
	}
	return u.Path, nil
}

// Provider returns the provider, which opens and inspects stores by URL.
func Provider() provider.Provider {
	return provider.Provider{
		Scheme: name, Form: urlForm, Summary: "bbolt in one file, created if absent",
		Open: Open, Inspect: inspect,
		Files: func(url string) []string {
			path, err := pathOf(url)
			if err != nil {
				return nil
			}
			return []string{path}
		},
	}
}

func inspect(_ context.Context, url string) iter.Seq[provider.Check] {
	return func(yield func(provider.Check) bool) {
		path, err := pathOf(url)
		if err != nil {
			yield(provider.Failed("url", err, "fix the URL"))
			return
		}
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			yield(provider.Failed("folder", err, "create it, or fix the path in the URL"))
			return
		}
		_, err = os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			yield(provider.Check{Name: "file", Status: provider.Fail, Detail: "there is no file " + path, Fix: provider.Provision, Step: "create the file " + path})
		case err != nil:
			yield(provider.Failed("file", err, "see the message"))
		default:
			yield(provider.Check{Name: "file", Status: provider.OK, Detail: path + " exists"})
		}
	}
}

type driver struct{ db *bbolt.DB }

func (d *driver) Info() kv.Info { return kv.Info{Name: name, Shards: 1} }

// row is a record as it is stored under its key, in JSON. The version of the record is its Token.
type row struct {
	Value        []byte `json:"v"`
	Expires      int64  `json:"x,omitempty"`
	Token        string `json:"t"`
	Predecessors string `json:"p,omitempty"`
}

func encode(rec kv.Record) ([]byte, error) {
	return json.Marshal(row{rec.Value, rec.Expires, rec.Token, rec.Predecessors})
}

func decode(key string, raw []byte, withValue bool) (kv.Record, error) {
	var r row
	if err := json.Unmarshal(raw, &r); err != nil || r.Token == "" || r.Expires < 0 || r.Value == nil {
		return kv.Record{Key: key}, &kv.Error{Kind: kv.ErrIncompatible, Err: errors.New("the record is damaged")}
	}
	rec := kv.Record{Key: key, Expires: r.Expires, Token: r.Token, Predecessors: r.Predecessors, Version: r.Token}
	if withValue {
		rec.Value = r.Value
	}
	return rec, nil
}

// find reads the record under key in the transaction tx.
func find(tx *bbolt.Tx, key string, withValue bool) (kv.Found, error) {
	raw := tx.Bucket(bucket).Get([]byte(key))
	if raw == nil {
		return kv.Found{Record: kv.Record{Key: key}}, nil
	}
	rec, err := decode(key, raw, withValue)
	return kv.Found{Record: rec, Exists: err == nil}, err
}

func (d *driver) Get(_ context.Context, req kv.GetRequest) (found kv.Found, err error) {
	err = d.db.View(func(tx *bbolt.Tx) error {
		found, err = find(tx, req.Key, req.WithValue)
		return err
	})
	req.Meter.Add(1, 1)
	return found, readError(err)
}

func (d *driver) GetMany(ctx context.Context, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	return kv.GetEach(ctx, d, req, 4)
}

// Scan reads each page in its own transaction, so that no transaction is open while the caller's
// loop body runs.
func (d *driver) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		from := []byte(req.From)
		for {
			if ctx.Err() != nil {
				yield(kv.Record{}, ctx.Err())
				return
			}
			var keys []string
			var rows [][]byte
			err := d.db.View(func(tx *bbolt.Tx) error {
				c := tx.Bucket(bucket).Cursor()
				for key, raw := c.Seek(from); key != nil && string(key) <= req.To && len(keys) < min(req.Limit, pageRows); key, raw = c.Next() {
					keys, rows = append(keys, string(key)), append(rows, bytes.Clone(raw))
				}
				return nil
			})
			req.Meter.Add(1, 1)
			if err != nil {
				yield(kv.Record{}, readError(err))
				return
			}
			if len(keys) == 0 {
				return
			}
			for i, key := range keys {
				if !yield(decode(key, rows[i], req.WithValue)) {
					return
				}
			}
			from = append([]byte(keys[len(keys)-1]), 0)
		}
	}
}

func (d *driver) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	result := d.WriteMany(ctx, kv.WriteManyRequest{Writes: []kv.Write{req.Write}, Now: req.Now, Meter: req.Meter})[0]
	return result.Outcome, result.Err
}

// WriteMany carries out all writes in one transaction, each under its own condition.
func (d *driver) WriteMany(_ context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	results := make([]kv.WriteResult, len(req.Writes))
	err := d.db.Update(func(tx *bbolt.Tx) error {
		for i := range req.Writes {
			var err error
			results[i].Outcome, err = write(tx, req.One(i))
			if own, ok := err.(*kv.Error); ok {
				results[i].Err = own // this error is about one record, which is unchanged
			} else if err != nil {
				return err
			}
		}
		return nil
	})
	req.Meter.Add(1, 1)
	if err != nil {
		for i := range results {
			// Even if a commit fails, its writes may have reached the disk.
			results[i] = kv.WriteResult{Err: &kv.Error{Kind: kindOf(err), MayHaveApplied: !errors.Is(err, bolterrors.ErrDatabaseNotOpen), Err: err}}
		}
	}
	return results
}

func write(tx *bbolt.Tx, req kv.WriteRequest) (kv.Outcome, error) {
	found, err := find(tx, req.Key, false)
	_, damaged := err.(*kv.Error)
	if err != nil && !damaged {
		return kv.Outcome{}, err
	}
	live := found.Exists && (found.Expires == 0 || found.Expires > req.Now)
	holds := true
	switch req.Condition.Kind {
	case kv.CondNone: // replaces and removes damaged records too
	case kv.CondAbsent:
		holds = !live
	case kv.CondVersion:
		holds = found.Exists && found.Version == req.Condition.Version
	case kv.CondLive:
		holds = live
	default:
		return kv.Outcome{}, kv.UnsupportedWrite(req.Write)
	}
	if req.Condition.Kind != kv.CondNone && damaged {
		return kv.Outcome{}, err
	}
	next := req.Record
	wantsRecord := req.Condition.Kind == kv.CondVersion || req.Condition.Kind == kv.CondLive
	switch {
	case req.Kind == kv.KindPut, req.Kind == kv.KindDelete:
	case req.Kind == kv.KindTouch && wantsRecord:
		whole, err := find(tx, req.Key, true)
		if err != nil {
			return kv.Outcome{}, err
		}
		next.Value = whole.Value
	default:
		return kv.Outcome{}, kv.UnsupportedWrite(req.Write)
	}
	if !holds {
		return kv.Outcome{Exists: found.Exists, Found: found.Record}, nil
	}
	if req.Kind == kv.KindDelete {
		return kv.Outcome{Done: true}, tx.Bucket(bucket).Delete([]byte(req.Key))
	}
	raw, err := encode(next)
	if err != nil {
		return kv.Outcome{}, err
	}
	return kv.Outcome{Done: true, Version: next.Token}, tx.Bucket(bucket).Put([]byte(req.Key), raw)
}

func (d *driver) WriteAtomic(context.Context, kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	return kv.AtomicOutcome{}, &kv.Error{Kind: kv.ErrUnsupported, Err: errors.New("this example has no atomic writes")}
}

func (d *driver) Close() error { return d.db.Close() }

func readError(err error) error {
	if _, own := err.(*kv.Error); own || err == nil {
		return err
	}
	return &kv.Error{Kind: kindOf(err), Err: err}
}

func kindOf(err error) error {
	switch {
	case errors.Is(err, bolterrors.ErrDatabaseNotOpen):
		return kv.ErrClosed
	case errors.Is(err, fs.ErrNotExist):
		return kv.ErrNotProvisioned
	case errors.Is(err, fs.ErrPermission):
		return kv.ErrPermission
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrVersionMismatch), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrIncompatibleValue):
		return kv.ErrIncompatible
	}
	return kv.ErrUnavailable
}
