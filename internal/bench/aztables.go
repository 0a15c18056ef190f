package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/internal/testing/canned"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/aztableskv"
)

const azureTable = "skykv"

var azureWorks = []work{
	{name: "Get/service=aztables", turns: 40, ops: 40, open: azureOne(true)},
	{name: "Put/service=aztables", turns: 40, ops: 40, open: azureOne(false)},
	{name: "GetMany-1000/service=aztables/delay=5ms", turns: 1, ops: 1, open: azureGetMany},
}

const azureETag = `W/"datetime'2026-01-01T00%3A00%3A00.0000001Z'"`

var azureWritten = []byte("HTTP/1.1 204 No Content\r\nEtag: " + azureETag + "\r\nX-Ms-Version: 2019-02-02\r\nX-Ms-Request-Id: 4f5bcd21-0002-0011-7e3d-000000000000\r\n\r\n")

const (
	azureFound = "HTTP/1.1 200 OK\r\nContent-Type: application/json;odata=minimalmetadata;streaming=true;charset=utf-8\r\n" +
		"Etag: " + azureETag + "\r\nX-Ms-Version: 2019-02-02\r\nX-Ms-Request-Id: 4f5bcd21-0002-0011-7e3d-000000000000\r\nContent-Length: "

	azurePartitionOf = `{"odata.metadata":"http://127.0.0.1/$metadata#` + azureTable + `/@Element","odata.etag":"W/\"datetime'2026-01-01T00%3A00%3A00.0000001Z'\"","PartitionKey":"`
	azureRowOf       = `","RowKey":"`
	azureLayout      = `{"value":[{"odata.etag":"W/\"1\"","PartitionKey":"skykv","RowKey":"layout","format":2,"shards":16}]}`
)

var azureTail = `","Timestamp":"2026-01-01T00:00:00.0000001Z","v@odata.type":"Edm.Binary","v":"` + encodedValue +
	`","x@odata.type":"Edm.Int64","x":"0","t":"` + anyToken + `","p":""}`

// azureTables imitates the service, with one table.
type azureTables struct{ counters *counters }

// answer appends the response to one request. A read finds an entity under every key. Every
// write succeeds, except a write of a counter whose If-Match is missing or is not the counter's
// ETag. Only counters are stored.
func (a *azureTables) answer(r *canned.Request, to []byte) []byte {
	switch {
	case bytes.Contains(r.Path, []byte(counterPrefix)), bytes.Contains(r.Path, []byte(escapedCounterPrefix)):
		return a.answerCounter(r, to)
	case bytes.HasSuffix(r.Path, []byte("/$batch")):
		return appendBatch(to, r.Body)
	case string(r.Method) != "GET":
		return append(to, azureWritten...)
	}
	to = append(to, azureFound...)
	if bytes.Contains(r.Path, []byte("layout")) {
		to = append(strconv.AppendInt(to, int64(len(azureLayout)), 10), "\r\n\r\n"...)
		return append(to, azureLayout...)
	}
	partition, row := azureKey(r.Path, "PartitionKey='"), azureKey(r.Path, "RowKey='")
	to = strconv.AppendInt(to, int64(len(azurePartitionOf)+len(partition)+len(azureRowOf)+len(row)+len(azureTail)), 10)
	to = append(append(append(to, "\r\n\r\n"...), azurePartitionOf...), partition...)
	return append(append(append(to, azureRowOf...), row...), azureTail...)
}

// escapedCounterPrefix is counterPrefix with URL escaping. Some URLs contain it in this form.
var escapedCounterPrefix = url.QueryEscape(counterPrefix)

