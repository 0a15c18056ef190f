package recipes

import (
	"context"
	"sync"

	"github.com/skykv/skykv/kv"
)

// Sequence hands out numbers, each of them once among all processes that use the same key. It
// takes them from the store in blocks: with blocks of 1000 one number in a thousand costs a
// request. Numbers grow within a process. The rest of a block is never used when its process
// ends.
type Sequence struct {
	store *kv.Store
	key   string
	block int64

	mu         sync.Mutex
	last, left int64
}

// NewSequence returns the numbers under a key, in blocks of at least 1.
func NewSequence(store *kv.Store, key string, block int64) *Sequence {
	return &Sequence{store: store, key: key, block: block}
}

// Next returns the next number; the first one is 1. An error uses up a block at most.
func (s *Sequence) Next(ctx context.Context) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left == 0 {
		end, err := s.store.Increment(ctx, s.key, s.block)
		if err != nil {
			return 0, err
		}
		s.last, s.left = end-s.block, s.block
	}
	s.last++
	s.left--
	return s.last, nil
}
