package idempotency

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"time"

	"github.com/skykv/skykv/kv"
)

// The defaults of [Options].
const (
	DefaultTTL     = 24 * time.Hour
	DefaultTimeout = 30 * time.Second
	DefaultMaxBody = 1 << 20
)

// maxTimeout is the greatest Timeout. A claim lasts three times the Timeout, which must not overflow.
const maxTimeout = math.MaxInt64 / 3 * time.Nanosecond

// Options of [New].
type Options struct {
	// Scope must be set. It returns who sends a request, such as the ID of the user whose
	// credentials were checked. Equal keys of different scopes are different keys, so a user
	// who guesses the key of another user cannot read that user's response.
	Scope func(r *http.Request) string

	// Required refuses requests without a key.
	Required bool

	// TTL is how long a response is kept, DefaultTTL if 0.
	TTL time.Duration

	// Timeout is how long a handler may run, DefaultTimeout if 0: a millisecond to 97
	// years. The handler's context ends after that time, not when the client
	// disconnects. Claiming a key and storing a response may each take up to Timeout, too.
	Timeout time.Duration

	// MaxBody is the largest body of a request, in bytes, DefaultMaxBody if 0.
	MaxBody int64

	// Log receives the failures of the store. If it is nil, slog.Default receives them.
	Log *slog.Logger
}

// withDefaults returns the options with defaults filled in. If one is out of its bounds, the error
// matches [kv.ErrInvalidOption].
func (o Options) withDefaults() (Options, error) {
	if o.TTL == 0 {
		o.TTL = DefaultTTL
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.MaxBody == 0 {
		o.MaxBody = DefaultMaxBody
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	var wrong error
	switch {
	case o.Scope == nil:
		wrong = errors.New("option Scope is nil; want a function that returns who sends a request")
	case o.TTL < time.Millisecond:
		wrong = fmt.Errorf("option TTL is %s; want at least %s", o.TTL, time.Millisecond)
	case o.Timeout < time.Millisecond || o.Timeout > maxTimeout:
		wrong = fmt.Errorf("option Timeout is %s; want %s to %s", o.Timeout, time.Millisecond, maxTimeout)
	case o.MaxBody < 0:
		wrong = fmt.Errorf("option MaxBody is %d; want a number of bytes", o.MaxBody)
	}
	if wrong != nil {
		return o, &kv.Error{Op: "idempotency options", Kind: kv.ErrInvalidOption, Err: wrong}
	}
	return o, nil
}
