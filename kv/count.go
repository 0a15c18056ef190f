package kv

import (
	"context"
	"sync"
)

// Count returns the number of live entries whose keys start with prefix. The empty prefix
// matches every key. One reading of the store's clock judges all expiries. Count counts
// each entry that lives throughout the call once. Entries that are written or expire
// meanwhile may or may not be counted: a count is no snapshot.
//
// A count costs what a Scan with [KeysOnly] costs, and transfers no values. It is faster on
// drivers with an [Info].Count: DynamoDB counts in the service, and localkv in its indexes.
//
// Records that skykv did not write are not counted. Count then returns the number of the
// others and a *[BatchError] that names the records. localkv does not read the records that
// it counts, so it may count such records.
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
		return 0, s.fail(op, prefix, err)
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
	foreign map[string]error // the records that cannot be read
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
			if one.err != nil && all.err == nil { // cancel ends the others
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
		// A scan then names the records that skykv did not write.
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
