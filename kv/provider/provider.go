// Package provider describes what a provider offers beside its driver: to open, set
// up, look at and clean the stores that URLs of one scheme name. Every provider of
// this module is such a [Provider]; a program that adds its own to a [Set] opens
// it by URL like the others, and the command serves it as well.
package provider

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/skykv/skykv/kv"
)

// Provider opens, sets up and looks at stores by URL. Only Scheme, Form and Open
// must be set. The functions check the URL before any I/O, with errors that match
// [kv.ErrInvalidOption] and repeat nothing that may be a secret: see [ParseURL].
type Provider struct {
	// Scheme is that of the URLs, such as "dynamodb".
	Scheme string

	// Form shows what the URLs look like, such as "dynamodb://TABLE?region=R&shards=N".
	Form string

	// Summary says in a few words what the stores are, such as "AWS DynamoDB".
	Summary string

	// Open returns the store of a URL.
	Open func(ctx context.Context, url string) (*kv.Store, error)

	// Connect returns a client by which the store of a URL can be opened any number of
	// times, and sends nothing to the service. Where it is nil, there is no client: each
	// Open stands for itself, and the URL is the store's identity.
	Connect func(ctx context.Context, url string) (Connection, error)

	// Ensure creates what the store of a URL needs and does not have yet, such as a
	// table with its settings and its layout record, and waits until it can be used. It
	// leaves what is there as it is, refuses what belongs to another program with
	// [kv.ErrIncompatible], and may be called any number of times. Where it is nil,
	// opening the store does all that.
	Ensure func(ctx context.Context, url string) error

	// Inspect looks at all that the store of a URL needs, through the client that the
	// store itself uses, changes nothing, and yields a Check for each. It ends after
	// the first one without which the rest cannot be looked at. Where it is nil,
	// there is nothing to look at before the store is opened.
	Inspect func(ctx context.Context, url string) iter.Seq[Check]

	// Files returns the paths of the files that hold the store of a URL, the one first
	// that Open makes if it is absent or empty. It is nil for stores that are no files
	// of this host, and returns nothing for an invalid URL.
	Files func(url string) []string

	// Backup copies the store of a URL, as it is at one moment and while it is in use, into
	// a new file. It replaces no file. It is nil where the service has backups of its own.
	Backup func(ctx context.Context, url, file string) error

	// Terraform returns what Ensure creates as a configuration of Terraform, without
	// any I/O. It is nil where there is no such thing.
	Terraform func(url string) (string, error)

	// Sweep deletes expired entries where no service does it. It is nil elsewhere.
	Sweep func(ctx context.Context, url string, opts *SweepOptions) (SweepProgress, error)
}

// SweepOptions adjusts a sweep. Nil stands for the zero SweepOptions.
type SweepOptions struct {
	// Interval is the time from the start of one pass over the store to the start
	// of the next. Zero stands for a single pass.
	Interval time.Duration

	// Rate is how many entries are deleted per second at most; zero stands for the
	// provider's default.
	Rate int

	// Clock tells what has expired; nil stands for time.Now. It is read once a pass.
	Clock func() time.Time

	// Progress, when set, is called as a pass goes on and at its end, by the goroutine
	// that called the sweep.
	Progress func(SweepProgress)
}

// SweepProgress says how far one pass of a sweep has come.
type SweepProgress struct {
	Pass   int // 1 for the first
	Shards int // shards that the pass has finished
	Of     int // shards there are

	// What became of the expired entries that the pass met:
	Deleted int
	Kept    int // replaced, deleted or re-created before their turn came
	Foreign int // not written by skykv, and left alone

	// Done is set at the end of the pass, with the error that ended it, if one did.
	Done bool
	Err  error
}

// Set holds providers, each for the URLs of its scheme. Of several with one scheme
// the last one counts, so that append adds a provider or replaces one.
type Set []Provider

// Find returns the provider of a URL. The error matches [kv.ErrInvalidOption], and
// repeats no more of the URL than its scheme.
func (s Set) Find(url string) (Provider, error) {
	scheme := Scheme(url)
	for i := len(s) - 1; i >= 0; i-- {
		if s[i].Scheme == scheme {
			return s[i], nil
		}
	}
	problem := fmt.Errorf("the scheme %q is unknown; want a URL of the form %s", scheme, s.forms())
	if scheme == "" { // the text may be anything, such as a connection string with its key
		problem = fmt.Errorf("the URL has no scheme; want a URL of the form %s", s.forms())
	}
	return Provider{}, &kv.Error{Op: "open", Kind: kv.ErrInvalidOption, Err: problem}
}

// forms lists the forms of the URLs, without their parameters.
func (s Set) forms() string {
	forms := make([]string, len(s))
	for i, p := range s {
		forms[i], _, _ = strings.Cut(p.Form, "?")
	}
	if len(forms) > 1 {
		last := len(forms) - 1
		return strings.Join(forms[:last], ", ") + " or " + forms[last]
	}
	return strings.Join(forms, "")
}

// Open opens the store that url names.
func (s Set) Open(ctx context.Context, url string) (*kv.Store, error) {
	p, err := s.Find(url)
	if err != nil {
		return nil, err
	}
	return p.Open(ctx, url)
}

