package recipes

import (
	"context"

	"github.com/skykv/skykv/kv"
)

// PlaceOrder stores an order together with the event that tells others about it, both or neither.
// Order and event are in one group of keys, such as "shop7". Use many groups, because each is
// limited to the rate of one partition. If the order exists already, PlaceOrder returns
// kv.ErrConditionFailed.
func PlaceOrder(ctx context.Context, store *kv.Store, group, id string, order, event []byte) error {
	id = kv.EscapeKey(id)
	_, err := store.AtomicWrite(ctx,
		kv.PutOp(group+"::order:"+id, order, kv.IfNotExists()),
		kv.PutOp(group+"::outbox:"+id, event))
	return err
}

// Relay sends the events of a group, and deletes each event that was sent. It returns at the end of
// the outbox, or at the first error. If the deletion of an event fails, the next call sends the
// event again. So the receiver must ignore keys that it has seen. Only one replica at a time should
// call Relay; see Cron.
func Relay(ctx context.Context, store *kv.Store, group string, send func(ctx context.Context, key string, event []byte) error) error {
	for event, err := range store.Scan(ctx, group+"::outbox:") {
		if err != nil {
			return err
		}
		if err := send(ctx, event.Key, event.Value); err != nil {
			return err
		}
		if err := store.Delete(ctx, event.Key); err != nil {
			return err
		}
	}
	return nil
}
