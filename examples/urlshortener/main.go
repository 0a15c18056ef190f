// Urlshortener is a small HTTP service on the store that KV_URL names. Its short links expire. The
// service limits how many links a client makes. The limit holds for all replicas together.
//
//	KV_URL=file:links.db go run ./examples/urlshortener
//	curl -d '{"url":"https://example.com/a/long/path","ttl":"24h"}' localhost:8080/links
//	curl -i localhost:8080/Ab3xK9q
package main

import (
	"context"
	"flag"
	"log"
	"net"
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
	server := &http.Server{Addr: addr, Handler: newService(store, time.Now), ReadHeaderTimeout: 5 * time.Second}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	log.Printf("listening on %s, with a store of %s", listener.Addr(), store.Info().Name)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	// The store closes after the last response, or after 10 seconds.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return server.Shutdown(ctx)
}
