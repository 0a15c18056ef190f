package kv

import (
	"cmp"
	"context"
	"sync"
)

// Count returns the number of live entries whose keys start with prefix. The empty prefix
// matches every key. An entry is live if it has not expired when Count begins. Each
// entry that lives throughout the call is counted once. Entries that are written or expire
// meanwhile may or may not be counted: a count is not a snapshot.
//
// A count costs the same as a Scan with [KeysOnly], and transfers no values. It is faster
// on drivers with an [Info].Count: DynamoDB counts in the service, and localkv in its
// indexes, unless many entries have expired.
//
// If there are records that skykv did not write, Count leaves them out, and also returns a
// *[BatchError] that names them. localkv does not check the records that it counts, so it
// may count records that skykv did not write. DynamoDB counts an item that has the form of
// an entry even if its name is not a legal key, or is the key of another shard.
func (s *Store) Count(ctx context.Context, prefix string, opts ...RangeOption) (int, error) {
	const op = "count"
	plan, err := planScan(s.info.MaxKeyLen, opts)
	if err == nil {
		err = checkPrefix(prefix, s.info.MaxKeyLen)
	}
	var c call
	if err == nil {
		c, err = s.begin(ctx)
	}
	if err != nil {
		return 0, s.fail(op, cmp.Or(err.Key, prefix), err)
	}
	defer c.end()
	req := s.scanRequest(prefix, plan)
	req.WithValue, req.Stale, req.Now, req.Limit = false, s.stale, s.now().UnixMilli(), scanPage
	if req.From > req.To {
		return 0, nil
	}
	counted := s.countShards(c.ctx, req)
	if counted.err != nil {
		return 0, s.fail(op, prefix, c.explain(counted.err))
	}
	for key, err := range counted.foreign {
		counted.foreign[key] = s.fail(op, key, err)
	}
	return counted.live, batchError(counted.foreign)
}

// shardCount is the result of a count of one or more shards.
type shardCount struct {
	live    int
	foreign map[string]error // by key, the errors of the records that cannot be read
	err     error            // why the count ended early
}

// countShards counts the shards of req in parallel.
func (s *Store) countShards(ctx context.Context, req ScanRequest) shardCount {
	if req.Alone {
		return s.countShard(ctx, req)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	all := shardCount{foreign: make(map[string]error)}
	var mu sync.Mutex
	var counting sync.WaitGroup
	for shard := range s.info.Shards {
		req := req
		req.Shard = shard
		counting.Go(func() {
			one := s.countShard(ctx, req)
			mu.Lock()
			defer mu.Unlock()
			all.live += one.live
			for key, err := range one.foreign {
				all.foreign[key] = err
			}
			if one.err != nil && all.err == nil { // the first error ends the other counts
				all.err = one.err
				cancel()
			}
		})
	}
	counting.Wait()
	return all
}

// countShard counts in one shard.
func (s *Store) countShard(ctx context.Context, req ScanRequest) shardCount {
	if s.info.Count != nil {
		n, err := s.info.Count(ctx, req)
		if e, own := err.(*Error); !own || e.Kind != ErrIncompatible {
			return shardCount{live: n, err: err}
		}
		// The scan below finds the records that skykv did not write.
	}
	one := shardCount{foreign: make(map[string]error)}
	for rec, err := range s.shard(ctx, req) {
		switch {
		case err != nil && rec.Key == "":
			one.err = err
			return one
		case err != nil:
			one.foreign[rec.Key] = err
		case !expired(rec.Expires, req.Now):
			one.live++
		}
	}
	return one
}
