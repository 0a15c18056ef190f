package recipes

import (
	"context"

	"github.com/skykv/skykv/kv"
)

// PlaceOrder stores an order, and the event that tells others about it, all or nothing. Order and
// event are in one group of keys, such as "shop7": use many groups, since each has the rate of one
// partition. An order that exists already is kv.ErrConditionFailed.
func PlaceOrder(ctx context.Context, store *kv.Store, group, id string, order, event []byte) error {
	id = kv.EscapeKey(id)
	_, err := store.AtomicWrite(ctx,
		kv.PutOp(group+"::order:"+id, order, kv.IfNotExists()),
		kv.PutOp(group+"::outbox:"+id, event))
	return err
}

// Relay sends the events of a group and deletes those that were sent, until the outbox is
// empty or an event cannot be sent. An event is sent again when its deletion fails, so the
// receiver goes by its key. One replica calls Relay at a time: see Cron.
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
