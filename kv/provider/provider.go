// Package provider describes what a provider offers besides its driver: functions that
// open, set up, inspect and clean the stores of URLs with one scheme. Every provider of
// this module has a [Provider]. A program that adds its own Provider to a [Set] can open
// its stores by URL like all others, and the skykv command can use them too.
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

// Provider opens, sets up and inspects stores by URL. Only Scheme, Form and Open must
// be set. The functions check the URL before any I/O, with errors that match
// [kv.ErrInvalidOption] and contain nothing that may be a secret: see [ParseURL].
type Provider struct {
	// Scheme is the scheme of the URLs, such as "dynamodb".
	Scheme string

	// Form is the form of the URLs, such as "dynamodb://TABLE?region=R&shards=N".
	Form string

	// Summary describes the stores in a few words, such as "AWS DynamoDB".
	Summary string

	// Open returns the store of a URL.
	Open func(ctx context.Context, url string) (*kv.Store, error)

	// Connect returns a client that opens the store of a URL any number of times. Connect
	// sends nothing to the service. If it is nil, there is no client: each Open is
	// separate, and the URL is the store's identity.
	Connect func(ctx context.Context, url string) (Connection, error)

	// Ensure creates what the store of a URL needs but does not have yet, such as a
	// table with its settings and its layout record, and waits until the store can be
	// used. It may add missing settings to an existing table or collection. If the table,
	// a setting or an entry belongs to another program, Ensure does not change it, and
	// returns [kv.ErrIncompatible]. It may be called any number of times. If Ensure is nil,
	// Open does all that.
	Ensure func(ctx context.Context, url string) error

	// Inspect checks everything that the store of a URL needs, through the client that
	// the store itself uses. It changes nothing. It yields the result of each check, and
	// ends after a check whose failure makes the other checks impossible. If Inspect is
	// nil, there is nothing to check before the store is opened.
	Inspect func(ctx context.Context, url string) iter.Seq[Check]

	// Files returns the paths of the files of a store. The first is the main file:
	// if it is absent or empty, Open makes a new store in it. For an invalid URL, Files
	// returns no paths. Files is nil if the provider does not keep its stores in local
	// files.
	Files func(url string) []string

	// Backup copies the store of a URL, as it is at one moment, into a new file, even
	// while the store is in use. It does not replace an existing file. Backup is nil if the
	// stores are not in files, for example because a service has them and its own backups.
	Backup func(ctx context.Context, url, file string) error

	// Terraform returns a Terraform configuration for what Ensure creates, without any
	// I/O. It is nil if Terraform cannot create that.
	Terraform func(url string) (string, error)

	// Sweep deletes the entries that have been expired for [kv.ExpiryGrace], if the service
	// does not delete them by itself. Otherwise Sweep is nil.
	Sweep func(ctx context.Context, url string, opts *SweepOptions) (SweepProgress, error)
}

// SweepOptions are the options of a sweep. Nil means the zero SweepOptions.
type SweepOptions struct {
	// Interval is the time from the start of one pass over the store to the start of
	// the next. Zero means a single pass.
	Interval time.Duration

	// Rate is the greatest number of entries that are deleted per second. Zero means
	// the provider's default.
	Rate int

	// Clock decides which entries have expired. Nil means time.Now. A sweep reads it once
	// in each pass.
	Clock func() time.Time

	// Progress, when set, is called during a pass and at its end, in the goroutine that
	// called the sweep.
	Progress func(SweepProgress)
}

// SweepProgress is the progress of one pass of a sweep.
type SweepProgress struct {
	Pass   int // 1 for the first
	Shards int // shards that the pass has finished
	Of     int // number of all shards

	// What the pass did with the expired entries, as numbers of entries:
	Deleted int
	Kept    int // changed or deleted by others since the sweep found them
	Foreign int // not written by skykv, and kept

	// Done is set at the end of the pass. Err is the error that ended the pass early, if
	// any.
	Done bool
	Err  error
}

// Set holds providers, each for the URLs of its scheme. If several have the same scheme,
// the last one counts, so append adds or replaces a provider.
type Set []Provider

// Find returns the provider for a URL. The error matches [kv.ErrInvalidOption], and
// contains nothing of the URL except its scheme.
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

// Open opens the store of url.
func (s Set) Open(ctx context.Context, url string) (*kv.Store, error) {
	p, err := s.Find(url)
	if err != nil {
		return nil, err
	}
	return p.Open(ctx, url)
}

// Ensure creates what the store of url needs but does not have yet: see [Provider].
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

// Plan returns the steps that Ensure would take. It returns none if everything is set up,
// or if the provider has no Inspect. It changes nothing. The error says why Ensure would
// fail, or why Plan cannot find out.
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
		case c.Err != nil && errors.Is(c.Err, kv.ErrInvalidOption): // the URL's error says everything
			return nil, c.Err
		case c.Err != nil:
			return nil, fmt.Errorf("%s: %s: %w", op, c.Name, c.Err)
		default:
			return nil, &kv.Error{Op: op, Kind: kv.ErrIncompatible, Err: fmt.Errorf("%s: %s; %s", c.Name, c.Detail, c.Fix)}
		}
	}
	return steps, nil
}

// Files returns the paths of the files of a store, if there are any.
func (s Set) Files(url string) []string {
	p, err := s.Find(url)
	if err != nil || p.Files == nil {
		return nil
	}
	return p.Files(url)
}

// Backup copies the store of url into a new file: see [Provider].
func (s Set) Backup(ctx context.Context, url, file string) error {
	p, err := s.Find(url)
	if err != nil {
		return err
	}
	if p.Backup == nil {
		return &kv.Error{Op: "backup", Kind: kv.ErrInvalidOption, Err: fmt.Errorf("stores of %s are not files; want the URL of a file, or copy the entries", p.Scheme)}
	}
	return p.Backup(ctx, url, file)
}

// Terraform returns a Terraform configuration for what Ensure creates.
func (s Set) Terraform(url string) (string, error) {
	p, err := s.Find(url)
	if err != nil {
		return "", err
	}
	if p.Terraform == nil {
		return "", &kv.Error{Op: "terraform", Kind: kv.ErrInvalidOption, Err: fmt.Errorf("Terraform has nothing to set up for %s; want the URL of a cloud service", p.Scheme)}
	}
	return p.Terraform(url)
}

// Sweep deletes the expired entries of the store of url: see [Provider].
func (s Set) Sweep(ctx context.Context, url string, opts *SweepOptions) (SweepProgress, error) {
	p, err := s.Find(url)
	if err != nil {
		return SweepProgress{}, err
	}
	if p.Sweep == nil {
		return SweepProgress{}, &kv.Error{Op: "sweep", Kind: kv.ErrInvalidOption, Err: fmt.Errorf("a store of %s needs no sweep: it deletes its expired entries itself", p.Scheme)}
	}
	return p.Sweep(ctx, url, opts)
}

// Inspect yields the checks of the store of url. After the provider's own checks, it
// checks that the store opens and how long a read takes. It skips these two checks if a check
// other than the clock's failed, or if Open would create a layout record. Inspect changes nothing.
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
				// Even with a wrong clock, the store opens. If there is no layout record,
				// opening the store would create one.
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

// roundTrips opens the store and reads one key five times. It yields the checks "open" and
// "latency".
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
