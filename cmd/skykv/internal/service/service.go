// Package service looks at, and sets up, what is below a store's URL: tables,
// policies and layout records, by the services' own clients.
package service

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers"
)

// Status is the outcome of a check.
type Status string

// The outcomes: fine; works, but something should be done; does not work.
const (
	OK   Status = "ok"
	Warn Status = "warn"
	Fail Status = "fail"
)

// Check is one line of a diagnosis.
type Check struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	Detail string `json:"detail"`        // what was found
	Fix    string `json:"fix,omitempty"` // what to do about it

	// Step is what Provision does about it, empty where it can do nothing.
	Step string `json:"-"`

	// Err is the error that made the check fail, nil where it is what was found.
	Err error `json:"-"`
}

// Service is what a URL leads to.
type Service interface {
	// Endpoint is the URL that requests go to, empty where there is no network.
	Endpoint() string

	// Credentials checks that there are some, or has nothing to say.
	Credentials(ctx context.Context) []Check

	// Settings checks what Provision sets up, and changes nothing. It stops at the
	// first thing without which the rest cannot be looked at.
	Settings(ctx context.Context) []Check

	// Provision sets up what is missing, and waits until it can be used. The
	// layout record is made when the store is first opened.
	Provision(ctx context.Context) error

	// Terraform gives the same settings for that tool.
	Terraform() (string, error)

	// Close closes connections.
	Close()
}

// New gives the service of a URL, without any I/O but that for credentials.
func New(ctx context.Context, url string) (Service, error) {
	scheme, _, _ := strings.Cut(url, ":")
	switch scheme {
	case "mem":
		return memory{}, nil
	case "file":
		return newFile(url)
	case "dynamodb":
		return newDynamoDB(ctx, url)
	case "firestore":
		return newFirestore(ctx, url)
	case "aztables":
		return newAzureTables(url)
	}
	_, err := providers.Open(ctx, url) // which says what is allowed
	if err == nil {
		err = errors.New("the URL names no known service")
	}
	return nil, err
}

// provision is the fix of all that Provision sets up.
const provision = "run: skykv provision URL"

// Diagnose makes all checks, one after the other, and hands each on when it is made.
func Diagnose(ctx context.Context, url string, tell func(Check)) {
	s, err := New(ctx, url)
	if err != nil {
		tell(failed("url", err, "see: skykv help"))
		return
	}
	defer s.Close()
	good := true
	report := func(checks ...Check) {
		for _, c := range checks {
			// With a wrong clock, and without a layout record, the rest can be looked at.
			good = good && (c.Status != Fail || c.Name == "clock") && (c.Step == "" || c.Name != "layout")
			tell(c)
		}
	}
	if endpoint := s.Endpoint(); endpoint != "" {
		report(reach(ctx, endpoint)...)
	}
	if good {
		report(s.Credentials(ctx)...)
	}
	if good {
		report(s.Settings(ctx)...)
	}
	if good {
		report(roundTrips(ctx, url)...)
	}
}

// Limits of what is fine.
const (
	skewWarn    = 2 * time.Second
	skewFail    = 5 * time.Minute // from which on AWS refuses signatures, for one
	latencyWarn = 250 * time.Millisecond
)

// reach makes a request without credentials: any answer tells that there is
// somebody, how far away, and what time it is there.
func reach(ctx context.Context, endpoint string) []Check {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, nil)
	if err != nil {
		return []Check{failed("reachable", err, "fix the endpoint in the URL")}
	}
	begun := time.Now()
	resp, err := http.DefaultTransport.RoundTrip(req) // no redirects: the answer is of no interest
	if err != nil {
		return []Check{failed("reachable", err, "check the network, the proxy and the endpoint in the URL")}
	}
	resp.Body.Close()
	took := time.Since(begun)
	checks := []Check{{Name: "reachable", Status: OK, Detail: fmt.Sprintf("%s answers, in %s", endpoint, took.Round(time.Millisecond))}}
	there, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return append(checks, Check{Name: "clock", Status: OK, Detail: "cannot be compared: the service sends no Date, as emulators do"})
	}
	return append(checks, clock(there, begun, took))
}

// clock compares clocks: there was read within took after begun, in whole seconds.
func clock(there, begun time.Time, took time.Duration) Check {
	c := Check{Name: "clock", Status: OK, Detail: "agrees with the service's within its second"}
	var skew time.Duration
	switch earliest, latest := there.Add(-took), there.Add(time.Second); {
	case begun.Before(earliest):
		skew = earliest.Sub(begun)
	case begun.After(latest):
		skew = latest.Sub(begun)
	}
	if skew == 0 {
		return c
	}
	direction := "behind"
	if skew < 0 {
		direction = "ahead of"
	}
	c.Detail = fmt.Sprintf("this host is %s %s the service", skew.Abs().Round(100*time.Millisecond), direction)
	c.Fix = "synchronise this host's clock: entries expire by it"
	switch {
	case skew.Abs() >= skewFail:
		c.Status = Fail
	case skew.Abs() >= skewWarn:
		c.Status = Warn
	default:
		c.Fix = ""
	}
	return c
}

// roundTrips opens the store and reads a few times.
func roundTrips(ctx context.Context, url string) []Check {
	if strings.HasPrefix(url, "mem:") {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	store, err := providers.Open(ctx, url)
	if err != nil {
		return []Check{failed("open", err, "see the message")}
	}
	defer store.Close()
	checks := []Check{{Name: "open", Status: OK, Detail: "the store opens, with " + shards(store.Info().Shards)}}
	best := time.Duration(1<<63 - 1)
	for range 5 {
		begun := time.Now()
		if _, err := store.Get(ctx, "skykv-doctor"); err != nil && !errors.Is(err, kv.ErrNotFound) {
			return append(checks, failed("latency", err, "see the message"))
		}
		best = min(best, time.Since(begun))
	}
	c := Check{Name: "latency", Status: OK, Detail: fmt.Sprintf("a read takes %s, the fastest of five", threeDigits(best))}
	if best > latencyWarn {
		c.Status, c.Fix = Warn, "run in the store's own region"
	}
	return append(checks, c)
}

func shards(n int) string {
	if n == 1 {
		return "1 shard"
	}
	return fmt.Sprintf("%d shards", n)
}

func threeDigits(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit)
}

// accepted is the check of credentials that the service has answered to.
var accepted = Check{Name: "credentials", Status: OK, Detail: "accepted by the service"}

func failed(name string, err error, fix string) Check {
	return Check{Name: name, Status: Fail, Detail: strings.TrimPrefix(err.Error(), "kv: "), Fix: fix, Err: err}
}

// sharded checks the shards of a layout record against those of the URL.
func sharded(found, wanted int) Check {
	if found != wanted {
		return Check{
			Name: "layout", Status: Fail, Detail: fmt.Sprintf("a record of skykv with %s; the URL says %d", shards(found), wanted),
			Fix: fmt.Sprintf("add shards=%d to the URL's parameters", found),
		}
	}
	return layout(true, "a record of skykv, "+shards(found))
}

// layout checks a layout record that was found, or was not.
func layout(found bool, detail string) Check {
	if !found {
		return Check{
			Name: "layout", Status: Warn, Detail: "there is no layout record yet: no store was ever opened here",
			Fix: provision + ", or open the store once", Step: "write the layout record",
		}
	}
	return Check{Name: "layout", Status: OK, Detail: detail}
}
