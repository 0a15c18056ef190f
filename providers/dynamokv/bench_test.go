package dynamokv

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/skykv/skykv/internal/testing/canned"
	"github.com/skykv/skykv/kv"
)

// benchPair is one operation, by the SDK alone (raw) and by skykv, with the same client
// and transport.
type benchPair struct{ raw, skykv func(context.Context) error }

// newBenchPairs returns the pairs. Their server responds with almost no work and without
// allocating, so the benchmark measures only the client.
func newBenchPairs(t testing.TB) (get, put benchPair) {
	value := bytes.Repeat([]byte("v"), 1024)
	body := `{"Item":` + itemJSON("user:42", string(value), token, 0) + `}`
	client, transport := newClient(aws.Config{
		Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("skykv", "skykv", ""),
	}, cannedURL(t, map[string]string{"GetItem": body, "PutItem": "{}"}))
	t.Cleanup(transport.CloseIdleConnections)
	d, err := newDriver("open", client, "table", nil)
	if err != nil {
		t.Fatal(err)
	}
	store := kv.New(d)
	table := "table"

	get.raw = func(ctx context.Context) error {
		out, err := client.GetItem(ctx, &dynamodb.GetItemInput{
			TableName: &table,
			Key: map[string]types.AttributeValue{
				"pk": &types.AttributeValueMemberS{Value: "5"},
				"sk": &types.AttributeValueMemberS{Value: "user:42"},
			},
			ConsistentRead: aws.Bool(true),
		})
		if err == nil && len(out.Item["v"].(*types.AttributeValueMemberB).Value) != len(value) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	get.skykv = func(ctx context.Context) error {
		e, err := store.Get(ctx, "user:42")
		if err == nil && len(e.Value) != len(value) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	put.raw = func(ctx context.Context) error {
		_, err := client.PutItem(ctx, &dynamodb.PutItemInput{
			TableName: &table,
			Item: map[string]types.AttributeValue{
				"pk": &types.AttributeValueMemberS{Value: "5"},
				"sk": &types.AttributeValueMemberS{Value: "user:42"},
				"v":  &types.AttributeValueMemberB{Value: value},
				"t":  &types.AttributeValueMemberS{Value: token},
			},
			ConditionExpression: aws.String(ownExpressions.any),
			ExpressionAttributeValues: map[string]types.AttributeValue{
				":s": &types.AttributeValueMemberS{Value: "S"},
				":b": &types.AttributeValueMemberS{Value: "B"},
				":n": &types.AttributeValueMemberS{Value: "N"},
			},
			ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		})
		return err
	}
	put.skykv = func(ctx context.Context) error {
		_, err := store.Put(ctx, "user:42", value)
		return err
	}
	return get, put
}

// cannedURL returns the URL of a server that always sends the same response for
// each operation.
func cannedURL(t testing.TB, bodies map[string]string) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	answers := make(map[string][]byte)
	for op, body := range bodies {
		answers[op] = fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nX-Amzn-Requestid: REQUEST1\r\nX-Amz-Crc32: %d\r\nContent-Length: %d\r\n\r\n%s",
			crc32.ChecksumIEEE([]byte(body)), len(body), body)
	}
	server := canned.Server{Answer: func(r *canned.Request, answer []byte) []byte {
		return append(answer, answers[string(r.Operation)]...)
	}}
	go server.Serve(listener)
	return "http://" + listener.Addr().String()
}

func BenchmarkGet(b *testing.B) {
	get, _ := newBenchPairs(b)
	get.bench(b)
}

func BenchmarkPut(b *testing.B) {
	_, put := newBenchPairs(b)
	put.bench(b)
}

func (p benchPair) bench(b *testing.B) {
	timed := func(b *testing.B, f func(context.Context) error) time.Duration {
		start := time.Now()
		if err := f(b.Context()); err != nil {
			b.Fatal(err)
		}
		return time.Since(start)
	}
	b.Run("raw", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			timed(b, p.raw)
		}
	})
	b.Run("skykv", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			timed(b, p.skykv)
		}
	})
	// The two operations alternate, so that other load on the machine affects both in the
	// same way. The ratio of their medians is therefore steadier than the ratio of the
	// results of the two benchmarks above.
	b.Run("both", func(b *testing.B) {
		var raw, skykv []time.Duration
		for i := 0; b.Loop(); i++ {
			if i%2 == 0 {
				raw = append(raw, timed(b, p.raw))
				skykv = append(skykv, timed(b, p.skykv))
			} else {
				skykv = append(skykv, timed(b, p.skykv))
				raw = append(raw, timed(b, p.raw))
			}
		}
		slices.Sort(raw)
		slices.Sort(skykv)
		b.ReportMetric(float64(skykv[len(skykv)/2])/float64(raw[len(raw)/2]), "skykv/raw")
	})
}

// The goal is at most 1.05 times the SDK's allocations.
func TestAllocations(t *testing.T) { // not parallel, because AllocsPerRun counts the allocations of all goroutines
	get, put := newBenchPairs(t)
	for name, pair := range map[string]benchPair{"Get": get, "Put": put} {
		count := func(f func(context.Context) error) float64 {
			return testing.AllocsPerRun(200, func() {
				if err := f(t.Context()); err != nil {
					t.Fatal(err)
				}
			})
		}
		raw, skykv := count(pair.raw), count(pair.skykv)
		t.Logf("%s: %v allocations by the SDK, %v by skykv: %.3f", name, raw, skykv, skykv/raw)
		if skykv > 1.05*raw {
			t.Errorf("%s: %v allocations; want at most 1.05 times the SDK's %v", name, skykv, raw)
		}
	}
}
