// Worker takes jobs from a queue in the store that KV_URL names. Any number of workers may
// run, in as many terminals as you like, until Ctrl-C ends them. If a worker dies, another one
// takes its job when the dead worker's lease has expired.
//
//	export KV_URL=file:jobs.db
//	go run ./examples/worker add "first job" "second job"
//	go run ./examples/worker run
//	go run ./examples/worker results
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/skykv/skykv/providers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && ctx.Err() == nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, args []string) error {
	store, err := providers.OpenEnv(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	q := newQueue(store)
	switch {
	case len(args) > 1 && args[0] == "add":
		for _, text := range args[1:] {
			id, err := q.add(ctx, text)
			if err != nil {
				return err
			}
			fmt.Println(id)
		}
		return nil
	case len(args) == 1 && args[0] == "run":
		return work(ctx, q)
	case len(args) == 1 && args[0] == "results":
		return q.results(ctx, func(id, result string) { fmt.Println(id, result) })
	}
	return errors.New("usage: worker add TEXT… | run | results")
}

// work does jobs until ctx ends or a job fails. If there is no job, it looks again after a second.
func work(ctx context.Context, q *queue) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%s-%d", host, os.Getpid())
	for ctx.Err() == nil {
		did, err := q.work(ctx, name, shout)
		if err != nil {
			return err
		}
		if !did {
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	}
	return ctx.Err()
}

// shout is the work, which takes some time.
func shout(ctx context.Context, text string) (string, error) {
	log.Printf("working on %q", text)
	select {
	case <-time.After(3 * time.Second):
		return strings.ToUpper(text), nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}
