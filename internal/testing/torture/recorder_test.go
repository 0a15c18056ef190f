package torture

import (
	"context"
	"fmt"
	"runtime"

	"pgregory.net/rapid"
)

// checking has the methods of *testing.T that the checks of this package use.
type checking interface {
	Helper()
	Context() context.Context
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Fatal(args ...any)
	Error(args ...any)
	Failed() bool
}

var _ rapid.TB = (*recorder)(nil)

// recorder records what a check reports. With it a test can show that the check can fail.
type recorder struct {
	ctx      context.Context
	failures []string
}

// failuresOf makes a check and returns the failures that it reports.
func failuresOf(ctx context.Context, check func(checking)) []string {
	r := &recorder{ctx: ctx}
	done := make(chan struct{})
	go func() { // because Fatal ends the goroutine
		defer close(done)
		check(r)
	}()
	<-done
	return r.failures
}

func (r *recorder) Helper()                           {}
func (r *recorder) Context() context.Context          { return r.ctx }
func (r *recorder) Logf(string, ...any)               {}
func (r *recorder) Failed() bool                      { return len(r.failures) > 0 }
func (r *recorder) Errorf(format string, args ...any) { r.Error(fmt.Sprintf(format, args...)) }
func (r *recorder) Error(args ...any)                 { r.failures = append(r.failures, fmt.Sprint(args...)) }
func (r *recorder) Name() string                      { return "recorded" }
func (r *recorder) Log(...any)                        {}
func (r *recorder) Fail()                             { r.Error("failed") }
func (r *recorder) FailNow()                          { r.Fatal("failed") }
func (r *recorder) Skip(args ...any)                  { r.Fatal(args...) }
func (r *recorder) Skipf(format string, args ...any)  { r.Fatalf(format, args...) }
func (r *recorder) SkipNow()                          { r.Fatal("skipped") }
func (r *recorder) Fatalf(format string, args ...any) { r.Fatal(fmt.Sprintf(format, args...)) }
func (r *recorder) Fatal(args ...any) {
	r.Error(args...)
	runtime.Goexit()
}
