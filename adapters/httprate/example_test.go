package httprate_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/go-chi/httprate"

	httpratekv "github.com/skykv/skykv/adapters/httprate"
	"github.com/skykv/skykv/providers/memkv"
)

func Example() {
	limits, err := memkv.New().Namespace("limit:")
	if err != nil {
		panic(err)
	}
	limit := httprate.LimitBy(2, 24*time.Hour, httprate.Key("everybody"), httprate.WithLimitCounter(httpratekv.New(limits, time.Second)))
	handler := limit(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for range 3 {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		fmt.Println(w.Code)
	}
	// Output:
	// 200
	// 200
	// 429
}
