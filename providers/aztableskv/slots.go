package aztableskv

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/skykv/skykv/internal/attempt"
)

// slot is a context with the retry options of the SDK's client, and a timer that ends it by
// [Options].Timeout. The context also ends when the driver closes. Calls use a slot one
// after another: a new one for each call would cost more allocations than everything else
// that the driver adds to the SDK's.
type slot struct {
	context.Context
	timer  *time.Timer
	cancel func() // ends the context as if the caller's context had ended
	call   *attempts
}

// slots are the slots of a driver.
type slots struct {
	retry policy.RetryOptions
	life  context.Context // ends when the driver closes
	close context.CancelFunc

	mu   sync.Mutex
	idle []*slot
}

func newSlots(retry policy.RetryOptions) *slots {
	s := &slots{retry: retry}
	s.life, s.close = context.WithCancel(context.Background())
	return s
}

// take returns a slot for a call. The call must return it with give.
func (s *slots) take(call *attempts) *slot {
	taken := s.takeIdle()
	if taken == nil {
		taken = s.make()
	}
	taken.call = call
	return taken
}

func (s *slots) takeIdle() *slot {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(s.idle) - 1
	if last < 0 {
		return nil
	}
	taken := s.idle[last]
	s.idle = s.idle[:last]
	return taken
}

func (s *slots) make() *slot {
	ctx, cancel := context.WithCancelCause(s.life)
	made := &slot{cancel: func() { cancel(nil) }}
	made.timer = time.AfterFunc(time.Hour, func() { cancel(attempt.ErrStoreTimeout) })
	made.timer.Stop()
	retry := s.retry
	retry.ShouldRetry = func(resp *http.Response, err error) bool { return made.call.repeat(resp, err) }
	made.Context = policy.WithRetryOptions(ctx, retry)
	return made
}

// give returns the slot of a call that is over. No other call uses a slot that has ended,
// or that the call may still end.
func (s *slots) give(used *slot, reusable bool) {
	used.call = nil
	if !reusable || used.Err() != nil {
		used.cancel()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle = append(s.idle, used)
}
