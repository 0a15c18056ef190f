package conformance

import (
	"errors"
	"time"

	"github.com/skykv/skykv/kv"
)

// A state is what has happened to "key" before a write to it.
type state struct {
	name    string
	words   string
	live    bool // whether the key has an entry
	current bool // whether the version that make returns is the entry's present version

	// make brings "key" into the state. It returns a version that the key had or, if it
	// never had one, a version from another store.
	make func(t *trial) kv.Version
}

var states = []state{
	{"absent", "never had an entry (the version is of another store)", false, false, func(t *trial) kv.Version {
		other := t.another()
		v, err := other.Put(t.ctx, "key", []byte("elsewhere"))
		if err == nil {
			err = other.Delete(t.ctx, "key") // in case the two stores share their data
		}
		if err != nil {
			t.Fatalf("Put and Delete in another store: %v", err)
		}
		return v
	}},
	{"live", "has an entry", true, true, func(t *trial) kv.Version {
		return t.put("key", "old")
	}},
	{"live-with-expiry", "has an entry that will expire", true, true, func(t *trial) kv.Version {
		v := t.put("key", "old", kv.TTL(time.Minute))
		t.clock.advance(time.Minute - time.Millisecond)
		return v
	}},
	{"replaced", "has an entry that replaced an earlier one", true, false, func(t *trial) kv.Version {
		v := t.put("key", "older")
		t.put("key", "old")
		return v
	}},
	{"replaced-by-batch", "has an entry that PutMany put in place of an earlier one", true, false, func(t *trial) kv.Version {
		v := t.put("key", "older")
		t.fill(kv.Item{Key: "key", Value: []byte("old")})
		return v
	}},
	{"replaced-by-equal", "has an entry that replaced an earlier one of the same value", true, false, func(t *trial) kv.Version {
		v := t.put("key", "old")
		t.put("key", "old")
		return v
	}},
	{"expired", "had an entry that has expired", false, false, func(t *trial) kv.Version {
		v := t.put("key", "old", kv.TTL(time.Second))
		t.clock.advance(time.Second)
		return v
	}},
	{"expired-for-long", "had an entry that expired a year ago", false, false, func(t *trial) kv.Version {
		v := t.put("key", "old", kv.TTL(time.Second))
		t.clock.advance(365 * 24 * time.Hour)
		return v
	}},
	{"re-created-after-expiry", "had an entry that expired, and has a new one", true, false, func(t *trial) kv.Version {
		v := t.put("key", "older", kv.TTL(time.Second))
		t.clock.advance(time.Second)
		t.put("key", "old", kv.IfNotExists())
		return v
	}},
	{"deleted", "had an entry that was deleted", false, false, func(t *trial) kv.Version {
		v := t.put("key", "old")
		t.delete("key")
		return v
	}},
	{"deleted-by-batch", "had an entry that DeleteMany removed", false, false, func(t *trial) kv.Version {
		v := t.put("key", "old")
		if err := t.DeleteMany(t.ctx, []string{"key"}); err != nil {
			t.Fatalf("DeleteMany: %v", err)
		}
		return v
	}},
	{"re-created", "had an entry that was deleted, and has a new one of the same value", true, false, func(t *trial) kv.Version {
		v := t.put("key", "old")
		t.delete("key")
		t.put("key", "old", kv.IfNotExists())
		return v
	}},
}

// situation is what reading "key" returns.
type situation struct {
	exists bool
	entry  kv.Entry
}

func (t *trial) situation() situation {
	e, err := t.Get(t.ctx, "key")
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		t.Fatalf("Get: %v", err)
	}
	return situation{err == nil, e}
}

// wantUnchanged checks that reading "key" still returns the result in the argument was.
func (t *trial) wantUnchanged(was situation) {
	is := t.situation()
	switch {
	case was.exists != is.exists:
		t.Errorf("the key has an entry: %v; it was %v before", is.exists, was.exists)
	case is.exists:
		t.wantEntry("Get", is.entry, "key", want{string(was.entry.Value), was.entry.Version, was.entry.ExpiresAt})
	}
}

// prepare brings "key" into the state and checks that it is in that state. It returns the
// version that make returned, and the entry.
func (t *trial) prepare(s state) (kv.Version, situation) {
	v := s.make(t)
	was := t.situation()
	if was.exists != s.live {
		t.Fatalf("a key that %s has an entry: %v; want %v", s.words, was.exists, s.live)
	}
	if s.live && (was.entry.Version == v) != s.current {
		t.Errorf("for a key that %s, the first version names the entry: %v; want %v", s.words, was.entry.Version == v, s.current)
	}
	return v, was
}

// foreignVersions are versions that "key" can never have.
var foreignVersions = []struct {
	name  string
	words string
	make  func(t *trial) kv.Version
}{
	{"zero", "the zero Version", func(t *trial) kv.Version { return kv.Version{} }},
	{"other-key", "another key's version", func(t *trial) kv.Version { return t.put("other", "old") }},
	{"other-provider", "another provider's version", func(t *trial) kv.Version {
		other := t.with(kv.Wrap(kv.Level1, named("another-provider")))
		v, err := other.Put(t.ctx, "key", []byte("old"))
		if err != nil {
			t.Fatalf("Put through a driver of another name: %v", err)
		}
		return v
	}},
}
