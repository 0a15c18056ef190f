package scs_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/alexedwards/scs/v2"

	scskv "github.com/skykv/skykv/adapters/scs"
	"github.com/skykv/skykv/providers/memkv"
)

func Example() {
	sessions, err := memkv.New().Namespace("session:")
	if err != nil {
		panic(err)
	}
	manager := scs.New()
	manager.Store = scskv.New(sessions)

	login := manager.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		manager.Put(r.Context(), "user", "ann")
	}))
	login.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/login", nil))

	err = manager.Iterate(context.Background(), func(ctx context.Context) error {
		fmt.Println(manager.GetString(ctx, "user"), "is logged in")
		return nil
	})
	if err != nil {
		panic(err)
	}
	// Output: ann is logged in
}
