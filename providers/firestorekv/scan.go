package firestorekv

import (
	"context"
	"io"
	"iter"
	"strings"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/skykv/skykv/internal/attempt"
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
				if rec, foreign := d.layout.scanned(doc, req.WithValue); !yield(rec, foreign) {
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
	a := d.watch(ctx, attempt.Many, meter)
	defer a.end()
	defer a.ended()
	for {
		p, err := d.pageOnce(a.begin(), query)
		if len(p.docs) > 0 && a.over() == nil && !a.past() {
			err = nil // the next query shows whether it lasts
		}
		switch done, err := a.done(err); {
		case done && err != nil:
			return p, a.failRead(err)
		case done:
			return p, nil
		}
	}
}

// pageOnce makes one attempt. With an error, it returns the documents received before.
// It checks all names, also those that are of no key: the next query begins after the
// last one.
func (d *driver) pageOnce(ctx context.Context, query *pb.StructuredQuery) (p page, err error) {
	ctx, cancel := context.WithCancel(withHeaders(ctx, d.headers))
	defer cancel() // ends a query after pageBytes
	limit := int(query.GetLimit().GetValue())
	stream, err := d.client.RunQuery(ctx, &pb.RunQueryRequest{
		Parent:    d.layout.parent,
		QueryType: &pb.RunQueryRequest_StructuredQuery{StructuredQuery: query},
	}, readOptions...)
	names := namesOf(query)
	for messages := 0; err == nil && p.bytes < pageBytes; messages++ {
		var resp *pb.RunQueryResponse
		resp, err = stream.Recv()
		doc := resp.GetDocument()
		switch {
		case err != nil:
		case messages == limit+progressMessages, len(p.docs) == limit && doc != nil:
			err = errEndless
		case doc == nil: // it reports the query's progress
		case !names.take(doc.GetName()):
			err = errOrder
		case !validVersion(doc.GetUpdateTime()):
			err = errNoVersion
		default:
			p.docs = append(p.docs, doc)
			p.bytes += proto.Size(doc)
		}
	}
	if err == io.EOF {
		p.last = len(p.docs) < limit
		err = nil
	}
	return p, err
}

// names is the range in which the name of the next document of a query must be.
type names struct {
	from, to string
	with     bool // from is part of it
	parent   int  // the length of what all names have in common: the name of the collection
}

func namesOf(query *pb.StructuredQuery) names {
	from, to := query.GetStartAt(), query.GetEndAt()
	n := names{from: from.GetValues()[0].GetReferenceValue(), to: to.GetValues()[0].GetReferenceValue(), with: from.GetBefore()}
	n.parent = strings.LastIndexByte(n.from, '/')
	return n
}

// take reports whether a document may be the next one, and then expects those after it.
func (n *names) take(docName string) bool {
	if docName < n.from || docName == n.from && !n.with || docName > n.to || strings.LastIndexByte(docName, '/') != n.parent {
		return false
	}
	n.from, n.with = docName, false
	return true
}
