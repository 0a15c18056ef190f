package conformance_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/skykv/skykv/conformance"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// faulty is an HTTP transport for tests. It fails whenever decide says so.
type faulty struct {
	http.RoundTripper
	decide func(write bool) conformance.Fault
}

func (f faulty) RoundTrip(r *http.Request) (*http.Response, error) {
	switch f.decide(r.Method != http.MethodGet) {
	case conformance.Drop:
		return nil, errors.New("connection reset by peer")
	case conformance.Lose:
		if resp, err := f.RoundTripper.RoundTrip(r); err == nil {
			resp.Body.Close()
		}
		return nil, errors.New("connection reset by peer")
	case conformance.Throttle:
		return &http.Response{
			StatusCode: http.StatusTooManyRequests, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Body: io.NopCloser(strings.NewReader("")), Request: r,
		}, nil
	case conformance.Hang:
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return f.RoundTripper.RoundTrip(r)
}

// A provider's test of the whole contract, including faults. The provider's service uses
// HTTP, and the test opens the provider with an HTTP client that injects faults.
func ExampleRun_faults() {
	open := func(ctx context.Context, client *http.Client) (*kv.Store, error) {
		return memkv.New(), nil // use your own provider here: newStore(ctx, client, uniqueTableName())
	}
	TestConformance := func(t *testing.T) {
		conformance.Run(t, conformance.Config{
			New: func(ctx context.Context) (*kv.Store, error) { return open(ctx, http.DefaultClient) },
			Faulty: func(ctx context.Context, decide func(write bool) conformance.Fault) (*kv.Store, error) {
				return open(ctx, &http.Client{Transport: faulty{http.DefaultTransport, decide}})
			},
		})
	}
	_ = TestConformance // in the provider's package, declare it as a function, so that "go test" runs it
}
