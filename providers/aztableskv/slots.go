package aztableskv

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/skykv/skykv/internal/attempt"
)

// slot is a context with the retry options for the SDK's client, and a timer that ends the
// context after [Options].Timeout. The context also ends when the driver closes. Slots are
// reused by one call after another, because a new slot for each call would cost more
// allocations than all other work of the driver together.
type slot struct {
	context.Context
	timer  *time.Timer
	cancel func()    // ends the context as if the caller's context had ended
	call   *attempts // the call that uses the slot; nil while the slot is idle
}

// slots has the idle slots of a driver, and what all its slots have in common.
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

// take returns a slot for a call. The slot must be returned with give when the call is over.
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

// give takes back the slot of a call that is over. It keeps the slot for another call, unless
// the slot's context has ended. reusable must be false if the call's timer or the caller's
// context may still end the slot. give then does not keep the slot either.
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
