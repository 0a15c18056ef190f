package recipes_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/skykv/skykv/examples/recipes"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/lease"
	"github.com/skykv/skykv/kv/watch"
	"github.com/skykv/skykv/providers/memkv"
)

func ExampleTransfer() {
	ctx, accounts := context.Background(), kv.JSON[int64](memkv.New())
	for name, amount := range map[string]int64{"bank::ann": 30, "bank::bob": 0} {
		if _, err := accounts.Put(ctx, name, amount); err != nil {
			panic(err)
		}
	}
	fmt.Println(recipes.Transfer(ctx, accounts, "bank::ann", "bank::bob", 20))
	fmt.Println(recipes.Transfer(ctx, accounts, "bank::ann", "bank::bob", 20))
	// Output:
	// <nil>
	// not enough funds in bank::ann
}

func ExampleSession() {
	ctx, sessions := context.Background(), memkv.New()
	if _, err := sessions.Put(ctx, "s1", []byte("ann"), kv.TTL(30*time.Minute)); err != nil {
		panic(err)
	}
	data, err := recipes.Session(ctx, sessions, "s1", 30*time.Minute)
	fmt.Printf("%s %v\n", data, err)
	_, err = recipes.Session(ctx, sessions, "s2", 30*time.Minute)
	fmt.Println(errors.Is(err, kv.ErrNotFound))
	// Output:
	// ann <nil>
	// true
}

func ExampleAllow() {
	ctx, limits := context.Background(), memkv.New()
	for range 3 {
		fmt.Println(recipes.Allow(ctx, limits, "ann@example.com", 2, time.Minute))
	}
	// Output:
	// true <nil>
	// true <nil>
	// false <nil>
}

// Feature flags need only a loop over watch.Watch. Flags.Follow also keeps them in memory.
func ExampleFlags() {
	ctx, store := context.Background(), memkv.New()
	if _, err := store.Put(ctx, "flags::dark-mode", []byte("on")); err != nil {
		panic(err)
	}
	for change, err := range watch.Watch(ctx, store, "flags::", 10*time.Second) {
		fmt.Printf("%s %s %v\n", change.Key, change.Value, err)
		break
	}
	// Output: flags::dark-mode on <nil>
}

func ExampleSequence() {
	ctx, store := context.Background(), memkv.New()
	here, there := recipes.NewSequence(store, "orders", 1000), recipes.NewSequence(store, "orders", 1000)
	for _, sequence := range []*recipes.Sequence{here, here, there, here} {
		fmt.Println(sequence.Next(ctx))
	}
	// Output:
	// 1 <nil>
	// 2 <nil>
	// 1001 <nil>
	// 3 <nil>
}

func ExampleRelay() {
	ctx, store := context.Background(), memkv.New()
	for _, id := range []string{"41", "42", "42"} {
		err := recipes.PlaceOrder(ctx, store, "shop7", id, []byte("a chair"), []byte("a chair is ordered"))
		fmt.Println(errors.Is(err, kv.ErrConditionFailed))
	}
	err := recipes.Relay(ctx, store, "shop7", func(_ context.Context, key string, event []byte) error {
		fmt.Printf("%s: %s\n", key, event)
		return nil
	})
	fmt.Println(err)
	// Output:
	// false
	// false
	// true
	// shop7::outbox:41: a chair is ordered
	// shop7::outbox:42: a chair is ordered
	// <nil>
}

func ExampleSignUp() {
	ctx, store := context.Background(), memkv.New()
	fmt.Println(recipes.SignUp(ctx, store, "tenant7", "ann", "ann@example.com", nil))
	err := recipes.SignUp(ctx, store, "tenant7", "bob", "Ann@example.com", nil)
	fmt.Println(errors.Is(err, kv.ErrConditionFailed))
	fmt.Println(store.Exists(ctx, "tenant7::user:bob"))
	// Output:
	// <nil>
	// true
	// false <nil>
}

func ExampleCron() {
	ctx, cancel := context.WithCancel(context.Background())
	jobs, err := lease.New(memkv.New(), nil)
	if err != nil {
		panic(err)
	}
	fmt.Println(recipes.Cron(ctx, jobs, "report", 24*time.Hour, func(context.Context) error {
		fmt.Println("the report of today")
		cancel()
		return nil
	}, func(err error) { fmt.Println(err) }))
	// Output:
	// the report of today
	// context canceled
}

func ExampleRedeem() {
	ctx, tokens := context.Background(), memkv.New()
	token, err := recipes.Issue(ctx, tokens, "ann", time.Hour)
	if err != nil {
		panic(err)
	}
	fmt.Println(recipes.Redeem(ctx, tokens, token))
	_, err = recipes.Redeem(ctx, tokens, token)
	fmt.Println(errors.Is(err, kv.ErrNotFound))
	// Output:
	// ann <nil>
	// true
}
