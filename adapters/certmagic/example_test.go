package certmagic_test

import (
	"context"
	"fmt"

	"github.com/caddyserver/certmagic"

	certmagickv "github.com/skykv/skykv/adapters/certmagic"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

func Example() {
	files, err := memkv.New().With(kv.MaxValue(256 << 10)).Namespace("certmagic::")
	if err != nil {
		panic(err)
	}
	storage, err := certmagickv.New(files, nil)
	if err != nil {
		panic(err)
	}
	certmagic.Default.Storage = storage
	// certmagic.HTTPS([]string{"example.com"}, mux)

	ctx := context.Background()
	if err := storage.Store(ctx, "certificates/ca/example.com/example.com.crt", []byte("certificate")); err != nil {
		panic(err)
	}
	fmt.Println(storage.List(ctx, "certificates/ca", false))
	// Output: [certificates/ca/example.com] <nil>
}
