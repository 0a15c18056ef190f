// Urlshortener is a small HTTP service on whatever store KV_URL names: links that
// expire, and a limit on how many a client makes, which holds over any number of
// replicas of the service.
//
//	KV_URL=file:links.db go run ./examples/urlshortener
//	curl -d '{"url":"https://example.com/a/long/path","ttl":"24h"}' localhost:8080/links
//	curl -i localhost:8080/Ab3xK9q
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/skykv/skykv/providers"
)

func main() {
	addr := flag.String("addr", "localhost:8080", "where to listen")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, addr string) error {
	store, err := providers.OpenEnv(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	server := &http.Server{Addr: addr, Handler: newService(store), ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = server.Shutdown(ctx) // ListenAndServe returns first
	}()
	log.Printf("listening on %s, with a store of %s", addr, store.Info().Name)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
