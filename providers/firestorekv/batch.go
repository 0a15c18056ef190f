package firestorekv

import (
	"context"
	"io"
	"slices"
	"sync"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/skykv/skykv/internal/parallel"
	"github.com/skykv/skykv/kv"
)

// Sizes of the requests that a batch is made of. Firestore takes up to 500 writes
// and 10 MiB in one request (https://cloud.google.com/firestore/quotas); smaller
// ones are answered sooner and run side by side.
const (
	parallelGroups = 8
	groupReads     = 100
	groupWrites    = 200
	groupBytes     = 4 << 20

	// writeBytes is about what a write takes beside its value: the document's name
	// with a long key, the token, the expiry.
	writeBytes = 1024
)

// GetMany reads groups of documents, some of them at once. What a broken answer
// still owes is asked for again.
func (d *driver) GetMany(ctx context.Context, keys []string) ([]kv.Record, error) {
	var b batch
	groups := slices.Collect(slices.Chunk(keys, groupReads))
	parallel.Do(len(groups), parallelGroups, func(i int) { d.getGroup(ctx, groups[i], &b) })
	return b.recs, b.err()
}

// batch gathers what the groups of a batch found.
type batch struct {
	mu     sync.Mutex
	recs   []kv.Record
	failed map[string]error
}

func (b *batch) fail(key string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failed == nil {
		b.failed = make(map[string]error)
	}
	b.failed[key] = err
}

func (b *batch) err() error {
	if b.failed == nil {
		return nil
	}
	return &kv.BatchError{Failed: b.failed}
}

func (d *driver) getGroup(ctx context.Context, keys []string, b *batch) {
	a := d.begin(ctx)
	defer a.end(d)
	owed := make(map[string]struct{}, len(keys)) // names of documents
	for _, key := range keys {
		owed[d.docName(key)] = struct{}{}
	}
	for len(owed) > 0 {
		before := len(owed)
		err := d.getOwed(&a, owed, b)
		if len(owed) < before {
			a.succeeded(d)
		}
		if err != nil && !a.again(err) {
			for docName := range owed {
				b.fail(docName[len(d.prefix):], a.fail(err))
			}
			return
		}
	}
}

// getOwed makes one attempt to read the documents owed, and removes from them what
// it got an answer for. Without an error none is left.
func (d *driver) getOwed(a *attempts, owed map[string]struct{}, b *batch) error {
	req := &pb.BatchGetDocumentsRequest{Database: d.database, Documents: make([]string, 0, len(owed))}
	for docName := range owed {
		req.Documents = append(req.Documents, docName)
	}
	stream, err := d.client.BatchGetDocuments(withHeaders(a.ctx, d.getHeaders), req, readOptions...)
	if err != nil {
		return err
	}
	for {
		resp, err := stream.Recv()
		switch {
		case len(owed) == 0 && err != nil: // however it ends
			return nil
		case err == io.EOF:
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
		doc := resp.GetFound()
		docName := doc.GetName()
		if doc == nil {
			docName = resp.GetMissing()
		}
		if _, ok := owed[docName]; !ok {
			continue
		}
		delete(owed, docName)
		if doc == nil {
			continue
		}
		key := docName[len(d.prefix):]
		rec, err := decode(key, doc, true)
		if err != nil {
			b.fail(key, err)
			continue
		}
		b.mu.Lock()
		b.recs = append(b.recs, rec)
		b.mu.Unlock()
	}
}

// WriteMany sends groups of writes by BatchWrite, some at once. Unlike a Commit of
// several writes, a BatchWrite is not atomic: it says of every write what became
// of it, one that is refused does not take others along, and no locks are held
// over the whole group.
func (d *driver) WriteMany(ctx context.Context, writes []kv.Write) error {
	var b batch
	groups := groupsOf(writes)
	parallel.Do(len(groups), parallelGroups, func(i int) { d.writeGroup(ctx, groups[i], &b) })
	return b.err()
}

// groupsOf cuts writes into the groups of one request each.
func groupsOf(writes []kv.Write) [][]kv.Write {
	var groups [][]kv.Write
	start, size := 0, 0
	for i, w := range writes {
		bytes := writeBytes + len(w.Value)
		if i-start == groupWrites || size+bytes > groupBytes {
			groups = append(groups, writes[start:i])
			start, size = i, 0
		}
		size += bytes
	}
	return append(groups, writes[start:])
}

// pendingWrite is a write of a group whose success is not known.
type pendingWrite struct {
	key   string
	write *pb.Write

	// applied: an earlier attempt may have been applied.
	applied bool
	err     error // of the last attempt
}

func (d *driver) writeGroup(ctx context.Context, writes []kv.Write, b *batch) {
	a := d.begin(ctx)
	defer a.end(d)
	pending := make([]pendingWrite, len(writes))
	for i, w := range writes {
		write := &pb.Write{Operation: &pb.Write_Delete{Delete: d.docName(w.Key)}}
		if !w.Delete {
			write.Operation = &pb.Write_Update{Update: d.encode(w.Record)}
		}
		pending[i] = pendingWrite{key: w.Key, write: write}
	}
	for len(pending) > 0 {
		before := len(pending)
		pending = d.writeOnce(&a, pending, b)
		if len(pending) == 0 {
			return
		}
		if len(pending) < before {
			a.succeeded(d)
		}
		if !a.again(pending[0].err) {
			for _, w := range pending {
				b.fail(w.key, a.failAs(w.err, w.applied))
			}
			return
		}
	}
}

// writeOnce makes one attempt of the pending writes, and gives those which may be
// tried again.
func (d *driver) writeOnce(a *attempts, pending []pendingWrite, b *batch) (again []pendingWrite) {
	req := &pb.BatchWriteRequest{Database: d.database, Writes: make([]*pb.Write, len(pending))}
	for i, w := range pending {
		req.Writes[i] = w.write
	}
	var opt writing
	resp, err := d.client.BatchWrite(withHeaders(a.ctx, d.headers), req, opt.options()...)
	for i, w := range pending {
		switch {
		case err != nil:
			w.err = err
			w.applied = w.applied || opt.mayBeApplied(err)
		case i >= len(resp.GetStatus()):
			w.err = status.Error(codes.Unknown, "the response does not say what became of this write")
			w.applied = true
		default:
			if w.err = status.ErrorProto(resp.GetStatus()[i]); w.err == nil {
				continue
			}
			w.applied = w.applied || !refused(w.err)
		}
		if passing(code(w.err)) {
			again = append(again, w)
		} else {
			b.fail(w.key, a.failAs(w.err, w.applied))
		}
	}
	return again
}
