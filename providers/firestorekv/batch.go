package firestorekv

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/status"

	"github.com/skykv/skykv/internal/parallel"
	"github.com/skykv/skykv/kv"
)

// Sizes of the requests that a batch is made of. Firestore takes up to 500 writes
// and 10 MiB in one request (https://cloud.google.com/firestore/quotas); smaller
// requests return sooner and run side by side.
const (
	parallelGroups = 8
	groupReads     = 100
	groupWrites    = 200
	groupBytes     = 4 << 20

	// writeBytes is about the size of a write without its value: the document's name
	// with a long key, the token, the expiry and the predecessors.
	writeBytes = 1024
)

// GetMany reads groups of documents, some of them at once.
func (d *driver) GetMany(ctx context.Context, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	return func(yield func(kv.Found, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		groups := slices.Collect(slices.Chunk(req.Keys, groupReads))
		// The channel has room for all keys of the groups under way, so that no request
		// waits for the loop's body.
		answers := make(chan answer, min(len(req.Keys), parallelGroups*groupReads))
		var reading sync.WaitGroup
		defer reading.Wait()
		defer cancel()
		begin := func() {
			if len(groups) == 0 {
				return
			}
			group := req
			group.Keys, groups = groups[0], groups[1:]
			reading.Go(func() {
				left := len(group.Keys)
				d.getGroup(ctx, group, func(found kv.Found, err error) {
					left--
					answers <- answer{found, err, left == 0}
				})
			})
		}
		for range parallelGroups {
			begin()
		}
		for range req.Keys {
			a := <-answers
			if a.last {
				begin()
			}
			if !yield(a.found, a.err) {
				return
			}
		}
	}
}

// answer is the result for one key.
type answer struct {
	found kv.Found
	err   error
	last  bool // of its group
}

// getGroup reads the keys of one request, and calls each for a key as its result
// arrives. After a response that breaks off, it asks again for the rest.
func (d *driver) getGroup(ctx context.Context, req kv.GetManyRequest, each func(kv.Found, error)) {
	ctx, a := d.watch(ctx, req.Meter)
	defer a.end()
	defer a.ended()
	docNames := make([]string, len(req.Keys))
	owed := make(map[string]string, len(req.Keys)) // names of documents, and their keys
	for i, key := range req.Keys {
		docNames[i] = d.layout.docName(key)
		owed[docNames[i]] = key
	}
	for len(owed) > 0 {
		before := len(owed)
		a.made++
		err := d.getOwed(ctx, docNames, owed, req.WithValue, each)
		if len(owed) < before {
			a.progressed()
		}
		if err != nil && !a.again(ctx, err) {
			failed := a.failRead(ctx, err)
			for _, key := range owed {
				each(kv.Found{Record: kv.Record{Key: key}}, failed)
			}
			return
		}
	}
}

// getOwed makes one attempt to read the documents of owed, in the order of docNames. It
// removes from owed the documents that it got. Without an error, none is left.
func (d *driver) getOwed(ctx context.Context, docNames []string, owed map[string]string, withValue bool, each func(kv.Found, error)) error {
	req := &pb.BatchGetDocumentsRequest{Database: d.layout.database, Documents: make([]string, 0, len(owed)), Mask: d.layout.mask(withValue)}
	for _, docName := range docNames {
		if _, ok := owed[docName]; ok {
			req.Documents = append(req.Documents, docName)
		}
	}
	stream, err := d.client.BatchGetDocuments(withHeaders(ctx, d.getHeaders), req, readOptions...)
	if err != nil {
		return err
	}
	for {
		resp, err := stream.Recv()
		switch {
		case len(owed) == 0 && err != nil: // how the stream ends does not matter
			return nil
		case err != nil:
			return cutShort(err)
		}
		doc := resp.GetFound()
		docName := doc.GetName()
		if doc == nil {
			docName = resp.GetMissing()
		}
		key, ok := owed[docName]
		if !ok {
			continue
		}
		delete(owed, docName)
		if doc == nil {
			each(kv.Found{Record: kv.Record{Key: key}}, nil)
			continue
		}
		rec, err := d.layout.decode(key, doc, withValue)
		each(kv.Found{Record: rec, Exists: err == nil}, err)
	}
}

// WriteMany sends groups of writes by BatchWrite, some at once. A BatchWrite is not
// atomic, unlike a Commit of several writes: it has a status for every write, a refused
// write does not stop the others, and the service holds no locks over the whole group.
// Afterwards WriteMany reads the records that made conditions fail.
func (d *driver) WriteMany(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	results := make([]kv.WriteResult, len(req.Writes))
	groups := d.groups(req, results)
	parallel.Do(len(groups), parallelGroups, func(i int) { groups[i].run(ctx) })
	return results
}

// writeGroup is the writes of one request.
type writeGroup struct {
	*driver
	req     kv.WriteManyRequest
	results []kv.WriteResult // of the whole batch
	pending []pendingWrite   // writes without a result
	refused []pendingWrite   // writes whose conditions failed
}

type pendingWrite struct {
	at    int // its place in the batch
	write *pb.Write
	err   error // of the last attempt

	mayHaveApplied bool // by one of the attempts
}

// groups cuts the writes of a batch into groups. It sets the results of writes that the
// driver cannot carry out.
func (d *driver) groups(req kv.WriteManyRequest, results []kv.WriteResult) (groups []*writeGroup) {
	var last *writeGroup
	size := 0
	for i, w := range req.Writes {
		write, err := d.layout.write(w)
		if err != nil {
			results[i].Err = err
			continue
		}
		bytes := writeBytes + len(w.Value)
		if last == nil || len(last.pending) == groupWrites || size+bytes > groupBytes {
			last, size = &writeGroup{driver: d, req: req, results: results}, 0
			groups = append(groups, last)
		}
		last.pending = append(last.pending, pendingWrite{at: i, write: write})
		size += bytes
	}
	return groups
}

// run makes attempts until each write has a result.
func (g *writeGroup) run(ctx context.Context) {
	watched, a := g.watch(ctx, g.req.Meter)
	defer a.end()
	for len(g.pending) > 0 {
		before := len(g.pending)
		g.attempt(watched, a)
		if len(g.pending) < before {
			a.progressed()
		}
		if len(g.pending) > 0 && !a.again(watched, g.pending[0].err) {
			for _, w := range g.pending {
				g.fail(watched, a, w)
			}
			break
		}
	}
	a.ended()
	g.findRefused(ctx, a)
}

// attempt sends the pending writes once. Writes that may be repeated stay pending.
func (g *writeGroup) attempt(ctx context.Context, a *attempts) {
	req := &pb.BatchWriteRequest{Database: g.layout.database, Writes: make([]*pb.Write, len(g.pending))}
	for i, w := range g.pending {
		req.Writes[i] = w.write
	}
	var opt writing
	a.made++
	resp, err := g.client.BatchWrite(withHeaders(ctx, g.headers), req, opt.options()...)
	var again []pendingWrite
	for i, w := range g.pending {
		var result *pb.WriteResult
		switch {
		case err != nil:
			w.err = err
			w.mayHaveApplied = w.mayHaveApplied || opt.lost(err)
		case i >= len(resp.GetStatus()) || i >= len(resp.GetWriteResults()):
			w.err = errShort
			w.mayHaveApplied = true
		default:
			result = resp.GetWriteResults()[i]
			w.err = status.ErrorProto(resp.GetStatus()[i])
			if conditionFailed(w.write.GetCurrentDocument(), w.err) {
				g.refused = append(g.refused, w)
				continue
			}
			if w.err == nil && w.write.GetUpdate() != nil && result.GetUpdateTime() == nil {
				w.err = errNoVersion
			}
			w.mayHaveApplied = w.mayHaveApplied || w.err != nil && !refused(w.err)
		}
		switch {
		case w.err == nil:
			g.results[w.at].Outcome = kv.Outcome{Done: true, Version: formatVersion(result.GetUpdateTime())}
		case passing(code(w.err)):
			again = append(again, w)
		default:
			g.fail(ctx, a, w)
		}
	}
	g.pending = again
}

var errShort = errors.New("the response has no status for this write")

// fail sets the error of w's last attempt as its result.
func (g *writeGroup) fail(ctx context.Context, a *attempts, w pendingWrite) {
	e := a.failRead(ctx, w.err)
	e.MayHaveApplied = w.mayHaveApplied
	g.results[w.at].Err = e
}

// findRefused reads the records that made conditions fail, as results of their writes.
func (g *writeGroup) findRefused(ctx context.Context, a *attempts) {
	refused := make(map[string]pendingWrite, len(g.refused))
	var keys []string
	for _, w := range g.refused {
		key := g.req.Writes[w.at].Key
		refused[key] = w
		keys = append(keys, key)
	}
	for keys := range slices.Chunk(keys, groupReads) {
		g.getGroup(ctx, kv.GetManyRequest{Keys: keys, Meter: g.req.Meter}, func(found kv.Found, err error) {
			w := refused[found.Key]
			if err != nil {
				w.err = err
				g.fail(ctx, a, w)
				return
			}
			g.results[w.at].Outcome = kv.Outcome{Exists: found.Exists, Found: found.Record, MayHaveApplied: w.mayHaveApplied}
		})
	}
}
