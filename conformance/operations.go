package conformance

import (
	"context"
	"errors"
	"time"

	"github.com/skykv/skykv/kv"
)

// An operation is one method of a store, with arguments for which it must succeed. The
// store must have one entry, "key", with version v and the value "old".
type operation struct {
	name string
	call func(ctx context.Context, s store, v kv.Version) error // returns errWrong if the result is wrong

	// writes says that the operation changes or deletes the entry under "key", or stores an
	// entry under the key "new".
	writes bool

	// tellsTime says that the store passes the time of its clock to the driver.
	tellsTime bool
}

var errWrong = errors.New("no error, and the result is wrong")

// answered returns err. If there is no error but the result is not right, it returns
// errWrong.
func answered(right bool, err error) error {
	if err == nil && !right {
		return errWrong
	}
	return err
}

var operations = []operation{
	{"get", func(ctx context.Context, s store, _ kv.Version) error {
		e, err := s.Get(ctx, "key")
		return answered(string(e.Value) == "old", err)
	}, false, false},
	{"exists", func(ctx context.Context, s store, _ kv.Version) error {
		ok, err := s.Exists(ctx, "key")
		return answered(ok, err)
	}, false, false},
	{"get-many", func(ctx context.Context, s store, _ kv.Version) error {
		entries, err := s.GetMany(ctx, []string{"key", "absent"})
		return answered(len(entries) == 1 && string(entries["key"].Value) == "old", err)
	}, false, false},
	{"scan", func(ctx context.Context, s store, _ kv.Version) error {
		n := 0
		for e, err := range s.Scan(ctx, "") {
			if err != nil {
				return err
			}
			if n++; string(e.Value) != "old" {
				return errWrong
			}
		}
		return answered(n == 1, nil)
	}, false, true},
	{"scan-page", func(ctx context.Context, s store, _ kv.Version) error {
		page, err := s.ScanPage(ctx, "", 100, "")
		return answered(len(page.Entries) == 1 && string(page.Entries[0].Value) == "old" && page.Next == "", err)
	}, false, true},
	{"count", func(ctx context.Context, s store, _ kv.Version) error {
		n, err := s.Count(ctx, "")
		return answered(n == 1, err)
	}, false, true},
	{"put", func(ctx context.Context, s store, _ kv.Version) error {
		_, err := s.Put(ctx, "key", []byte("new"))
		return err
	}, true, true},
	{"put-if-not-exists", func(ctx context.Context, s store, _ kv.Version) error {
		_, err := s.Put(ctx, "new", []byte("new"), kv.IfNotExists())
		return err
	}, true, true},
	{"put-if-version", func(ctx context.Context, s store, v kv.Version) error {
		_, err := s.Put(ctx, "key", []byte("new"), kv.IfVersion(v))
		return err
	}, true, true},
	{"delete", func(ctx context.Context, s store, _ kv.Version) error { return s.Delete(ctx, "key") }, true, true},
	{"delete-if-version", func(ctx context.Context, s store, v kv.Version) error { return s.Delete(ctx, "key", kv.IfVersion(v)) }, true, true},
	{"touch", func(ctx context.Context, s store, _ kv.Version) error {
		_, err := s.Touch(ctx, "key", kv.TTL(time.Hour))
		return err
	}, true, true},
	{"touch-if-version", func(ctx context.Context, s store, v kv.Version) error {
		_, err := s.Touch(ctx, "key", kv.TTL(time.Hour), kv.IfVersion(v))
		return err
	}, true, true},
	{"update", func(ctx context.Context, s store, _ kv.Version) error {
		e, err := s.Update(ctx, "key", func(old kv.Entry, _ bool) (kv.Change, error) {
			return kv.Change{Value: append(old.Value, " and new"...)}, nil
		})
		return answered(string(e.Value) == "old and new", err)
	}, true, true},
	{"increment", func(ctx context.Context, s store, _ kv.Version) error {
		n, err := s.Increment(ctx, "new", 1)
		return answered(n == 1, err)
	}, true, true},
	{"get-and-delete", func(ctx context.Context, s store, _ kv.Version) error {
		e, err := s.GetAndDelete(ctx, "key")
		return answered(string(e.Value) == "old", err)
	}, true, true},
	{"atomic-write", func(ctx context.Context, s store, v kv.Version) error {
		if s.Info().MaxAtomicWrites == 0 { // the group "atomic" checks such stores
			_, err := s.Put(ctx, "key", []byte("new"), kv.IfVersion(v))
			return err
		}
		versions, err := s.AtomicWrite(ctx, kv.PutOp("key", []byte("new"), kv.IfVersion(v)), kv.DeleteOp("key::absent"))
		return answered(len(versions) == 2, err)
	}, true, true},
	{"put-many", func(ctx context.Context, s store, _ kv.Version) error {
		_, err := s.PutMany(ctx, []kv.Item{{Key: "key", Value: []byte("new")}, {Key: "new"}})
		return err
	}, true, true},
	{"delete-many", func(ctx context.Context, s store, _ kv.Version) error {
		return s.DeleteMany(ctx, []string{"key", "absent"})
	}, true, true},
	{"delete-prefix", func(ctx context.Context, s store, _ kv.Version) error {
		n, err := s.DeletePrefix(ctx, "key")
		return answered(n == 1, err)
	}, true, true},
}
