package recipes

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/skykv/skykv/kv"
)

// Issue returns a token that works once within the time ttl, for example for a link in a mail. The
// store has only the token's hash, which is useless to anyone who reads the store.
func Issue(ctx context.Context, tokens *kv.Store, user string, ttl time.Duration) (token string, err error) {
	token = rand.Text()
	_, err = tokens.Put(ctx, kv.HashKey(token), []byte(user), kv.TTL(ttl))
	return token, err
}

// Redeem returns the user of a token to one caller only. All others get kv.ErrNotFound, and so does
// a caller with a token that is too old or was never issued. After kv.ErrIndeterminate the token
// may be used up.
func Redeem(ctx context.Context, tokens *kv.Store, token string) (user string, err error) {
	entry, err := tokens.GetAndDelete(ctx, kv.HashKey(token))
	return string(entry.Value), err
}
