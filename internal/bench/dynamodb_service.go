package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"

	"github.com/skykv/skykv/internal/testing/canned"
	"github.com/skykv/skykv/kv"
)

const (
	dynamoShards = 16

	// skykvTable is a table in skykv's layout. peerTable is for docstore and gokv: its items
	// have only a key k and a value v.
	skykvTable = "skykv"
	peerTable  = "peers"

	// dynamoPage is how many bytes the service reads for one page:
	// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Query.Pagination.html
	dynamoPage = 1 << 20

	// itemOverhead is about how many bytes an item has besides its key and value.
	itemOverhead = 30

	// fewPrefix begins the keys of exactly fewEntries entries.
	fewPrefix  = "few:"
	fewEntries = 10

	// groupPrefix begins the keys of a group, which has fewEntries entries.
	groupPrefix = "group::"

	// largeKey is the key of an entry with a large value.
	largeKey = "large:0"
	largeLen = 24 << 10
)

// dynamoTable is the content of the service. GetItem and BatchGetItem find an item under
// any key. Query and Scan find only the keys in this struct. All values are the same, except
// the values that GetItem returns for counters and for largeKey.
type dynamoTable struct {
	keys     []string // in ascending order
	shards   [dynamoShards][]string
	counters *counters
}

func newDynamoTable(entries int) *dynamoTable {
	t := &dynamoTable{counters: newCounters(encodedZero)}
	for _, prefix := range []string{fewPrefix, groupPrefix} {
		for i := range fewEntries {
			t.keys = append(t.keys, fmt.Sprintf("%s%d", prefix, i))
		}
	}
	for i := range entries {
		t.keys = append(t.keys, fmt.Sprintf("%s%08d", manyPrefix, i))
	}
	for _, key := range t.keys {
		shard := kv.Shard(key, dynamoShards)
		t.shards[shard] = append(t.shards[shard], key)
	}
	return t
}

// manyPrefix begins the keys of large scans.
const manyPrefix = "many:"

var (
	encodedValue = base64.StdEncoding.EncodeToString(oneValue)
	encodedLarge = base64.StdEncoding.EncodeToString(largeValue)
	encodedZero  = base64.StdEncoding.EncodeToString([]byte("0"))
	largeValue   = bytes.Repeat([]byte("v"), largeLen)
	anyToken     = strings.Repeat("t", kv.TokenLen)
)

// answer appends the response to one request. It looks only for certain texts that the SDKs
// write: parsing the whole request would cost more than all other work of the service.
func (t *dynamoTable) answer(r *canned.Request, to []byte) []byte {
	start := len(to)
	to = append(to, dynamoHeader...)
	begin := len(to)
	ofPeer := bytes.Contains(r.Body, []byte(`"`+peerTable+`"`))
	var counted []byte // the key, if it is a counter's
	if key, _ := textAfter(r.Body, `"sk":{"S":"`); bytes.HasPrefix(key, []byte(counterPrefix)) {
		counted = key
	}
	switch string(r.Operation) {
	case "GetItem":
		to = append(to, `{"Item":`...)
		if counted != nil {
			to = appendItem(to, counted, t.counters.get(string(counted)))
		} else if bytes.Contains(r.Body, []byte(`"`+largeKey+`"`)) {
			to = appendItem(to, []byte(largeKey), counter{value: encodedLarge, token: anyToken})
		} else if bytes.Contains(r.Body, []byte(`"layout"`)) {
			to = fmt.Appendf(to, `{"pk":{"S":"layout"},"sk":{"S":"skykv"},"format":{"N":"2"},"shards":{"N":"%d"}}`, dynamoShards)
		} else {
			to = appendEntry(to, []byte(oneKey), ofPeer, true)
		}
		to = append(to, '}')
	case "BatchGetItem":
		to = append(to, `{"UnprocessedKeys":{},"Responses":{"`...)
		table, marker := skykvTable, `"sk":{"S":"`
		if ofPeer {
			table, marker = peerTable, `"k":{"S":"`
		}
		to = append(append(to, table...), `":[`...)
		for rest, comma := r.Body, false; ; comma = true {
			var key []byte
			if key, rest = textAfter(rest, marker); key == nil {
				break
			}
			if comma {
				to = append(to, ',')
			}
			to = appendEntry(to, key, ofPeer, true)
		}
		to = append(to, `]}}`...)
	case "Query":
		shard, _ := textAfter(r.Body, `":p":{"S":"`)
		from, _ := textAfter(r.Body, `":from":{"S":"`)
		end, _ := textAfter(r.Body, `":to":{"S":"`)
		n, _ := strconv.Atoi(string(shard))
		to = t.appendPage(to, t.shards[n], string(from), string(end), r.Body, false)
	case "Scan":
		to = t.appendPage(to, t.keys, "", "~", r.Body, true)
	case "DescribeTable":
		to = fmt.Appendf(to, `{"Table":{"TableName":"%s","TableStatus":"ACTIVE","KeySchema":[{"AttributeName":"k","KeyType":"HASH"}]}}`, peerTable)
	case "PutItem":
		if counted == nil {
			to = append(to, `{}`...)
			break
		}
		if found, done := t.putCounter(string(counted), r.Body); done {
			to = append(to, `{}`...)
		} else {
			copy(to[start+statusAt:], "400")
			to = append(to, `{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","message":"The conditional request failed","Item":`...)
			to = append(appendItem(to, counted, found), '}')
		}
	default:
		to = append(to, `{}`...)
	}
	body := to[begin:]
	putNumber(to[start+crcAt:][:numberLen], uint64(crc32.ChecksumIEEE(body)))
	putNumber(to[start+lengthAt:][:numberLen], uint64(len(body)))
	return to
}

