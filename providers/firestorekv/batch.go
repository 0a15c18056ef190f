package firestorekv

import (
	"context"
	"iter"
	"slices"
	"sync"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/skykv/skykv/internal/attempt"
	"github.com/skykv/skykv/internal/parallel"
	"github.com/skykv/skykv/kv"
)

// The sizes of the requests of a batch. Firestore takes up to 500 writes and 10 MiB in one
// request (https://cloud.google.com/firestore/quotas). Smaller requests return sooner, and
// several run at once.
const (
	parallelGroups = 8
	groupReads     = 100
	groupWrites    = 200
	groupBytes     = 4 << 20

	// writeBytes is about the size of a write without its value: the document's name
	// with a long key, the token, the expiry and the predecessors.
	writeBytes = 1024
)

// GetMany reads the documents in groups, with one request for each group. It reads several
// groups at once.
func (d *driver) GetMany(ctx context.Context, req kv.GetManyRequest) iter.Seq2[kv.Found, error] {
	return func(yield func(kv.Found, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		groups := slices.Collect(slices.Chunk(req.Keys, groupReads))
		// The channel has room for all keys of the running groups, so that no request waits
		// for the loop's body.
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
	last  bool // this is the last answer of its group
}

// getGroup reads the keys of one request. For every key, it calls the function each exactly
// once, as soon as the key's result arrives. After an interrupted response, it requests the
// remaining keys again.
func (d *driver) getGroup(ctx context.Context, req kv.GetManyRequest, each func(kv.Found, error)) {
	a := d.watch(ctx, attempt.Many, req.Meter)
	defer a.end()
	defer a.ended()
	a.persist()
	docNames := make([]string, len(req.Keys))
	owed := make(map[string]string, len(req.Keys)) // the names of the documents without a result, and their keys
	for i, key := range req.Keys {
		docNames[i] = d.layout.docName(key)
		owed[docNames[i]] = key
	}
	for len(owed) > 0 {
		before := len(owed)
		err := d.getOwed(a.begin(), docNames, owed, req.WithValue, each)
		if len(owed) < before {
			a.progressed()
		}
		if done, err := a.done(err); done {
			for _, key := range owed {
				each(kv.Found{Record: kv.Record{Key: key}}, a.failRead(err))
			}
			return
		}
	}
}

// getOwed makes one attempt to read the documents that are in owed, in the order of
// docNames. It removes from owed every document that it receives. If it returns nil, owed
// is empty.
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
	bytes := 0
	for range len(owed) + progressMessages {
		resp, err := stream.Recv()
		if err != nil {
			return cutShort(err)
		}
		docName, doc := answered(resp)
		if docName == "" && doc == nil { // the message only reports the progress
			continue
		}
		key, ok := owed[docName]
		switch bytes += proto.Size(doc); {
		case !ok:
			return errOther
		case doc != nil && !validVersion(doc.GetUpdateTime()):
			return errNoVersion
		case int64(bytes) > attempt.MaxBytes(attempt.Many):
			return errEndless
		}
		delete(owed, docName)
		if doc == nil {
			each(kv.Found{Record: kv.Record{Key: key}}, nil)
		} else {
			rec, err := d.layout.decode(key, doc, withValue)
			each(kv.Found{Record: rec, Exists: err == nil}, err)
		}
		if len(owed) == 0 {
			_ = stream.RecvMsg(resp) // reading the end frees the stream; the error does not matter
			return nil
		}
	}
	return errEndless
}

// WriteMany divides the writes into groups, and sends several groups at once. It sends each
// group with BatchWrite. Unlike a Commit of several writes, a BatchWrite is not atomic: every
// write has its own status, a refused write does not stop the others, and the service does not
// lock the whole group. WriteMany then reads the records that made conditions fail. For a touch
// of a live entry it only reads the entry: see touchesLive.
func (d *driver) WriteMany(ctx context.Context, req kv.WriteManyRequest) []kv.WriteResult {
	results := make([]kv.WriteResult, len(req.Writes))
	groups := d.groups(req, results)
	parallel.Do(len(groups), parallelGroups, func(i int) { groups[i].run(ctx) })
	for i, w := range req.Writes {
		if touchesLive(w) {
			results[i].Outcome, results[i].Err = d.Write(ctx, req.One(i))
		}
	}
	return results
}

// writeGroup has the writes of one request.
type writeGroup struct {
	*driver
	req     kv.WriteManyRequest
	results []kv.WriteResult // of the whole batch
	pending []pendingWrite   // writes without a result
	refused []pendingWrite   // writes whose conditions failed
	asked   time.Time        // time of the last call of pace.turn
}

type pendingWrite struct {
	at    int // the index of the write in the batch
	write *pb.Write
	err   error // of the last attempt

	failed         int  // number of failed attempts, not counting throttled ones
	mayHaveApplied bool // an attempt may have applied the write
}

// groups divides the writes of a batch into groups. It sets the results of writes that the
// driver cannot carry out.
func (d *driver) groups(req kv.WriteManyRequest, results []kv.WriteResult) (groups []*writeGroup) {
	var last *writeGroup
	size := 0
	for i, w := range req.Writes {
		write, err := d.layout.write(w, req.Now)
		if err == nil && w.Kind == kv.KindCheck {
			err = kv.UnsupportedWrite(w)
		}
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
	a := g.watch(ctx, attempt.Many, g.req.Meter)
	defer a.end()
	a.persist()
	for len(g.pending) > 0 && g.await(a) {
		before := len(g.pending)
		err := g.attempt(a)
		if len(g.pending) < before {
			a.progressed()
		}
		if done, _ := a.done(err); done {
			break
		}
	}
	for _, w := range g.pending {
		g.fail(a, w)
	}
	a.ended()
	g.findRefused(ctx, a)
}

// await waits for the turn of the group, as pace decides. It returns false if the call ends
// first. The time of the wait does not count as a lack of progress.
func (g *writeGroup) await(a *attempts) bool {
	g.asked = time.Now()
	wait, cost := g.driver.pace.turn(len(g.pending), g.asked)
	if wait == 0 {
		return true
	}
	a.extend(a.patient.Add(wait))
	if a.wait(wait) {
		return true
	}
	g.driver.pace.unused(cost)
	for i := range g.pending {
		if g.pending[i].err == nil {
			g.pending[i].err = errNoTurn
		}
	}
	return false
}

// errNoTurn is the error of writes whose turn did not come before the call ended.
var errNoTurn = status.Error(codes.ResourceExhausted, "the service throttles writes, and the call ended before this write was sent")

// attempt sends the pending writes once. Failed writes that should be repeated remain
// pending. attempt returns the error of the first of these, or nil if there is none.
func (g *writeGroup) attempt(a *attempts) error {
	req := &pb.BatchWriteRequest{Database: g.layout.database, Writes: make([]*pb.Write, len(g.pending))}
	for i, w := range g.pending {
		req.Writes[i] = w.write
	}
	var opt writing
	resp, err := g.client.BatchWrite(withHeaders(a.begin(), g.headers), req, opt.options()...)
	if err == nil && (len(resp.GetStatus()) != len(req.Writes) || len(resp.GetWriteResults()) != len(req.Writes)) {
		err = errResults
	}
	err = a.cutOff(err)
	slower := false
	var again []pendingWrite
	for i, w := range g.pending {
		if w.err = err; err == nil {
			w.err = status.ErrorProto(resp.GetStatus()[i])
			if conditionFailed(w.write.GetCurrentDocument(), w.err) {
				g.refused = append(g.refused, w)
				continue
			}
			if w.err == nil {
				w.err = checkResults(req.Writes[i:i+1], resp.GetWriteResults()[i:i+1])
			}
		}
		w.mayHaveApplied = w.mayHaveApplied || w.err != nil && opt.lost(w.err)
		if throttled(w.err) {
			slower = true
		} else if w.err != nil {
			w.failed++
		}
		switch {
		case w.err == nil:
			g.results[w.at].Outcome = kv.Outcome{Done: true, Version: versionOf(w.write, resp.GetWriteResults()[i])}
		case passing(w.err) && w.failed < maxAttempts:
			again = append(again, w)
		default:
			g.fail(a, w)
		}
	}
	if slower {
		g.driver.pace.refused(g.asked, time.Now())
	}
	if g.pending = again; len(again) == 0 {
		return nil
	}
	return again[0].err
}

// The method fail sets the result of the write w to the error of the last attempt at w.
func (g *writeGroup) fail(a *attempts, w pendingWrite) {
	e := a.failRead(w.err)
	e.MayHaveApplied = w.mayHaveApplied
	g.results[w.at].Err = e
}

// findRefused reads the records that made conditions fail, and stores them in the results
// of the writes.
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
				g.fail(a, w)
				return
			}
			g.results[w.at].Outcome = kv.Outcome{Exists: found.Exists, Found: found.Record, MayHaveApplied: w.mayHaveApplied}
		})
	}
}
