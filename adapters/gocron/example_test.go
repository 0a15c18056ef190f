package gocron_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-co-op/gocron/v2"

	gocronkv "github.com/skykv/skykv/adapters/gocron"
	"github.com/skykv/skykv/kv/lease"
	"github.com/skykv/skykv/providers/memkv"
)

// Each replica of a service runs this code. A replica's scheduler runs jobs while its elector leads.
func ExampleElector() {
	leases, err := lease.New(memkv.New(), nil)
	if err != nil {
		panic(err)
	}
	elector := gocronkv.NewElector(leases, "reports")
	ctx, resign := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- elector.Run(ctx) }()

	scheduler, err := gocron.NewScheduler(gocron.WithDistributedElector(elector))
	if err != nil {
		panic(err)
	}
	defer scheduler.Shutdown()

	resign()
	fmt.Println(errors.Is(<-ended, context.Canceled))
	fmt.Println(elector.IsLeader(ctx))
	// Output:
	// true
	// this scheduler does not lead
}

// Each replica of a service runs this code. Each run of the job is on one of them.
func Example() {
	records, err := memkv.New().Namespace("lease:")
	if err != nil {
		panic(err)
	}
	leases, err := lease.New(records, nil)
	if err != nil {
		panic(err)
	}
	scheduler, err := gocron.NewScheduler(gocron.WithDistributedLocker(gocronkv.NewLocker(leases, time.Second)))
	if err != nil {
		panic(err)
	}
	done := make(chan bool)
	_, err = scheduler.NewJob(gocron.OneTimeJob(gocron.OneTimeJobStartImmediately()),
		gocron.NewTask(func() { fmt.Println("the report"); close(done) }), gocron.WithName("report"))
	if err != nil {
		panic(err)
	}
	scheduler.Start()
	<-done
	if err := scheduler.Shutdown(); err != nil {
		panic(err)
	}
	// Output: the report
}
