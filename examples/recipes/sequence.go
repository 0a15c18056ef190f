package recipes

import (
	"context"
	"sync"

	"github.com/skykv/skykv/kv"
)

// Sequence returns each number at most once, even if many processes use the same key. It takes the
// numbers from the store in blocks. With blocks of 1000, only one number in a thousand costs
// requests. The numbers of one Sequence grow. When a process ends, the rest of its block is lost.
type Sequence struct {
	store *kv.Store
	key   string
	block int64

	mu         sync.Mutex
	last, left int64
}

// NewSequence returns the sequence under a key. The size of its blocks must be at least 1.
func NewSequence(store *kv.Store, key string, block int64) *Sequence {
	return &Sequence{store: store, key: key, block: block}
}

// Next returns the next number. The first one is 1. A call that fails loses at most a block.
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