// Ensure creates what the store that url names needs and does not have yet: see
// [Provider].
func (s Set) Ensure(ctx context.Context, url string) error {
	p, err := s.Find(url)
	if err != nil {
		return err
	}
	if p.Ensure != nil {
		return p.Ensure(ctx, url)
	}
	store, err := p.Open(ctx, url)
	if err != nil {
		return err
	}
	return store.Close()
}

// Plan returns the steps that Ensure would take, none where everything is set up, and
// changes nothing. The error says why Ensure would fail, or that it cannot be told.
func (s Set) Plan(ctx context.Context, url string) (steps []string, _ error) {
	const op = "provision"
	p, err := s.Find(url)
	if err != nil {
		return nil, err
	}
	steps = []string{}
	if p.Inspect == nil {
		return steps, nil
	}
	for c := range p.Inspect(ctx, url) {
		switch {
		case c.Step != "":
			steps = append(steps, c.Step)
		case c.Status != Fail || c.Name == checkClock:
		case c.Name == CheckCredentials:
			return nil, &kv.Error{Op: op, Kind: kv.ErrPermission, Err: fmt.Errorf("%w; %s", c.Err, c.Fix)}
		case c.Err != nil:
			return nil, fmt.Errorf("%s: %s: %w", op, c.Name, c.Err)
		default:
			return nil, &kv.Error{Op: op, Kind: kv.ErrIncompatible, Err: fmt.Errorf("%s: %s; %s", c.Name, c.Detail, c.Fix)}
		}
	}
	return steps, nil
}

// Files returns the paths of the files that hold the store of a URL, if there are any.
func (s Set) Files(url string) []string {
	p, err := s.Find(url)
	if err != nil || p.Files == nil {
		return nil
	}
	return p.Files(url)
}

// Backup copies the store that url names into a new file: see [Provider].
func (s Set) Backup(ctx context.Context, url, file string) error {
	p, err := s.Find(url)
	if err != nil {
		return err
	}
	if p.Backup == nil {
		return &kv.Error{Op: "backup", Kind: kv.ErrInvalidOption, Err: fmt.Errorf("a store of %s has the backups of its service; want the URL of a file, or copy the entries instead", p.Scheme)}
	}
	return p.Backup(ctx, url, file)
}

// Terraform returns what Ensure creates as a configuration of Terraform.
func (s Set) Terraform(url string) (string, error) {
	p, err := s.Find(url)
	if err != nil {
		return "", err
	}
	if p.Terraform == nil {
		return "", &kv.Error{Op: "terraform", Kind: kv.ErrInvalidOption, Err: fmt.Errorf("there is nothing for Terraform to set up for a store of %s; want the URL of a cloud service", p.Scheme)}
	}
	return p.Terraform(url)
}

// Sweep deletes the expired entries of the store that url names.
func (s Set) Sweep(ctx context.Context, url string, opts *SweepOptions) (SweepProgress, error) {
	p, err := s.Find(url)
	if err != nil {
		return SweepProgress{}, err
	}
	if p.Sweep == nil {
		return SweepProgress{}, &kv.Error{Op: "sweep", Kind: kv.ErrInvalidOption, Err: fmt.Errorf("a store of %s needs no sweep: its expired entries are deleted without one", p.Scheme)}
	}
	return p.Sweep(ctx, url, opts)
}

// Inspect yields what there is to say of the store that url names: the checks of
// its provider and, unless one of them fails, whether the store opens and how long a
// read takes. It changes nothing.
func (s Set) Inspect(ctx context.Context, url string) iter.Seq[Check] {
	return func(yield func(Check) bool) {
		p, err := s.Find(url)
		if err != nil {
			yield(Failed("url", err, "see: skykv help"))
			return
		}
		good := true
		if p.Inspect != nil {
			for c := range p.Inspect(ctx, url) {
				// With a wrong clock the store opens all the same. To open one without a
				// layout record would create it.
				good = good && (c.Status != Fail || c.Name == checkClock) && (c.Name != checkLayout || c.Step == "")
				if !yield(c) {
					return
				}
			}
		}
		if good {
			roundTrips(ctx, p, url)(yield)
		}
	}
}

const latencyWarn = 250 * time.Millisecond

// roundTrips opens the store and reads a few times.
func roundTrips(ctx context.Context, p Provider, url string) iter.Seq[Check] {
	return func(yield func(Check) bool) {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		store, err := p.Open(ctx, url)
		if err != nil {
			yield(Failed("open", err, "see the message"))
			return
		}
		defer store.Close()
		if !yield(Check{Name: "open", Status: OK, Detail: "the store opens, with " + shards(store.Info().Shards)}) {
			return
		}
		best := time.Duration(1<<63 - 1)
		for range 5 {
			begun := time.Now()
			if _, err := store.Get(ctx, "skykv-doctor"); err != nil && !errors.Is(err, kv.ErrNotFound) {
				yield(Failed("latency", err, "see the message"))
				return
			}
			best = min(best, time.Since(begun))
		}
		c := Check{Name: "latency", Status: OK, Detail: fmt.Sprintf("a read takes %s, the fastest of five", threeDigits(best))}
		if best > latencyWarn {
			c.Status, c.Fix = Warn, "run in the store's own region"
		}
		yield(c)
	}
}

func threeDigits(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit)
}
