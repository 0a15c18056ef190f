package recipes

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/skykv/skykv/kv"
)

// Issue returns a token that works once within ttl, such as that of a link in a mail. The store
// has its hash, so that nobody can use what is stored.
func Issue(ctx context.Context, tokens *kv.Store, user string, ttl time.Duration) (token string, err error) {
	token = rand.Text()
	_, err = tokens.Put(ctx, kv.HashKey(token), []byte(user), kv.TTL(ttl))
	return token, err
}

// Redeem returns the user of a token, to one caller alone. To all others, and when the token is
// too old or was never issued, it returns kv.ErrNotFound. After kv.ErrIndeterminate the token may be used
// up.
func Redeem(ctx context.Context, tokens *kv.Store, token string) (user string, err error) {
	entry, err := tokens.GetAndDelete(ctx, kv.HashKey(token))
	return string(entry.Value), err
}
