package providers

import (
	"context"
	"errors"
	"os"

	"github.com/skykv/skykv/kv"
)

// EnvURL is the environment variable that [OpenEnv] reads.
const EnvURL = "KV_URL"

// OpenEnv opens the store whose URL is in the environment variable KV_URL, as [Open] does.
// If the variable is unset or empty, the error matches [kv.ErrInvalidOption].
func OpenEnv(ctx context.Context) (*kv.Store, error) {
	url := os.Getenv(EnvURL)
	if url == "" {
		return nil, &kv.Error{Op: "open", Kind: kv.ErrInvalidOption, Err: errors.New(
			EnvURL + " is not set; want the URL of a store, such as file:app.db")}
	}
	return Open(ctx, url)
}
