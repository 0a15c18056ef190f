package fiber_test

import (
	"fmt"
	"time"

	"github.com/gofiber/fiber/v2/middleware/session"

	fiberkv "github.com/skykv/skykv/adapters/fiber"
	"github.com/skykv/skykv/providers/memkv"
)

func Example() {
	entries, err := memkv.New().Namespace("session:")
	if err != nil {
		panic(err)
	}
	storage := fiberkv.New(entries, 5*time.Second)
	sessions := session.New(session.Config{Storage: storage})
	_ = sessions // sessions.Get(c) in a handler

	if err := storage.Set("https://example.com/?q=1", []byte("page"), time.Minute); err != nil {
		panic(err)
	}
	page, err := storage.Get("https://example.com/?q=1")
	fmt.Printf("%s %v\n", page, err)
	page, err = storage.Get("unknown")
	fmt.Println(page == nil, err)
	// Output:
	// page <nil>
	// true <nil>
}