// putCounter replaces a counter if it has the version in the request's condition.
func (t *dynamoTable) putCounter(key string, request []byte) (counter, bool) {
	value, _ := textAfter(request, `"v":{"B":"`)
	token, _ := textAfter(request, `"t":{"S":"`)
	predecessors, _ := textAfter(request, `"p":{"S":"`)
	version, _ := textAfter(request, `":t":{"S":"`)
	next := counter{value: string(value), token: string(token), predecessors: string(predecessors)}
	return t.counters.put(key, next, func(found counter) bool { return found.token == string(version) })
}

// dynamoHeader begins every response to an operation. answer replaces the two runs of zeros by
// the checksum and the length of the body, and the status if the operation fails.
const dynamoHeader = "HTTP/1.1 200 OK\r\nX-Amz-Crc32: 0000000000\r\nContent-Length: 0000000000\r\n" +
	"Content-Type: application/x-amz-json-1.0\r\nX-Amzn-Requestid: REQUEST1\r\n\r\n"

const numberLen = 10

const statusAt = len("HTTP/1.1 ")

var crcAt, lengthAt = strings.Index(dynamoHeader, "0000000000"), strings.LastIndex(dynamoHeader, "0000000000")

func putNumber(digits []byte, n uint64) {
	for i := range slices.Backward(digits) {
		digits[i] = byte('0' + n%10)
		n /= 10
	}
}

// textAfter returns the text between the marker and the next quotation mark, and everything
// after that mark. If there is no marker, both are nil.
func textAfter(body []byte, marker string) (text, rest []byte) {
	_, rest, found := bytes.Cut(body, []byte(marker))
	if !found {
		return nil, nil
	}
	text, rest, _ = bytes.Cut(rest, []byte(`"`))
	return text, rest
}

// appendPage appends one page of the entries whose keys are in a range.
func (t *dynamoTable) appendPage(to []byte, keys []string, from, end string, request []byte, ofPeer bool) []byte {
	marker := `"sk":{"S":"`
	if ofPeer {
		marker = `"k":{"S":"`
	}
	if last, _ := textAfter(request, marker); last != nil { // the request's ExclusiveStartKey
		from = string(last) + "\x00"
	}
	limit := len(keys)
	if _, rest, found := bytes.Cut(request, []byte(`"Limit":`)); found {
		digits := bytes.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		limit, _ = strconv.Atoi(string(rest[:digits]))
	}
	withValue := !bytes.Contains(request, []byte(`"ProjectionExpression"`))
	to = append(to, `{"Items":[`...)
	at, _ := slices.BinarySearch(keys, from)
	count, size, last := 0, 0, ""
	for ; at < len(keys) && keys[at] <= end; at++ {
		if count == limit || size > dynamoPage {
			last = keys[at-1]
			break
		}
		if count > 0 {
			to = append(to, ',')
		}
		to = appendEntry(to, []byte(keys[at]), ofPeer, withValue)
		count++
		size += len(keys[at]) + valueLen + itemOverhead
	}
	to = fmt.Appendf(to, `],"Count":%d,"ScannedCount":%d`, count, count)
	switch {
	case last != "" && ofPeer:
		to = fmt.Appendf(to, `,"LastEvaluatedKey":{"k":{"S":"%s"}}`, last)
	case last != "":
		to = fmt.Appendf(to, `,"LastEvaluatedKey":{"pk":{"S":"%d"},"sk":{"S":"%s"}}`, kv.Shard(last, dynamoShards), last)
	}
	return append(to, '}')
}

// appendEntry appends an item with the value encodedValue, in the layout of peerTable or of
// skykvTable. An item of skykvTable has no value if withValue is false.
func appendEntry(to, key []byte, ofPeer, withValue bool) []byte {
	if ofPeer {
		to = append(append(to, `{"k":{"S":"`...), key...)
		to = append(append(to, `"},"v":{"B":"`...), encodedValue...)
		return append(to, `"}}`...)
	}
	value := ""
	if withValue {
		value = encodedValue
	}
	return appendItem(to, key, counter{value: value, token: anyToken})
}

// appendItem appends an item in skykv's layout. It leaves out an empty value, and empty
// predecessors.
func appendItem(to, key []byte, c counter) []byte {
	to = append(to, `{"pk":{"S":"`...)
	to = strconv.AppendInt(to, int64(kv.Shard(string(key), dynamoShards)), 10)
	to = append(append(to, `"},"sk":{"S":"`...), key...)
	if c.value != "" {
		to = append(append(to, `"},"v":{"B":"`...), c.value...)
	}
	if c.predecessors != "" {
		to = append(append(to, `"},"p":{"S":"`...), c.predecessors...)
	}
	to = append(append(to, `"},"t":{"S":"`...), c.token...)
	return append(to, `"}}`...)
}
