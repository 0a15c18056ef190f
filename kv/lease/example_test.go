package lease_test

import (
	"context"
	"fmt"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/lease"
	"github.com/skykv/skykv/providers/memkv"
)

// A namespace keeps the records of leases apart from other entries.
func Example() {
	ctx := context.Background()
	store, err := memkv.New().Namespace("lease:")
	if err != nil {
		panic(err)
	}
	leases, err := lease.New(store, nil)
	if err != nil {
		panic(err)
	}

	held, err := leases.Acquire(ctx, kv.EscapeKey("reports/daily"))
	if err != nil {
		panic(err)
	}
	fmt.Println("held:", held.Held(), "token:", held.Token())

	_, err = leases.TryAcquire(ctx, held.Name())
	fmt.Println(err)

	if err := held.Release(ctx); err != nil {
		panic(err)
	}
	held, err = leases.Acquire(ctx, held.Name())
	if err != nil {
		panic(err)
	}
	defer held.Release(context.WithoutCancel(ctx))
	fmt.Println("held:", held.Held(), "token:", held.Token())
	// Output:
	// held: true token: 1
	// kv: try to acquire "reports_2Fdaily" on mem/lease: the lease is held by another one
	// held: true token: 2
}

// The balance contains the token of its last writer. So a former holder that wakes up
// cannot change the balance after a later holder has changed it.
func ExampleLease_Token() {
	ctx := context.Background()
	store := memkv.New()
	leases, err := lease.New(store, nil)
	if err != nil {
		panic(err)
	}
	type balance struct{ Token, Amount int64 }
	balances := kv.JSON[balance](store)
	write := func(token, amount int64) error {
		_, err := balances.Update(ctx, "balance", func(old kv.EntryOf[balance], _ bool) (kv.ChangeOf[balance], error) {
			if token < old.Value.Token {
				return kv.ChangeOf[balance]{}, lease.ErrLost
			}
			return kv.ChangeOf[balance]{Value: balance{token, amount}}, nil
		})
		return err
	}

	held, err := leases.Acquire(ctx, "lease:balance")
	if err != nil {
		panic(err)
	}
	fmt.Println(write(held.Token(), 10))
	if err := held.Release(ctx); err != nil {
		panic(err)
	}
	next, err := leases.Acquire(ctx, "lease:balance")
	if err != nil {
		panic(err)
	}
	defer next.Release(ctx)
	fmt.Println(write(next.Token(), 20))
	fmt.Println(write(held.Token(), 11))
	// Output:
	// <nil>
	// <nil>
	// the lease is lost
}

// One replica leads, and the others learn its address.
func ExampleLeases_Campaign() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	leases, err := lease.New(memkv.New(), &lease.Options{TTL: 5 * time.Second, Poll: 10 * time.Millisecond})
	if err != nil {
		panic(err)
	}
	lead, err := leases.Campaign(ctx, "leader", []byte("10.0.0.7:8080"))
	if err != nil {
		panic(err)
	}
	for leader, err := range leases.Observe(ctx, "leader") {
		if err != nil {
			fmt.Println(err)
			break
		}
		if !leader.Exists {
			fmt.Println("nobody leads")
			break
		}
		fmt.Printf("%s leads\n", leader.Value)
		if err := lead.Release(ctx); err != nil { // the leader resigns
			panic(err)
		}
	}
	// Output:
	// 10.0.0.7:8080 leads
	// nobody leads
}

// Every replica calls Once when its timer fires. One of them runs the job.
func ExampleLeases_Once() {
	ctx := context.Background()
	store := memkv.New()
	for replica := range 3 {
		leases, err := lease.New(store, nil)
		if err != nil {
			panic(err)
		}
		ran, err := leases.Once(ctx, "report", 24*time.Hour, func(ctx context.Context, l *lease.Lease) error {
			fmt.Println("the report of today")
			return ctx.Err()
		})
		fmt.Println(replica, ran, err)
	}
	// Output:
	// the report of today
	// 0 true <nil>
	// 1 false <nil>
	// 2 false <nil>
}
