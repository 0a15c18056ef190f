package provider

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Status is the outcome of a [Check].
type Status string

// The outcomes of a check.
const (
	OK   Status = "ok"   // nothing needs to be done
	Warn Status = "warn" // the store works, but something should be done
	Fail Status = "fail" // the store does not work
)

// Check is one finding about a store. None of its texts contains a secret.
type Check struct {
	Name   string `json:"name"` // what was checked, such as "ttl"
	Status Status `json:"status"`
	Detail string `json:"detail"`        // what was found
	Fix    string `json:"fix,omitempty"` // what to do about it

	// Step is what Ensure would do about the finding, or empty if Ensure would do nothing.
	Step string `json:"-"`

	// Err is the error that made the check fail. It is nil if the check itself found
	// the problem.
	Err error `json:"-"`
}

// CheckCredentials is the Name of the check of credentials. If that check fails, Ensure
// fails too, with [kv.ErrPermission].
const CheckCredentials = "credentials"

const (
	checkClock  = "clock"
	checkLayout = "layout"
)

// Provision is the Fix of a check for which Ensure would do something.
const Provision = "run: skykv provision URL"

// Failed returns the check for something that failed with an error.
func Failed(name string, err error, fix string) Check {
	return Check{Name: name, Status: Fail, Detail: strings.TrimPrefix(err.Error(), "kv: "), Fix: fix, Err: err}
}

// LayoutRecord returns the check of a layout record, the record that says how a table or
// collection stores entries. The argument found is the number of shards in the record, and
// wanted is the number of shards in the URL.
func LayoutRecord(found, wanted int) Check {
	if found != wanted {
		return Check{
			Name: checkLayout, Status: Fail, Detail: fmt.Sprintf("a record of skykv with %s; the URL says %d", shards(found), wanted),
			Fix: fmt.Sprintf("add shards=%d to the URL's parameters", found),
		}
	}
	return Check{Name: checkLayout, Status: OK, Detail: "a record of skykv, " + shards(found)}
}

// NoLayout returns the check of a layout record that does not exist yet.
func NoLayout() Check {
	return Check{
		Name: checkLayout, Status: Warn, Detail: "there is no layout record yet: no store was opened here",
		Fix: Provision, Step: "write the layout record",
	}
}

// LayoutWithoutRecord returns the check of a layout that has no layout record. The text why
// says why the collection may be opened in that layout.
func LayoutWithoutRecord(l Layout, why string) Check {
	return Check{Name: checkLayout, Status: OK, Detail: fmt.Sprintf("layout %s, which has no record: %s", l, why)}
}

// OtherLayout returns the check of a layout record that has another layout than the URL. The
// argument found is the layout in the record. The argument err is the error that says so.
func OtherLayout(err error, found Layout) Check {
	c := ForeignLayout(err)
	c.Fix = fmt.Sprintf("set layout=%s in the URL's parameters, or name another table or collection", found)
	return c
}

// ForeignLayout returns the check of a layout record that cannot be read, or of a table or
// collection that has no record and belongs to another program.
func ForeignLayout(err error) Check {
	return Check{Name: checkLayout, Status: Fail, Detail: strings.TrimPrefix(err.Error(), "kv: "), Fix: "name another table or collection", Err: err}
}

func shards(n int) string {
	if n == 1 {
		return "1 shard"
	}
	return fmt.Sprintf("%d shards", n)
}

// The differences of clocks at which the check warns and fails.
const (
	skewWarn = 2 * time.Second
	skewFail = 5 * time.Minute // AWS refuses signatures from here on
)

// Reach sends a request without credentials to an HTTP endpoint. Any response shows
// that the service is reachable, and how long a request takes. The Date header, if there is
// one, shows the service's time.
func Reach(ctx context.Context, transport http.RoundTripper, endpoint string) []Check {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, nil)
	if err != nil {
		return []Check{Failed("reachable", err, "fix the endpoint in the URL")}
	}
	begun := time.Now()
	resp, err := transport.RoundTrip(req) // does not follow redirects: any response will do
	if err != nil {
		return []Check{Failed("reachable", err, "check the network, the proxy and the endpoint in the URL")}
	}
	resp.Body.Close()
	took := time.Since(begun)
	checks := []Check{{Name: "reachable", Status: OK, Detail: fmt.Sprintf("%s answers, in %s", endpoint, took.Round(time.Millisecond))}}
	there, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return append(checks, Check{Name: checkClock, Status: OK, Detail: "cannot be compared: the service sends no Date header, like emulators"})
	}
	return append(checks, clock(there, begun, took))
}

// clock returns the check of this host's clock against the service's clock. The argument there
// is the service's time, in whole seconds, at some moment between begun and begun+took.
func clock(there, begun time.Time, took time.Duration) Check {
	c := Check{Name: checkClock, Status: OK, Detail: "agrees with the service's within its second"}
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
