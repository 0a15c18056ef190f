package kv_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// troubled is a driver whose next requests fail. It carries out lostPuts writes, but loses
// their responses. The next putErrors writes and the next getErrors reads fail with err.
type troubled struct {
	kv.Driver
	lostPuts, putErrors, getErrors int
	err                            error
	takes                          time.Duration // how long each of these failing writes and reads takes
	requests                       int           // number of all requests except the lostPuts writes
}

func (d *troubled) Info() kv.Info { return waiting(d.Driver) }

func (d *troubled) fail(left *int, mayHaveApplied bool) error {
	d.requests++
	if *left--; *left < 0 {
		return nil
	}
	time.Sleep(d.takes)
	e, _ := errors.AsType[*kv.Error](d.err)
	return &kv.Error{Kind: e.Kind, Err: e.Err, MayHaveApplied: mayHaveApplied}
}

func (d *troubled) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	if err := d.fail(&d.getErrors, false); err != nil {
		return kv.Found{}, err
	}
	return d.Driver.Get(ctx, req)
}

func (d *troubled) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	if d.lostPuts > 0 {
		d.lostPuts--
		_, _ = d.Driver.Write(ctx, req)
		return kv.Outcome{}, &kv.Error{Kind: kv.ErrUnavailable, MayHaveApplied: true, Err: errors.New("no response")}
	}
	if err := d.fail(&d.putErrors, true); err != nil {
		return kv.Outcome{}, err
	}
	return d.Driver.Write(ctx, req)
}

// TestUpdatesInTrouble checks that an update goes on after a lost response, as a Put does, and
// that it ends if no request succeeds.
func TestUpdatesInTrouble(t *testing.T) {
	t.Parallel()
	const always = 1 << 30
	unavailable := &kv.Error{Kind: kv.ErrUnavailable, Err: errors.New("no response")}
	for name, c := range map[string]struct {
		trouble troubled
		fails   bool
		most    int           // greatest number of requests
		within  time.Duration // greatest time that the update takes
	}{
		"a response is lost":                            {troubled{lostPuts: 1}, false, 1, 0},
		"a response is lost, and a read fails":          {troubled{lostPuts: 1, getErrors: 1, err: unavailable}, false, 2, 20 * time.Millisecond},
		"a response is lost, and reads fail":            {troubled{lostPuts: 1, getErrors: always, err: unavailable}, false, 10, 200 * time.Millisecond},
		"a response is lost, and reads are throttled":   {troubled{lostPuts: 1, getErrors: always, err: &kv.Error{Kind: kv.ErrThrottled}}, false, 10, 200 * time.Millisecond},
		"a response is lost, and reads are not allowed": {troubled{lostPuts: 1, getErrors: always, err: &kv.Error{Kind: kv.ErrPermission}}, true, 1, 0},
		"writes fail":       {troubled{putErrors: always, err: unavailable}, true, 20, 200 * time.Millisecond},
		"all requests fail": {troubled{putErrors: always, getErrors: always, err: unavailable}, true, 11, 200 * time.Millisecond},
		"all requests take the whole time of the driver": {troubled{putErrors: always, getErrors: always, err: &kv.Error{Kind: kv.ErrUnavailable, Err: context.DeadlineExceeded}, takes: time.Minute}, true, 2, 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := &c.trouble
				trouble := *d
				*d = troubled{}
				store := memkv.New().With(kv.Wrap(kv.Level1, func(below kv.Driver) kv.Driver { d.Driver = below; return d }))
				if _, err := store.Increment(t.Context(), "n", 1); err != nil {
					t.Fatal(err)
				}
				trouble.Driver = d.Driver
				*d = trouble
				began := time.Now()
				got, err := store.Increment(t.Context(), "n", 1)
				took := time.Since(began)
				if c.fails && !errors.Is(err, kv.ErrIndeterminate) || !c.fails && (got != 2 || err != nil) {
					t.Errorf("rule: an update is as patient as a Put after a lost response; Increment = %d, %v", got, err)
				}
				if d.requests > c.most || took > c.within {
					t.Errorf("rule: an update ends if nothing succeeds; it made %d requests in %v; want at most %d in %v", d.requests, took, c.most, c.within)
				}
			})
		})
	}
}

// overtaken is a service that loses the response to the first write, or also the request if lost
// is set. It calls meanwhile before the write returns.
type overtaken struct {
	kv.Driver
	lost      bool
	meanwhile func()
}

func (d *overtaken) Info() kv.Info { return waiting(d.Driver) }

func (d *overtaken) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	meanwhile := d.meanwhile
	if d.meanwhile = nil; meanwhile == nil {
		return d.Driver.Write(ctx, req)
	}
	if !d.lost {
		_, _ = d.Driver.Write(ctx, req)
	}
	meanwhile()
	return kv.Outcome{}, &kv.Error{Kind: kv.ErrUnavailable, MayHaveApplied: true, Err: errors.New("no response")}
}

// After a lost request or response, an update is applied once or is ErrIndeterminate, whatever
// others have written meanwhile.
func TestUpdatesThatAreOvertaken(t *testing.T) {
	t.Parallel()
	const token = "AAAAAAAAAAAAAAAAAAAAAA"
	for _, c := range []struct {
		name    string
		before  bool // the key has an entry, which an unconditional put wrote
		lost    bool // the update's request is lost
		repeats bool // a late attempt of the put is applied meanwhile
		is      error
		number  string // afterwards, if others increment it meanwhile
	}{
		{"another store updates the entry", true, true, false, nil, "2"},
		{"another store updates what the update wrote", true, false, false, nil, "2"},
		// The store cannot know whether its own request made an entry that was then deleted.
		{"another store makes the entry", false, true, false, kv.ErrIndeterminate, "1"},
		// The names of states must tell the two attempts of the put apart.
		{"a put is repeated, and another store updates the entry", true, false, true, kv.ErrIndeterminate, "1"},
	} {
		data := memkv.New()
		others, d := data.With(lagging(0)), &overtaken{lost: c.lost}
		store := data.With(kv.Wrap(kv.Level1, func(next kv.Driver) kv.Driver { d.Driver = next; return d }))
		put := func(attempt int) {
			rec := kv.Record{Key: "n", Value: []byte("0"), Token: kv.AttemptToken(token, attempt)}
			if out, err := d.Driver.Write(t.Context(), kv.WriteRequest{Write: kv.Write{Kind: kv.KindPut, Record: rec}}); !out.Done || err != nil {
				t.Fatal(out, err)
			}
		}
		if c.before {
			put(1)
		}
		d.meanwhile = func() {
			if c.repeats {
				put(0)
			}
			if _, err := others.Increment(t.Context(), "n", 1); err != nil {
				t.Error(err)
			}
		}
		_, err := store.Increment(t.Context(), "n", 1)
		if e, getErr := data.Get(t.Context(), "n"); !errors.Is(err, c.is) || string(e.Value) != c.number || getErr != nil {
			t.Errorf("rule: after a lost response an update is applied once, or is ErrIndeterminate; when %s, it returns %v, and the number is %s, %v; want %v and %s", c.name, err, e.Value, getErr, c.is, c.number)
		}
	}
}
