package torture

import (
	"context"
	"crypto/rand"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	firestore "cloud.google.com/go/firestore/apiv1"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/skykv/skykv/internal/testing/emulator"
	"github.com/skykv/skykv/internal/testing/faults"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/aztableskv"
	"github.com/skykv/skykv/providers/dynamokv"
	"github.com/skykv/skykv/providers/localkv"
	"github.com/skykv/skykv/providers/memkv"
)

// world is a provider with its service, real or simulated, and faults in front of the
// service.
type world struct {
	name string

	// Injector decides what happens to the requests of stores. At first it lets all requests pass.
	*faults.Injector

	// stores share their data. Each has a client of its own, if there are clients.
	stores []*kv.Store

	// direct has the same data, without faults.
	direct *kv.Store

	// The function down begins an outage, and the function up ends it. They are set if there is
	// a network.
	down func()
	up   func() error

	// place says where a store in another process finds the same data. That store has
	// faults, too.
	place place

	// round, if set, runs a round whose clients are in several processes. faults is the
	// number of faults in the other processes.
	round  func(t *testing.T, workload Workload, round int) *History
	faults int
}

// worlds has a function for each provider that makes an empty world. The world lasts until the
// test ends.
var worlds = []struct {
	name string
	make func(t testing.TB) *world
}{
	{"mem", memWorld},
	{"file", fileWorld},
	{"dynamodb", dynamoWorld},
	{"firestore", firestoreWorld},
	{"aztables", aztablesWorld},
}

// inAllWorlds runs test for every provider, in parallel.
func inAllWorlds(t *testing.T, test func(t *testing.T, w *world)) {
	inWorlds(t, func(string) bool { return true }, test)
}

// inCloudWorlds is like inAllWorlds, without the providers that have no network.
func inCloudWorlds(t *testing.T, test func(t *testing.T, w *world)) {
	inWorlds(t, func(name string) bool { return name != "mem" && name != "file" }, test)
}

func inWorlds(t *testing.T, wanted func(name string) bool, test func(t *testing.T, w *world)) {
	for _, each := range worlds {
		if !wanted(each.name) {
			continue
		}
		t.Run(each.name, func(t *testing.T) {
			t.Parallel()
			test(t, each.make(t))
		})
	}
}

// clients is how many stores with faults most worlds have.
const clients = 3

func memWorld(t testing.TB) *world { return brokenWorld(t, nil, nil) }

// brokenWorld returns a world of memkv with bugs above and below the network.
func brokenWorld(t testing.TB, above, below func(kv.Driver) kv.Driver) *world {
	w := &world{name: "mem", Injector: new(faults.Injector), direct: memkv.New()}
	chain := []func(kv.Driver) kv.Driver{faults.Driver(w.Injector, attempts)}
	if below != nil {
		chain = append(chain, below)
	}
	if above != nil {
		chain = append([]func(kv.Driver) kv.Driver{above}, chain...)
	}
	for range clients {
		w.stores = append(w.stores, w.direct.With(kv.Wrap(kv.Level1, chain...)))
	}
	return w.closing(t)
}

func fileWorld(t testing.TB) *world {
	w := &world{name: "file", Injector: new(faults.Injector)}
	path := filepath.Join(t.TempDir(), "app.db")
	open := func() *kv.Store {
		s, err := localkv.New(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for range clients {
		w.stores = append(w.stores, open().With(kv.Wrap(kv.Level1, faults.Driver(w.Injector, attempts))))
	}
	w.direct = open()
	w.place = place{World: w.name, Name: path}
	w.round = inProcesses(t, w, path)
	return w.closing(t)
}

// The clients of DynamoDB, Azure Tables and the simulated network make four attempts. (firestorekv
// itself makes the attempts at Firestore's requests.) The SDKs' default pauses between attempts are
// longer, to spare a real service. With the default pauses, a run would do little but wait.
const (
	attempts    = 4
	shortPause  = 2 * time.Millisecond
	longestWait = 20 * time.Millisecond
)

func dynamoClient(endpoint string) *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{
		BaseEndpoint: &endpoint,
		Region:       "us-east-1",
		Credentials:  credentials.NewStaticCredentialsProvider("skykv", "skykv", ""),
		HTTPClient:   &http.Client{Transport: faults.Transport(nil)},
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.MaxBackoff = attempts, longestWait
			o.RateLimiter = ratelimit.None // a limiter would stop all retries for some time
		}),
	})
}