// answerCounter answers a request for a counter: a read of its entity, a query that finds only
// this entity, or a write with an If-Match.
func (a *azureTables) answerCounter(r *canned.Request, to []byte) []byte {
	path, err := url.PathUnescape(string(r.Path))
	if err != nil {
		return append(to, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"...)
	}
	key := counterPrefix + azureKeyRest(path)
	etagOf := func(c counter) string { return fmt.Sprintf(`W/"%d"`, c.writes) }
	if string(r.Method) != "GET" {
		value, _ := textAfter(r.Body, `"v":"`)
		token, _ := textAfter(r.Body, `"t":"`)
		predecessors, _ := textAfter(r.Body, `"p":"`)
		next := counter{value: string(value), token: string(token), predecessors: string(predecessors)}
		now, done := a.counters.put(key, next, func(found counter) bool { return etagOf(found) == string(r.IfMatch) })
		if !done {
			body := `{"odata.error":{"code":"UpdateConditionNotSatisfied","message":{"lang":"en-US","value":"The update condition specified in the request was not satisfied."}}}`
			return fmt.Appendf(to, "HTTP/1.1 412 Precondition Failed\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
		return fmt.Appendf(to, "HTTP/1.1 204 No Content\r\nEtag: %s\r\nX-Ms-Version: 2019-02-02\r\n\r\n", etagOf(now))
	}
	c := a.counters.get(key)
	entity := fmt.Sprintf(`{"odata.etag":%q,"PartitionKey":%q,"RowKey":%q,"v@odata.type":"Edm.Binary","v":%q,"x@odata.type":"Edm.Int64","x":"0","t":%q,"p":%q}`,
		etagOf(c), azurePartition(key), key, c.value, c.token, c.predecessors)
	if strings.Contains(path, "$filter") {
		entity = `{"value":[` + entity + `]}`
	}
	return fmt.Appendf(to, "HTTP/1.1 200 OK\r\nContent-Type: application/json;odata=minimalmetadata\r\nEtag: %s\r\nX-Ms-Version: 2019-02-02\r\nContent-Length: %d\r\n\r\n%s",
		etagOf(c), len(entity), entity)
}

// azureKeyRest returns the part of a counter's key after counterPrefix. The key is in the path
// of an entity, or in the filter of a query.
func azureKeyRest(path string) string {
	_, rest, _ := strings.Cut(path, counterPrefix)
	rest, _, _ = strings.Cut(rest, "'")
	return rest
}

// appendBatch appends the answer to a transaction that succeeds.
func appendBatch(to, request []byte) []byte {
	const operation = "--changesetresponse_1\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n" +
		"HTTP/1.1 204 No Content\r\nDataServiceVersion: 3.0;\r\nETag: " + azureETag + "\r\n\r\n\r\n"
	body := "--batchresponse_1\r\nContent-Type: multipart/mixed; boundary=changesetresponse_1\r\n\r\n" +
		strings.Repeat(operation, bytes.Count(request, []byte("Content-Type: application/http\r\n"))) +
		"--changesetresponse_1--\r\n--batchresponse_1--\r\n"
	return fmt.Appendf(to, "HTTP/1.1 202 Accepted\r\nContent-Type: multipart/mixed; boundary=batchresponse_1\r\nX-Ms-Version: 2019-02-02\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// azureKey returns the text between name and the next quotation mark in the path of an
// entity. name begins a key property, such as RowKey='.
func azureKey(path []byte, name string) []byte {
	_, after, _ := bytes.Cut(path, []byte(name))
	key, _, _ := bytes.Cut(after, []byte("'"))
	return key
}

func openAzure(b *bed, endpoint string) (*aztables.Client, *kv.Store, error) {
	// This is Azurite's default account. Its key is public, so Connect needs no credentials.
	c, err := aztableskv.Connect(b.ctx, "aztables://devstoreaccount1/"+azureTable+"?endpoint="+endpoint)
	if err != nil {
		return nil, nil, err
	}
	b.onClose(func() error { c.Close(); return nil })
	if err := aztableskv.EnsureWith(b.ctx, c.Client, c.Table, &c.Options); err != nil {
		return nil, nil, err
	}
	store, err := aztableskv.New(b.ctx, c.Client, c.Table, &c.Options)
	return c.Client.NewClient(c.Table), store, err
}

// sdkAzureGet decodes the SDK's response into a struct, because a map would cost more.
func sdkAzureGet(ctx context.Context, table *aztables.Client, key string) ([]byte, error) {
	resp, err := table.GetEntity(ctx, azurePartition(key), key, nil)
	if err != nil {
		return nil, err
	}
	var e struct {
		V []byte `json:"v"`
		X string `json:"x"`
		T string `json:"t"`
		P string `json:"p"`
	}
	err = json.Unmarshal(resp.Value, &e)
	return e.V, err
}

func azurePartition(key string) string {
	return fmt.Sprintf("%02x", kv.Shard(key, aztableskv.DefaultShards))
}

func sdkAzureEntity(key string) ([]byte, error) {
	return json.Marshal(struct {
		PartitionKey, RowKey string
		V                    []byte `json:"v"`
		VType                string `json:"v@odata.type"`
		X                    string `json:"x"`
		XType                string `json:"x@odata.type"`
		T                    string `json:"t"`
		P                    string `json:"p"`
	}{azurePartition(key), key, oneValue, "Edm.Binary", "0", "Edm.Int64", anyToken, ""})
}

func sdkAzurePut(ctx context.Context, table *aztables.Client, key string) error {
	body, err := sdkAzureEntity(key)
	if err != nil {
		return err
	}
	_, err = table.UpsertEntity(ctx, body, &aztables.UpsertEntityOptions{UpdateMode: aztables.UpdateModeReplace})
	return err
}

// azureOne measures single operations, one after another. All stores share one client.
func azureOne(get bool) func(*bed) ([]contender, error) {
	return func(b *bed) ([]contender, error) {
		s, err := b.start("aztables", 0)
		if err != nil {
			return nil, err
		}
		return azureStores(b, "http://"+s.addr+"/devstoreaccount1", get)
	}
}

func azureStores(b *bed, endpoint string, get bool) ([]contender, error) {
	table, store, err := openAzure(b, endpoint)
	if err != nil {
		return nil, err
	}
	if !get {
		return []contender{
			{store: "sdk", do: each(func(ctx context.Context) error { return sdkAzurePut(ctx, table, oneKey) })},
			{store: "skykv", do: skykvPut(store)},
		}, nil
	}
	return []contender{
		{store: "sdk", do: each(func(ctx context.Context) error {
			value, err := sdkAzureGet(ctx, table, oneKey)
			return checkLen(len(value), err)
		})},
		{store: "skykv", do: skykvGet(store)},
	}, nil
}

func azureGetMany(b *bed) ([]contender, error) {
	s, err := b.start("aztables", 5*time.Millisecond)
	if err != nil {
		return nil, err
	}
	table, store, err := openAzure(b, "http://"+s.addr+"/devstoreaccount1")
	if err != nil {
		return nil, err
	}
	keys := manyKeyNames()
	return []contender{
		loopOf(keys, func(ctx context.Context, key string) ([]byte, error) { return sdkAzureGet(ctx, table, key) }),
		{store: "skykv", do: skykvGetMany(store, keys)},
	}, nil
}
