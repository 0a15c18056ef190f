package recipes

import (
	"context"
	"strings"

	"github.com/skykv/skykv/kv"
)

// SignUp stores a user, and an e-mail address that no other user of the group has, all or nothing.
// Otherwise it returns kv.ErrConditionFailed. The group, such as "tenant7", has the rate of one
// partition.
func SignUp(ctx context.Context, store *kv.Store, group, user, email string, profile []byte) error {
	_, err := store.AtomicWrite(ctx,
		kv.PutOp(group+"::email:"+kv.EscapeKey(strings.ToLower(email)), []byte(user), kv.IfNotExists()),
		kv.PutOp(group+"::user:"+kv.EscapeKey(user), profile, kv.IfNotExists()))
	return err
}