func dynamoWorld(t testing.TB) *world {
	endpoint := emulator.DynamoDB(t)
	proxy, err := faults.NewHTTP(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	w := &world{name: "dynamodb", Injector: proxy.Injector, down: proxy.Down, up: proxy.Up}
	table := "torture-" + rand.Text()
	admin := dynamoClient(endpoint)
	if err := dynamokv.EnsureWith(t.Context(), admin, table, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		admin.DeleteTable(context.Background(), &dynamodb.DeleteTableInput{TableName: aws.String(table)})
	})
	return w.at(t, place{w.name, proxy.URL, table}, endpoint)
}

func aztablesClient(endpoint string) (*aztables.ServiceClient, error) {
	cred, err := aztables.NewSharedKeyCredential(emulator.AzureAccount, emulator.AzureKey)
	if err != nil {
		return nil, err
	}
	return aztables.NewServiceClientWithSharedKey(endpoint, cred, &aztables.ClientOptions{
		ClientOptions: policy.ClientOptions{Transport: &http.Client{Transport: faults.Transport(nil)}},
	})
}

var aztablesOptions = &aztableskv.Options{Retry: policy.RetryOptions{
	MaxRetries: attempts - 1, RetryDelay: shortPause, MaxRetryDelay: longestWait,
}}

func aztablesWorld(t testing.TB) *world {
	endpoint := emulator.AzureTables(t)
	proxy, err := faults.NewHTTP(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	w := &world{name: "aztables", Injector: proxy.Injector, down: proxy.Down, up: proxy.Up}
	table := "t" + strings.ToLower(rand.Text())
	admin, err := aztablesClient(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	if err := aztableskv.EnsureWith(t.Context(), admin, table, aztablesOptions); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { admin.DeleteTable(context.Background(), table, nil) })
	return w.at(t, place{w.name, proxy.URL, table}, endpoint)
}

// owner makes the emulator treat requests as an administrator's.
type owner struct{}

func (owner) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer owner"}, nil
}

func (owner) RequireTransportSecurity() bool { return false }

func firestoreClient(ctx context.Context, addr string) (*firestore.Client, error) {
	conn, err := grpc.NewClient("passthrough:///"+addr, append(faults.DialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithPerRPCCredentials(owner{}))...)
	if err != nil {
		return nil, err
	}
	return firestore.NewClient(ctx, option.WithGRPCConn(conn))
}

func firestoreWorld(t testing.TB) *world {
	addr := emulator.Firestore(t)
	proxy, err := faults.NewGRPC(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	w := &world{name: "firestore", Injector: proxy.Injector, down: proxy.Down, up: proxy.Up}
	return w.at(t, place{w.name, proxy.Addr, "torture-" + rand.Text()}, addr)
}

// The method at opens the stores of a world. Those with faults use the proxy at the place p. The
// store direct uses the service itself, which is at the URL endpoint.
func (w *world) at(t testing.TB, p place, endpoint string) *world {
	w.place = p
	open := func(p place) *kv.Store {
		s, end, err := p.open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(end)
		return s
	}
	for range clients {
		w.stores = append(w.stores, open(p))
	}
	p.Endpoint = endpoint
	w.direct = open(p)
	return w.closing(t)
}

func (w *world) closing(t testing.TB) *world {
	t.Cleanup(func() {
		for _, s := range append(w.stores, w.direct) {
			s.Close()
		}
	})
	return w
}
