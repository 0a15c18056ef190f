package recipes

import (
	"context"
	"errors"
	"time"

	"github.com/skykv/skykv/kv"
)

// Session returns the data of a session, and extends the session. Without further calls, the session
// ends after the time idle. Session returns kv.ErrNotFound if the session has ended.
func Session(ctx context.Context, sessions *kv.Store, id string, idle time.Duration) ([]byte, error) {
	session, err := sessions.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	// The condition fails if another request has extended or ended the session since the Get. In
	// both cases this request need not extend it.
	_, err = sessions.Touch(ctx, id, kv.TTL(idle), kv.IfVersion(session.Version))
	if err != nil && !errors.Is(err, kv.ErrConditionFailed) {
		return nil, err
	}
	return session.Value, nil
}
