package recipes

import (
	"context"
	"strings"

	"github.com/skykv/skykv/kv"
)

// SignUp stores a user and the user's e-mail address, both or neither. If another user of the
// group has the name or the address, it returns kv.ErrConditionFailed. A group, such as "tenant7",
// is limited to the rate of one partition.
func SignUp(ctx context.Context, store *kv.Store, group, user, email string, profile []byte) error {
	_, err := store.AtomicWrite(ctx,
		kv.PutOp(group+"::email:"+kv.EscapeKey(strings.ToLower(email)), []byte(user), kv.IfNotExists()),
		kv.PutOp(group+"::user:"+kv.EscapeKey(user), profile, kv.IfNotExists()))
	return err
}
