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

// Limits of a page, in documents and, roughly, in bytes. A page is read to its end
// before its records are yielded: a query that waits for the loop's body would hold a
// stream, and a connection has a limited number of them.
const (
	largestPage = 1000
	pageBytes   = 4 << 20
)

// Scan makes a query for each page. After a query that breaks off, the next query starts
// after the last document received.
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
			// The caller wants more than its Limit, for example after expired records.
			limit = min(2*limit, largestPage, max(1, pageBytes/(page.bytes/len(page.docs))))
		}
	}
}

// page is some of the documents that a query finds.
type page struct {
	docs  []*pb.Document
	bytes int
	last  bool // there are no more documents
}

// page makes attempts until one receives documents, or finds that there are no more.
func (d *driver) page(ctx context.Context, query *pb.StructuredQuery, meter *kv.Meter) (page, error) {
	ctx, a := d.watch(ctx, meter)
	defer a.end()
	defer a.ended()
	for {
		a.made++
		p, err := d.pageOnce(ctx, query)
		switch {
		case err == nil || len(p.docs) > 0 && ctx.Err() == nil: // the next query shows whether the error lasts
			return p, nil
		case len(p.docs) > 0 || !a.again(ctx, err):
			return p, a.failRead(ctx, err)
		}
	}
}

// pageOnce makes one attempt. With an error, it returns the documents received before.
func (d *driver) pageOnce(ctx context.Context, query *pb.StructuredQuery) (p page, err error) {
	ctx, cancel := context.WithCancel(withHeaders(ctx, d.headers))
	defer cancel() // ends a query after pageBytes
	stream, err := d.client.RunQuery(ctx, &pb.RunQueryRequest{
		Parent:    d.layout.parent,
		QueryType: &pb.RunQueryRequest_StructuredQuery{StructuredQuery: query},
	}, readOptions...)
	for err == nil && p.bytes < pageBytes {
		var resp *pb.RunQueryResponse
		resp, err = stream.Recv()
		if doc := resp.GetDocument(); doc != nil { // else it reports the query's progress
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
