package attempt

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

func TestTimeout(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		left time.Duration
		size Size
		want time.Duration
	}{
		{-1, One, 10 * time.Second},
		{-1, Many, 30 * time.Second},
		{-1, Page, 30 * time.Second},
		{time.Minute, One, 10 * time.Second},
		{15 * time.Second, One, 5 * time.Second},
		{15 * time.Second, Many, 15 * time.Second},
		{2 * time.Second, One, time.Second},
		{0, One, time.Second},
	} {
		if got := Timeout(c.left, c.size); got != c.want {
			t.Errorf("rule: an attempt takes a third of the time that is left, 1 to 10 s, three times that for many entries; Timeout(%s, %d) = %s, want %s", c.left, c.size, got, c.want)
		}
	}
}

type service func(*http.Request) (*http.Response, error)

func (s service) Do(r *http.Request) (*http.Response, error) { return s(r) }

// hangs is a body that sends nothing until the request's context ends.
type hangs struct{ ctx context.Context }

func (h hangs) Read([]byte) (int, error) { <-h.ctx.Done(); return 0, h.ctx.Err() }
func (h hangs) Close() error             { return nil }

func get(ctx context.Context, s service) error {
	r, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://service.test", nil)
	resp, err := Client{s}.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

func TestLateAnswers(t *testing.T) {
	t.Parallel()
	services := map[string]service{
		"never responds": func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		},
		"never ends its answer": func(r *http.Request) (*http.Response, error) {
			return &http.Response{Body: hangs{r.Context()}}, nil
		},
	}
	for name, s := range services {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
			defer cancel()
			err := get(ctx, s)
			var late *TimeoutError
			if !errors.As(err, &late) || time.Since(began) != 4*time.Second || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("rule: an attempt is cut off after a third of the time; a service that %s ends after %s with %v", name, time.Since(began), err)
			}
			ctx, cancel = context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			if err := get(ctx, s); !errors.Is(err, context.DeadlineExceeded) || errors.As(err, &late) {
				t.Errorf("rule: a limit is not the caller's deadline; a service that %s ends with %v", name, err)
			}
		})
	}
}

func TestLargeAnswers(t *testing.T) {
	t.Parallel()
	for _, size := range []Size{One, Page, Many} {
		for _, c := range []struct {
			bytes int64
			want  error
		}{{0, nil}, {MaxBytes(size), nil}, {MaxBytes(size) + 1, ErrTooLarge}, {2 * MaxBytes(size), ErrTooLarge}} {
			answers := func(r *http.Request) (*http.Response, error) {
				return &http.Response{Body: io.NopCloser(io.LimitReader(zeros{}, c.bytes))}, nil
			}
			if err := get(With(t.Context(), size), answers); !errors.Is(err, c.want) {
				t.Errorf("rule: an answer has at most %d bytes; one of %d ends with %v, want %v", MaxBytes(size), c.bytes, err, c.want)
			}
		}
	}
	body := Limit(io.NopCloser(bytes.NewReader(make([]byte, MaxBytes(One)+10))), One)
	read, err := io.ReadAll(body)
	if int64(len(read)) != MaxBytes(One) || !errors.Is(err, ErrTooLarge) {
		t.Errorf("rule: no more than %d bytes are read; it reads %d and %v", MaxBytes(One), len(read), err)
	}
	if n, err := body.Read(make([]byte, 1)); n != 0 || !errors.Is(err, ErrTooLarge) {
		t.Errorf("rule: after the last byte every read fails; it reads %d and %v", n, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// eager is a service that responds before it has read the request's body. net/http permits
// that, and may go on reading the body. If again is set, it reads the body that GetBody returns,
// as net/http does after its first connection was closed.
func eager(reading chan<- func() (int, error), again bool, err error) service {
	return func(r *http.Request) (*http.Response, error) {
		body := r.Body
		if again {
			body, _ = r.GetBody()
		}
		reading <- func() (int, error) { return body.Read(make([]byte, 1)) }
		return &http.Response{Body: io.NopCloser(zeros{})}, err
	}
}

func TestBodyIsNotReadAfterTheAttempt(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{"an answer": nil, "an error": io.ErrUnexpectedEOF} {
		for _, again := range []bool{false, true} {
			reading := make(chan func() (int, error), 1)
			body := bytes.NewReader([]byte("body"))
			r, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://service.test", io.NopCloser(body))
			r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(body), nil }
			resp, got := Client{eager(reading, again, err)}.Do(r)
			if got != err {
				t.Fatalf("Do: %v, want %v", got, err)
			}
			read := <-reading
			if err == nil {
				if n, err := read(); n != 1 || err != nil {
					t.Errorf("rule: a body may be sent until the attempt has ended; sent again (%t), it reads %d and %v", again, n, err)
				}
				resp.Body.Close()
			}
			left := body.Len()
			if n, err := read(); n != 0 || err != io.EOF || body.Len() != left {
				t.Errorf("rule: a request's body is not read after its attempt; after %s, sent again (%t), it reads %d and %v", name, again, n, err)
			}
		}
	}
}
