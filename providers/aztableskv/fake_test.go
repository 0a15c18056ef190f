package aztableskv

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

// fake is a table service with one table, in memory. It speaks the protocol of the real
// service, and can do things that the emulator cannot.
type fake struct {
	t testing.TB

	mu       sync.Mutex
	table    string // name of the table, empty when there is none
	entities map[fakeKey]*fakeEntity
	changes  int
	requests []string // "METHOD what", such as "GET entity"

	// fault, if set, returns the fault to inject into a request.
	fault func(r *http.Request) fault

	maxPage    int  // most entities in one page; 0: as many as requested
	emptyPages bool // whether an empty page comes before each page with entities
	noNextRow  bool // with emptyPages: whether the first continuation has no row key

	refused map[string]*failure // how requests for the entities with these row keys are refused
	noIndex bool                // the responses to failed transactions do not say which operation failed

	queries []url.Values // URL parameters of the requests for lists of entities
	prefer  string       // Prefer header of the last insertion
	largest int          // greatest size of a request's body
}

type fakeKey struct{ partition, row string }

type fakeEntity struct {
	properties map[string]json.RawMessage
	etag       string
	timestamp  time.Time
}

// fault describes what goes wrong with a request.
type fault struct {
	status  int    // respond with this status and code, instead of serving the request
	code    string // error code of the response
	text    string // message of the response
	serve   bool   // carry out the request, and only then cut the connection or respond with status
	cut     bool   // close the connection instead of responding
	noETag  bool   // omit the ETag from the response's header
	index   int    // index of the operation that makes a transaction fail
	plain   bool   // respond with plain text, as a proxy does
	headers http.Header
	edit    func(body string) string // changes the response
}

func newFake(t testing.TB, table string) *fake {
	return &fake{t: t, table: table, entities: make(map[fakeKey]*fakeEntity)}
}

// client returns an SDK client of the fake over a real connection.
func (f *fake) client() *aztables.ServiceClient {
	f.t.Helper()
	server := httptest.NewServer(f)
	f.t.Cleanup(server.Close)
	transport := newTransport()
	f.t.Cleanup(transport.CloseIdleConnections)
	return fakeClient(f.t, server.URL, &http.Client{Transport: ownBodies{transport}})
}

// ownBodies gives every attempt a new body. azcore (v1.24.0) has one body for all attempts.
// It rewinds this body while net/http may still read the body's end in an earlier attempt.
// With the usual delays between attempts this data race is harmless, but the race detector
// reports it.
type ownBodies struct{ http.RoundTripper }

func (o ownBodies) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	return o.RoundTripper.RoundTrip(r)
}

// Do makes the fake a transport without a connection, for tests with synctest.
func (f *fake) Do(r *http.Request) (resp *http.Response, err error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	defer func() {
		if recover() == http.ErrAbortHandler {
			err = errors.New("connection reset by peer")
		}
	}()
	w := httptest.NewRecorder()
	in := r.Clone(r.Context())
	if in.Body == nil {
		in.Body = http.NoBody
	}
	f.ServeHTTP(w, in)
	return w.Result(), nil
}

