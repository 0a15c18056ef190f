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

// The limits of a page, in documents and, approximately, in bytes. A page is read to its end
// before its records are yielded. Otherwise the query would keep a stream open while the
// loop's body runs, and a connection has only a limited number of streams. A scan of several
// shards has one page of each shard in memory. Together these pages have at most about scanBytes.
const (
	largestPage = 1000
	pageBytes   = 4 << 20
	scanBytes   = 16 << 20
)

// bytesOfPage returns how many bytes of documents end a page.
func (d *driver) bytesOfPage(req kv.ScanRequest) int {
	if req.Alone {
		return pageBytes
	}
	return min(pageBytes, scanBytes/d.layout.shards())
}

// firstPage returns how many documents the first query of a scan requests. The argument most is
// the number of bytes that end the page. If a store with large values requested more documents,
// the service would send some of them for nothing.
func firstPage(req kv.ScanRequest, most int) int {
	limit := min(req.Limit, largestPage)
	if req.WithValue && req.MaxValueLen > kv.MaxValueLen {
		limit = min(limit, max(1, most/req.MaxValueLen))
	}
	return limit
}

// Scan makes a query for each page. After an interrupted query, the next query starts after
// the last document received.
func (d *driver) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		query, most := d.layout.query(req), d.bytesOfPage(req)
		for limit := firstPage(req, most); ; {
			query.Limit = wrapperspb.Int32(int32(limit))
			page, err := d.page(ctx, query, most, req.Meter)
			for i, doc := range page.docs {
				if i < len(page.docs)-1 {
					page.docs[i] = nil // frees the memory: the loop's body may take long
				}
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
			// The store takes more records than Limit, for example because many of them have
			// expired. So the next page is larger.
			limit = min(max(2*limit, req.Limit), largestPage, max(1, most/(page.bytes/len(page.docs))))
		}
	}
}

// page has some of the documents that a query finds.
type page struct {
	docs  []*pb.Document
	bytes int
	last  bool // there are no more documents
}

// page makes attempts until one of them receives documents or shows that there are no more.
func (d *driver) page(ctx context.Context, query *pb.StructuredQuery, most int, meter *kv.Meter) (page, error) {
	a := d.watch(ctx, attempt.Page, meter)
	defer a.end()
	defer a.ended()
	for {
		p, err := d.pageOnce(a.begin(), query, most)
		if len(p.docs) > 0 && a.over() == nil && !a.past() {
			err = nil // the next query shows whether the error persists
		}
		switch done, err := a.done(err); {
		case done && err != nil:
			return p, a.failRead(err)
		case done:
			return p, nil
		}
	}
}

// pageOnce makes one attempt. With an error, it also returns the documents that it received
// before the error. It checks the names of all documents, even of those whose IDs are not IDs
// of keys, because the next query begins after the last name.
func (d *driver) pageOnce(ctx context.Context, query *pb.StructuredQuery, most int) (p page, err error) {
	ctx, cancel := context.WithCancel(withHeaders(ctx, d.headers))
	defer cancel() // ends a query whose response is larger than a page
	limit := int(query.GetLimit().GetValue())
	stream, err := d.client.RunQuery(ctx, &pb.RunQueryRequest{
		Parent:    d.layout.parent,
		QueryType: &pb.RunQueryRequest_StructuredQuery{StructuredQuery: query},
	}, readOptions...)
	names := namesOf(query)
	for messages := 0; err == nil && p.bytes < most; messages++ {
		var resp *pb.RunQueryResponse
		resp, err = stream.Recv()
		doc := resp.GetDocument()
		switch {
		case err != nil:
		case messages == limit+progressMessages, len(p.docs) == limit && doc != nil:
			err = errEndless
		case doc == nil: // the message only reports the query's progress
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
	with     bool // whether the name from is included
	parent   int  // the length of the collection's name, with which all names begin
}

func namesOf(query *pb.StructuredQuery) names {
	from, to := query.GetStartAt(), query.GetEndAt()
	n := names{from: from.GetValues()[0].GetReferenceValue(), to: to.GetValues()[0].GetReferenceValue(), with: from.GetBefore()}
	n.parent = strings.LastIndexByte(n.from, '/')
	return n
}

// The method take reports whether a document may be the next one of the query. If so, the range
// then begins after this document.
func (n *names) take(docName string) bool {
	if docName < n.from || docName == n.from && !n.with || docName > n.to || strings.LastIndexByte(docName, '/') != n.parent {
		return false
	}
	n.from, n.with = docName, false
	return true
}
