package recipes

import (
	"context"
	"errors"
	"time"

	"github.com/skykv/skykv/kv"
)

// Session returns the data of a session, which then lives on for idle from now. It
// returns kv.ErrNotFound when the session has ended.
func Session(ctx context.Context, sessions *kv.Store, id string, idle time.Duration) ([]byte, error) {
	session, err := sessions.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	// Where nobody else has extended it since: a session that was ended stays ended.
	_, err = sessions.Touch(ctx, id, kv.TTL(idle), kv.IfVersion(session.Version))
	if err != nil && !errors.Is(err, kv.ErrConditionFailed) {
		return nil, err
	}
	return session.Value, nil
}
