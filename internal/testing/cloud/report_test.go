package cloud

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/skykv/skykv/kv"
)

// report has the findings for one store. It does not show the URL, which may contain
// account names.
type report struct {
	scheme   string
	began    time.Time
	findings []finding
	budget   *budget
}

// finding is the result of one check.
type finding struct {
	what, detail string
	took         time.Duration
	err          error
}

func (r *report) check(ctx context.Context, what string, run func(context.Context) (string, error)) {
	began := time.Now()
	detail, err := run(ctx)
	r.note(what, detail, err)
	r.findings[len(r.findings)-1].took = time.Since(began)
}

func (r *report) note(what, detail string, err error) {
	r.findings = append(r.findings, finding{what: what, detail: detail, err: err})
}

func (r *report) failed() int {
	n := 0
	for _, f := range r.findings {
		if f.err != nil {
			n++
		}
	}
	return n
}

func (r *report) markdown() string {
	var b strings.Builder
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				version = s.Value
			}
		}
	}
	fmt.Fprintf(&b, "# skykv on %s, %s\n\n", r.scheme, r.began.Format(time.DateOnly))
	fmt.Fprintf(&b, "skykv %s. %d of %d checks passed. The store's calls made %d requests of the %d that they were allowed.\n\n",
		version, len(r.findings)-r.failed(), len(r.findings), r.budget.used.Load(), r.budget.most)
	b.WriteString("| Check | Outcome | Time |\n|---|---|---|\n")
	for _, f := range r.findings {
		outcome := "passed"
		if f.err != nil {
			outcome, f.detail = "FAILED", f.err.Error()
		}
		if f.detail != "" {
			outcome += ": " + strings.ReplaceAll(strings.ReplaceAll(f.detail, "\n", " "), "|", `\|`)
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", f.what, outcome, f.took.Round(time.Millisecond))
	}
	return b.String()
}

// The method write makes a file for the report in folder. It keeps the reports that are there.
func (r *report) write(folder string) error {
	name := filepath.Join(folder, r.scheme+"-"+r.began.Format(time.DateOnly))
	file, err := os.OpenFile(name+".md", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	for n := 2; errors.Is(err, fs.ErrExist); n++ {
		file, err = os.OpenFile(fmt.Sprintf("%s-%d.md", name, n), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	}
	if err != nil {
		return err
	}
	_, err = file.WriteString(r.markdown())
	return errors.Join(err, file.Close())
}

// budget limits the requests of a run.
type budget struct {
	most int64
	used atomic.Int64
}

var errBudget = errors.New("the run has made as many requests as it may")

func (b *budget) wrap(d kv.Driver) kv.Driver { return &counting{d, b} }

// counting is a driver that refuses calls when the budget is used up. A call counts as at
// least one request.
type counting struct {
	kv.Driver
	budget *budget
}

// The method begin returns an error if the budget does not allow the call. Otherwise it counts
// one request, and returns a meter for the call's requests. The function that it returns must be
// called after the call. This function counts the other requests.
func (c *counting) begin(outer *kv.Meter) (meter *kv.Meter, end func(), err error) {
	if c.budget.used.Add(1) > c.budget.most {
		c.budget.used.Add(-1)
		return nil, nil, &kv.Error{Kind: kv.ErrUnavailable, Err: errBudget}
	}
	meter = kv.NewMeter(outer)
	return meter, func() { c.budget.used.Add(int64(max(meter.Attempts()-1, 0))) }, nil
}

func (c *counting) Get(ctx context.Context, req kv.GetRequest) (kv.Found, error) {
	meter, end, err := c.begin(req.Meter)
	if err != nil {
		return kv.Found{}, err
	}
	defer end()
	req.Meter = meter
	return c.Driver.Get(ctx, req)
}

func (c *counting) GetMany(ctx context.Context, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	return func(yield func(kv.Found, error) bool) {
		meter, end, err := c.begin(req.Meter)
		if err != nil {
			yield(kv.Found{}, err)
			return
		}
		defer end()
		req.Meter = meter
		c.Driver.GetMany(ctx, req)(yield)
	}
}

func (c *counting) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		meter, end, err := c.begin(req.Meter)
		if err != nil {
			yield(kv.Record{}, err)
			return
		}
		defer end()
		req.Meter = meter
		c.Driver.Scan(ctx, req)(yield)
	}
}

func (c *counting) Write(ctx context.Context, req kv.WriteRequest) (kv.Outcome, error) {
	meter, end, err := c.begin(req.Meter)
	if err != nil {
		return kv.Outcome{}, err
	}
	defer end()
	req.Meter = meter
	return c.Driver.Write(ctx, req)
}

func (c *counting) WriteMany(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	meter, end, err := c.begin(req.Meter)
	if err != nil {
		results := make([]kv.WriteResult, len(req.Writes))
		for i := range results {
			results[i].Err = err
		}
		return results
	}
	defer end()
	req.Meter = meter
	return c.Driver.WriteMany(ctx, req)
}

func (c *counting) WriteAtomic(ctx context.Context, req kv.WriteManyRequest) (kv.AtomicOutcome, error) {
	meter, end, err := c.begin(req.Meter)
	if err != nil {
		return kv.AtomicOutcome{}, err
	}
	defer end()
	req.Meter = meter
	return c.Driver.WriteAtomic(ctx, req)
}