func fakeClient(t testing.TB, endpoint string, transport policy.Transporter) *aztables.ServiceClient {
	t.Helper()
	cred, err := aztables.NewSharedKeyCredential("account", "a2V5")
	if err != nil {
		t.Fatal(err)
	}
	client, err := aztables.NewServiceClientWithSharedKey(endpoint, cred, &aztables.ClientOptions{
		ClientOptions: policy.ClientOptions{Transport: transport},
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// claiming returns options with which New sets up an empty table. The layout is skykv's own,
// unless opts name a different one.
func claiming(opts *Options) *Options {
	var own Options
	if opts != nil {
		own = *opts
	}
	own.Layout = cmp.Or(own.Layout, provider.LayoutSkykv)
	return &own
}

// quick makes the SDK retry as usual, but with short delays.
var quick = policy.RetryOptions{RetryDelay: time.Millisecond}

// store opens a store on the fake's table.
func (f *fake) store(opts *Options) *kv.Store {
	f.t.Helper()
	if opts == nil {
		opts = &Options{Retry: quick}
	}
	s, err := New(context.Background(), f.client(), f.table, claiming(opts))
	if err != nil {
		f.t.Fatal(err)
	}
	f.take()
	f.queries = nil
	return s
}

// take returns the requests since the last call of take.
func (f *fake) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	requests := f.requests
	f.requests = nil
	return requests
}

// setFault sets the function that returns the fault of each later request. Nil means no faults.
func (f *fake) setFault(fault func(r *http.Request) fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

func rawProperties(t testing.TB, properties map[string]any) map[string]json.RawMessage {
	t.Helper()
	raw := make(map[string]json.RawMessage)
	for name, value := range properties {
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		raw[name] = text
	}
	return raw
}

func (f *fake) has(partition, row string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.entities[fakeKey{partition, row}] != nil
}

func (f *fake) write(key fakeKey, properties map[string]json.RawMessage) string {
	f.changes++
	properties["PartitionKey"], properties["RowKey"] = quoted(key.partition), quoted(key.row)
	e := &fakeEntity{properties: properties, etag: fmt.Sprintf(`W/"datetime'2026-01-01T00%%3A00%%3A00.%07dZ'"`, f.changes), timestamp: time.Now()}
	f.entities[key] = e
	return e.etag
}

func quoted(s string) json.RawMessage {
	text, _ := json.Marshal(s)
	return text
}

// failure is a response that describes an error.
type failure struct {
	status     int
	code, text string
}

func (f failure) body(index string) []byte {
	return fmt.Appendf(nil, `{"odata.error":{"code":%q,"message":{"lang":"en-US","value":%q}}}`, f.code, index+f.text+"\nRequestId:1\nTime:2026-01-01T00:00:00Z")
}

var (
	errNoTable     = &failure{404, "TableNotFound", "The table specified does not exist."}
	errNoEntity    = &failure{404, "ResourceNotFound", "The specified resource does not exist."}
	errEntityThere = &failure{409, "EntityAlreadyExists", "The specified entity already exists."}
	errStaleETag   = &failure{412, "UpdateConditionNotSatisfied", "The update condition specified in the request was not satisfied."}
)

var entityPath = regexp.MustCompile(`^/(\w+)\(PartitionKey='([^']*)',RowKey='([^']*)'\)$`)

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	f.mu.Lock()
	defer f.mu.Unlock()
	what := "entity"
	switch {
	case r.URL.Path == "/Tables":
		what = "table"
	case r.URL.Path == "/$batch":
		what = "batch"
	case strings.HasSuffix(r.URL.Path, "()"):
		what = "list"
	}
	f.requests = append(f.requests, r.Method+" "+what)
	f.largest = max(f.largest, len(body))
	switch {
	case what == "list":
		f.queries = append(f.queries, r.URL.Query())
	case r.Method == "POST" && what == "entity":
		f.prefer = r.Header.Get("Prefer")
	}
	var fault fault
	if f.fault != nil {
		fault = f.fault(r)
	}
	if !fault.serve && fault.cut {
		panic(http.ErrAbortHandler)
	}
	if fault.status != 0 && !fault.serve {
		f.refuse(w, fault, what == "batch")
		return
	}
	answer := httptest.NewRecorder()
	switch what {
	case "batch":
		f.batch(answer, r)
	case "list":
		f.list(answer, r)
	case "entity":
		_, etag, body, refused := f.entity(r)
		f.answer(answer, r, etag, body, refused)
	default:
		f.create(answer, body)
	}
	switch {
	case fault.cut:
		panic(http.ErrAbortHandler)
	case fault.status != 0:
		f.refuse(w, fault, false)
		return
	case fault.noETag:
		answer.Header().Del("ETag")
	}
	body = answer.Body.Bytes()
	if fault.edit != nil {
		body = []byte(fault.edit(string(body)))
	}
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	w.Write(body)
}

// refuse responds with the failure that fault describes. If the request is a transaction, the
// response says that the operation with index fault.index failed. It does not if the index is
// negative, or if the fault is plain, has headers or has no code.
func (f *fake) refuse(w http.ResponseWriter, fault fault, batch bool) {
	maps.Copy(w.Header(), fault.headers)
	refused := &failure{fault.status, fault.code, cmp.Or(fault.text, "text of the service")}
	switch {
	case fault.plain:
		http.Error(w, fault.text, fault.status)
	case batch && fault.index >= 0 && fault.code != "" && fault.headers == nil:
		f.answerBatch(w, []part{{refused: refused}}, strconv.Itoa(fault.index)+":")
	default:
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("x-ms-request-id", "request-1")
		w.WriteHeader(fault.status)
		w.Write(refused.body(""))
	}
}

func (f *fake) create(w http.ResponseWriter, body []byte) {
	var properties struct{ TableName string }
	if err := json.Unmarshal(body, &properties); err != nil {
		f.t.Errorf("creating a table with %q", body)
	}
	if f.table == properties.TableName {
		w.WriteHeader(http.StatusConflict)
		w.Write((&failure{409, "TableAlreadyExists", "The table specified already exists."}).body(""))
		return
	}
	f.table = properties.TableName
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, `{"TableName":%q}`, f.table)
}

func (f *fake) answer(w http.ResponseWriter, r *http.Request, etag string, body []byte, refused *failure) {
	if refused != nil {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(refused.status)
		w.Write(refused.body(""))
		return
	}
	if etag != "" {
		w.Header().Set("ETag", etag)
	}
	switch {
	case body != nil:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusOK)
		w.Write(body)
	case r.Method == "POST" && r.Header.Get("Prefer") != "return-no-content":
		w.WriteHeader(http.StatusCreated)
		w.Write([]byte(`{}`))
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// entity serves a request for one entity.
func (f *fake) entity(r *http.Request) (key fakeKey, etag string, body []byte, refused *failure) {
	table := strings.TrimPrefix(r.URL.Path, "/")
	if match := entityPath.FindStringSubmatch(r.URL.Path); match != nil {
		table, key = match[1], fakeKey{match[2], match[3]}
	}
	if f.table == "" || table != f.table {
		return key, "", nil, errNoTable
	}
	var properties map[string]json.RawMessage
	if r.Method == "POST" || r.Method == "PUT" || r.Method == "PATCH" {
		if err := json.NewDecoder(r.Body).Decode(&properties); err != nil {
			return key, "", nil, &failure{400, "InvalidInput", "no JSON"}
		}
		var inBody fakeKey
		json.Unmarshal(properties["PartitionKey"], &inBody.partition)
		json.Unmarshal(properties["RowKey"], &inBody.row)
		if r.Method != "POST" && inBody != key {
			f.t.Errorf("the entity's keys %v differ from those of the URL, %v", inBody, key)
		}
		key = inBody
	}
	found, match := f.entities[key], r.Header.Get("If-Match")
	switch {
	case f.refused[key.row] != nil:
		return key, "", nil, f.refused[key.row]
	case r.Method == "POST" && found != nil:
		return key, "", nil, errEntityThere
	case r.Method != "POST" && found == nil && (r.Method != "PUT" && r.Method != "PATCH" || match != ""):
		return key, "", nil, errNoEntity
	case match != "" && match != "*" && match != found.etag:
		return key, "", nil, errStaleETag
	}
	switch r.Method {
	case "GET":
		text, _ := json.Marshal(found.properties)
		return key, found.etag, text, nil
	case "DELETE":
		delete(f.entities, key)
		return key, "", nil, nil
	case "PATCH": // PATCH is a merge
		if found != nil {
			properties = merged(found.properties, properties)
		}
	}
	return key, f.write(key, properties), nil, nil
}

// merged returns the properties of an entity after a merge with changes.
func merged(properties, changes map[string]json.RawMessage) map[string]json.RawMessage {
	properties = maps.Clone(properties)
	maps.Copy(properties, changes)
	return properties
}

// tombstoneClause matches the part of a sweep's filter that is about tombstones.
var tombstoneClause = regexp.MustCompile(` and \(x gt 1L or Timestamp lt datetime'([^']*)'\)`)

var filterClause = regexp.MustCompile(`(not \()?(\w+) (eq|ge|gt|le|lt) (?:'([^']*)'|(\d+)L)`)

// list serves a query. It understands the filters that the driver writes.
func (f *fake) list(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if f.table == "" || r.URL.Path != "/"+f.table+"()" {
		f.answer(w, r, "", nil, errNoTable)
		return
	}
	filter := query.Get("$filter")
	var tombstonesUntil time.Time
	if clause := tombstoneClause.FindStringSubmatch(filter); clause != nil {
		filter = strings.Replace(filter, clause[0], "", 1)
		tombstonesUntil, _ = time.Parse(time.RFC3339, clause[1])
	}
	clauses := filterClause.FindAllStringSubmatch(filter, -1)
	matches := func(key fakeKey, e *fakeEntity) bool {
		if !tombstonesUntil.IsZero() && string(e.properties["x"]) == `"1"` && !e.timestamp.Before(tombstonesUntil) {
			return false
		}
		expired := strings.Contains(filter, "x gt 0L")
		for _, clause := range clauses {
			property, op, want := clause[2], clause[3], clause[4]
			var have string
			switch property {
			case "PartitionKey":
				have = key.partition
			case "RowKey":
				have = key.row
			case "x":
				n, _ := strconv.ParseInt(clause[5], 10, 64)
				var text string
				var x int64
				// A comparison is false if the property is missing or has a different type.
				err := json.Unmarshal(e.properties["x"], &text)
				if err == nil {
					x, err = strconv.ParseInt(text, 10, 64)
				}
				typed := string(e.properties["x@odata.type"]) == `"Edm.Int64"`
				expired = expired && typed && err == nil && (op == "gt" && x > n || op == "le" && x <= n)
				continue
			case "ExpiresAt":
				var text string
				isText := json.Unmarshal(e.properties[property], &text) == nil && e.properties[property] != nil
				if expired := isText && text < want; expired == (clause[1] != "") {
					return false
				}
				continue
			default:
				f.t.Errorf("filter %q has property %q", filter, property)
			}
			if op == "eq" && have != want || op == "ge" && have < want || op == "le" && have > want {
				return false
			}
		}
		switch {
		case strings.Contains(filter, "not (x"):
			return !expired
		case strings.Contains(filter, "x gt"):
			return expired
		}
		return true
	}
	var keys []fakeKey
	for key, e := range f.entities {
		if matches(key, e) {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b fakeKey) int {
		return cmp.Or(strings.Compare(a.partition, b.partition), strings.Compare(a.row, b.row))
	})
	// A continuation names the first entity of the next page. Without a row key, the next page
	// begins at the beginning of a partition. The prefix "empty!" of the partition key says that
	// the page before was empty.
	nextPartition, behindEmpty := strings.CutPrefix(query.Get("NextPartitionKey"), "empty!")
	from := fakeKey{nextPartition, query.Get("NextRowKey")}
	keys = slices.DeleteFunc(keys, func(key fakeKey) bool {
		return key.partition == from.partition && key.row < from.row || key.partition < from.partition
	})
	top, err := strconv.Atoi(query.Get("$top"))
	if err != nil || top < 1 || top > 1000 {
		f.t.Errorf("$top is %q; allowed are 1 to 1000", query.Get("$top"))
		top = 1000
	}
	if f.maxPage > 0 {
		top = min(top, f.maxPage)
	}
	next, mark := "", ""
	switch {
	case f.emptyPages && !behindEmpty && len(keys) > 0:
		next, mark = keys[0].row, "empty!"
		if query.Get("NextPartitionKey") == "" && f.noNextRow {
			next = ""
		}
		w.Header().Set("x-ms-continuation-NextPartitionKey", mark+keys[0].partition)
		keys = nil
	case len(keys) > top:
		next = keys[top].row
		w.Header().Set("x-ms-continuation-NextPartitionKey", keys[top].partition)
		keys = keys[:top]
	}
	if next != "" {
		w.Header().Set("x-ms-continuation-NextRowKey", next)
	}
	full := query.Get("$format") == string(aztables.MetadataFormatFull)
	var selected []string
	if s := query.Get("$select"); s != "" {
		selected = strings.Split(s, ",")
	}
	page := []map[string]json.RawMessage{}
	for _, key := range keys {
		found := f.entities[key]
		e := maps.Clone(found.properties)
		if selected != nil {
			maps.DeleteFunc(e, func(name string, _ json.RawMessage) bool {
				property, _, _ := strings.Cut(name, "@")
				return !slices.Contains(selected, property)
			})
			for _, name := range selected { // like the real service, return the names of absent properties
				if e[name] == nil {
					e[name] = json.RawMessage("null")
				}
			}
		}
		if full {
			e["odata.etag"] = quoted(found.etag)
		}
		if full {
			e["odata.id"], e["Timestamp@odata.type"] = quoted("https://a'b/\\\""), quoted("Edm.DateTime")
		}
		page = append(page, e)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	json.NewEncoder(w).Encode(map[string]any{"odata.metadata": "m", "value": page})
}

// batch serves a transaction. It carries out all operations or none.
func (f *fake) batch(w http.ResponseWriter, r *http.Request) {
	var requests []*http.Request
	for part := range parts(f.t, r.Header.Get("Content-Type"), r.Body) {
		for operation := range parts(f.t, part.Header.Get("Content-Type"), part) {
			in, err := http.ReadRequest(bufio.NewReader(operation))
			if err != nil {
				f.t.Errorf("operation of a transaction: %v", err)
				continue
			}
			rest, err := io.ReadAll(in.Body)
			if err != nil {
				f.t.Error(err)
			}
			in.Body = io.NopCloser(bytes.NewReader(rest))
			requests = append(requests, in)
		}
	}
	if len(requests) > 100 {
		f.t.Errorf("a transaction has %d operations; allowed are 100", len(requests))
	}
	before := maps.Clone(f.entities)
	var answers []part
	partitions := make(map[string]bool)
	for i, in := range requests {
		if u, err := url.Parse(in.RequestURI); err == nil {
			in.URL = u
		}
		match := entityPath.FindStringSubmatch(in.URL.Path)
		if match == nil && (in.Method != "POST" || in.URL.Path != "/"+f.table) { // such a POST adds an entity
			f.t.Errorf("operation on %q", in.URL.Path)
			continue
		}
		key, etag, _, refused := f.entity(in)
		partitions[key.partition] = true
		if refused != nil {
			f.entities = before
			index := strconv.Itoa(i) + ":"
			if f.noIndex {
				index = ""
			}
			f.answerBatch(w, []part{{refused: refused}}, index)
			return
		}
		answers = append(answers, part{etag: etag})
	}
	if len(partitions) != 1 {
		f.t.Errorf("a transaction is on %d partitions; it must be on one", len(partitions))
	}
	f.answerBatch(w, answers, "")
}

// part is the response to one operation in a transaction.
type part struct {
	etag    string // "" for a deletion
	refused *failure
}

// answerBatch writes the response to a transaction. The status is always 202.
func (f *fake) answerBatch(w http.ResponseWriter, answers []part, index string) {
	var b bytes.Buffer
	b.WriteString("--batchresponse_1\r\nContent-Type: multipart/mixed; boundary=changesetresponse_1\r\n\r\n")
	for _, answer := range answers {
		b.WriteString("--changesetresponse_1\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n")
		switch refused := answer.refused; {
		case refused != nil:
			fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\n\r\n%s\r\n", refused.status, http.StatusText(refused.status), refused.body(index))
		case answer.etag != "":
			fmt.Fprintf(&b, "HTTP/1.1 204 No Content\r\nDataServiceVersion: 3.0;\r\nETag: %s\r\n\r\n\r\n", answer.etag)
		default:
			b.WriteString("HTTP/1.1 204 No Content\r\nDataServiceVersion: 1.0;\r\n\r\n\r\n")
		}
	}
	b.WriteString("--changesetresponse_1--\r\n--batchresponse_1--\r\n")
	w.Header().Set("Content-Type", "multipart/mixed; boundary=batchresponse_1")
	w.WriteHeader(http.StatusAccepted)
	w.Write(b.Bytes())
}

// parts yields the parts of a multipart body.
func parts(t testing.TB, contentType string, body io.Reader) func(func(*multipart.Part) bool) {
	return func(yield func(*multipart.Part) bool) {
		_, params, err := mime.ParseMediaType(contentType)
		if err != nil {
			t.Errorf("content type %q: %v", contentType, err)
			return
		}
		for r := multipart.NewReader(body, params["boundary"]); ; {
			part, err := r.NextPart()
			if err != nil {
				return
			}
			if !yield(part) {
				return
			}
		}
	}
}
