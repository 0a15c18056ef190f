package firestorekv

import (
	"context"
	"io"
	"iter"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/skykv/skykv/kv"
)

// largestPage bounds the limit of one query.
const largestPage = 1000

// Scan runs queries over the range of document names, each limited to a page, and
// yields while their answers stream in. A query that breaks off is followed by one
// that starts after the last document received.
//
// An index on x would be needed to leave out what expired, and would cost more
// with every write than it saves here: the store sorts it out.
func (d *driver) Scan(ctx context.Context, r kv.Range) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		s := scan{driver: d, withValue: r.WithValue, query: d.rangeQuery(r)}
		s.limit = min(max(r.Limit, 1), largestPage)
		var cancel context.CancelCauseFunc
		s.ctx, cancel = context.WithCancelCause(withHeaders(ctx, d.headers))
		defer cancel(nil) // ends a query that nobody reads any more
		s.pause = d.firstPause
		var callers bool
		if s.deadline, callers = ctx.Deadline(); !callers {
			// The loop's body may take its time, so the timeout is for each wait.
			s.own = true
			s.timer = time.AfterFunc(d.timeout, func() { cancel(errTimeout{}) })
			defer s.timer.Stop()
		}
		s.run(yield)
	}
}

// scan is one running Scan.
type scan struct {
	*driver
	attempts
	withValue bool
	query     *pb.StructuredQuery
	limit     int
	last      string      // the name of the last document received
	timer     *time.Timer // cancels the context while waiting, nil when that has a deadline
}

func (s *scan) run(yield func(kv.Record, error) bool) {
	for {
		n, goOn, err := s.page(yield)
		switch {
		case !goOn:
			return
		case err == nil && n < s.limit: // no more documents
			return
		case err == nil:
			// The caller wants more than it thought, such as when it met expired records.
			s.limit = min(2*s.limit, largestPage)
		case !s.again(err):
			yield(kv.Record{}, s.fail(err))
			return
		}
	}
}

// page runs one query and yields its results. It gives their number, and whether
// the loop goes on.
func (s *scan) page(yield func(kv.Record, error) bool) (n int, goOn bool, err error) {
	s.query.Limit = wrapperspb.Int32(int32(s.limit))
	if s.last != "" {
		s.query.StartAt = &pb.Cursor{Values: reference(s.last)} // after it
	}
	s.wait(true)
	stream, err := s.client.RunQuery(s.ctx, &pb.RunQueryRequest{
		Parent:    s.parent,
		QueryType: &pb.RunQueryRequest_StructuredQuery{StructuredQuery: s.query},
	}, readOptions...)
	for err == nil {
		var resp *pb.RunQueryResponse
		s.wait(true)
		resp, err = stream.Recv()
		doc := resp.GetDocument()
		if err != nil || doc == nil { // without a document it is the query's progress
			continue
		}
		s.wait(false)
		n++
		s.succeeded(s.driver)
		s.last = doc.GetName()
		key := s.keyOf(doc.GetName())
		if key == "" {
			continue
		}
		rec, foreign := decode(key, doc, s.withValue)
		rec.Key = key
		if !yield(rec, foreign) {
			return n, false, nil
		}
	}
	switch {
	case err == io.EOF:
		s.wait(false)
		return n, true, nil
	case s.last != "" && code(err) == codes.FailedPrecondition:
		// The database is there, since it has answered. This is how Firestore ends a
		// query that is open for long: its snapshot is "too old". The next has its own.
		err = status.Error(codes.Unavailable, err.Error())
	}
	return n, true, err
}

// wait starts or stops the timeout of a wait for the service, all attempts included.
func (s *scan) wait(begins bool) {
	switch {
	case s.timer == nil:
	case !begins:
		s.timer.Stop()
	case s.failed == 0:
		s.timer.Reset(s.timeout)
	}
}

// rangeQuery is the query of r's documents in ascending order of their names.
func (d *driver) rangeQuery(r kv.Range) *pb.StructuredQuery {
	q := &pb.StructuredQuery{
		From: []*pb.StructuredQuery_CollectionSelector{{CollectionId: d.collection}},
		OrderBy: []*pb.StructuredQuery_Order{{
			Field:     &pb.StructuredQuery_FieldReference{FieldPath: "__name__"},
			Direction: pb.StructuredQuery_ASCENDING,
		}},
		StartAt: &pb.Cursor{Values: reference(d.docName(r.From)), Before: true},
		EndAt:   &pb.Cursor{Values: reference(d.docName(r.To))},
	}
	if !r.WithValue {
		q.Select = metadataFields
	}
	return q
}

func reference(docName string) []*pb.Value {
	return []*pb.Value{{ValueType: &pb.Value_ReferenceValue{ReferenceValue: docName}}}
}
