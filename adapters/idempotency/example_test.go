package idempotency_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/skykv/skykv/adapters/idempotency"
	"github.com/skykv/skykv/providers/memkv"
)

func Example() {
	records, err := memkv.New().Namespace("idempotency:")
	if err != nil {
		panic(err)
	}
	once, err := idempotency.New(records, idempotency.Options{
		Scope: func(r *http.Request) string { user, _, _ := r.BasicAuth(); return user }, // the password was checked earlier
	})
	if err != nil {
		panic(err)
	}
	payments := 0
	handler := once(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		payments++
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, "payment %d", payments)
	}))

	for _, body := range []string{"10 EUR", "10 EUR", "20 EUR"} {
		r := httptest.NewRequest(http.MethodPost, "/payments", strings.NewReader(body))
		r.SetBasicAuth("ann", "")
		r.Header.Set("Idempotency-Key", `"8e03978e-40d5-43e8-bc93-6894a57f9324"`)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		text, err := io.ReadAll(w.Body)
		if err != nil {
			panic(err)
		}
		fmt.Println(w.Code, strings.TrimSpace(string(text)))
	}
	// Output:
	// 201 payment 1
	// 201 payment 1
	// 422 {"status":422,"title":"Idempotency-Key was used with another request"}
}
