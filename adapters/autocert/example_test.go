package autocert_test

import (
	"context"
	"fmt"

	"golang.org/x/crypto/acme/autocert"

	autocertkv "github.com/skykv/skykv/adapters/autocert"
	"github.com/skykv/skykv/providers/memkv"
)

func Example() {
	certificates, err := memkv.New().Namespace("autocert:")
	if err != nil {
		panic(err)
	}
	manager := &autocert.Manager{
		Prompt:     autocert.AcceptTOS,
		HostPolicy: autocert.HostWhitelist("example.com"),
		Cache:      autocertkv.New(certificates),
	}
	// server.TLSConfig = manager.TLSConfig()

	_, err = manager.Cache.Get(context.Background(), "example.com")
	fmt.Println(err)
	// Output: acme/autocert: certificate cache miss
}
