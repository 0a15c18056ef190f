package firestorekv

import (
	"context"
	"io"
	"iter"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/skykv/skykv/kv"
)

// A page of a scan has at most so many documents, and about so many bytes at most: it
// is read to its end before its records are yielded, since a query that waits for the
// loop's body would take one of the streams that a connection is limited to.
const (
	largestPage = 1000
	pageBytes   = 4 << 20
)

// Scan makes a query for each page. A query that breaks off is followed by one that
// starts after the last document received.
func (d *driver) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		query := d.layout.query(req)
		for limit := min(req.Limit, largestPage); ; {
			query.Limit = wrapperspb.Int32(int32(limit))
			page, err := d.page(ctx, query, req.Meter)
			for _, doc := range page.docs {
				rec, foreign := d.layout.scanned(req.Shard, doc, req.WithValue)
				if rec.Key != "" && !yield(rec, foreign) {
					return
				}
			}
			switch {
			case err != nil:
				yield(kv.Record{}, err)
				return
			case page.last:
				return
			}
			startAfter(query, page.docs[len(page.docs)-1].GetName())
			// The caller wants more than it thought, such as when it met expired records.
			limit = min(2*limit, largestPage, max(1, pageBytes/(page.bytes/len(page.docs))))
		}
	}
}

// page is a part of what a query finds.
type page struct {
	docs  []*pb.Document
	bytes int
	last  bool // the query finds no more
}

// page runs a query in as many attempts as it takes to receive a document, or to learn
// that there are no more.
func (d *driver) page(ctx context.Context, query *pb.StructuredQuery, meter *kv.Meter) (page, error) {
	ctx, a := d.watch(ctx, meter)
	defer a.end()
	defer a.ended()
	for {
		a.made++
		p, err := d.pageOnce(ctx, query)
		switch {
		case err == nil || len(p.docs) > 0 && ctx.Err() == nil: // the next query tells whether the error lasts
			return p, nil
		case len(p.docs) > 0 || !a.again(ctx, err):
			return p, a.failRead(ctx, err)
		}
	}
}

// pageOnce makes one attempt. With an error, what was received is the beginning of the
// page.
func (d *driver) pageOnce(ctx context.Context, query *pb.StructuredQuery) (p page, err error) {
	ctx, cancel := context.WithCancel(withHeaders(ctx, d.headers))
	defer cancel() // ends a query that was not read to its end
	stream, err := d.client.RunQuery(ctx, &pb.RunQueryRequest{
		Parent:    d.layout.parent,
		QueryType: &pb.RunQueryRequest_StructuredQuery{StructuredQuery: query},
	}, readOptions...)
	for err == nil && p.bytes < pageBytes {
		var resp *pb.RunQueryResponse
		resp, err = stream.Recv()
		if doc := resp.GetDocument(); doc != nil { // without one it is the query's progress
			p.docs = append(p.docs, doc)
			p.bytes += proto.Size(doc)
		}
	}
	if err == io.EOF {
		p.last = len(p.docs) < int(query.GetLimit().GetValue())
		err = nil
	}
	return p, err
}
