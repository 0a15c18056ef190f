package aztableskv

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/skykv/skykv/internal/attempt"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

// Inspect checks what the store of a URL needs: the URL, whether the service responds, its clock,
// the credentials, the table and the layout record. It also checks whether a sweep is due, and
// whether the first entities are skykv's. It uses the same client as [Open], and changes nothing.
// See [provider.Provider].
func Inspect(ctx context.Context, url string) iter.Seq[provider.Check] {
	return func(yield func(provider.Check) bool) {
		c, err := Connect(ctx, url)
		if err != nil {
			yield(provider.Failed("url", err, "see: skykv help"))
			return
		}
		defer c.Close()
		d, err := c.driver("inspect")
		if err != nil {
			yield(provider.Failed("url", err, "see: skykv help"))
			return
		}
		for _, check := range provider.Reach(ctx, c.transport, c.account.endpoint) {
			if !yield(check) || check.Err != nil {
				return
			}
		}
		for _, check := range d.inspect(ctx, c.account.name) {
			if !yield(check) {
				return
			}
		}
	}
}

// inspect returns the checks of the table. It leaves out the checks that are impossible
// after a failure.
func (d *driver) inspect(ctx context.Context, account string) []provider.Check {
	accepted := provider.Check{Name: provider.CheckCredentials, Status: provider.OK, Detail: "accepted by the service"}
	there := provider.Check{Name: "table", Status: provider.OK, Detail: d.name + " exists"}
	found, err := d.readLayout(ctx)
	if err == nil && found == nil {
		found, err = d.checkOwner(ctx)
	}
	switch {
	case errors.Is(err, kv.ErrNotProvisioned):
		return []provider.Check{accepted, {
			Name: "table", Status: provider.Fail, Detail: fmt.Sprintf("there is no table %s in account %s", d.name, account),
			Fix: provider.Provision, Step: "create table " + d.name,
		}, provider.NoLayout()}
	case errors.Is(err, kv.ErrIncompatible):
		return []provider.Check{accepted, there, provider.ForeignLayout(err)}
	case errors.Is(err, kv.ErrPermission):
		return []provider.Check{provider.Failed(provider.CheckCredentials, err,
			"log in as for the az command, or set "+envKey+" or "+envConnectionString+"; the role is Storage Table Data Contributor")}
	case err != nil:
		return []provider.Check{provider.Failed("table", err, "see the message")}
	case found == nil:
		return []provider.Check{accepted, there, provider.NoLayout()}
	}
	if found.name != d.layout.name {
		return []provider.Check{accepted, there, provider.OtherLayout(d.layout.checkRecord(d.name, found), found.name)}
	}
	checks := []provider.Check{accepted, there, provider.LayoutRecord(found.shards(), d.layout.shards()), d.inspectSweep(ctx)}
	if n, of := d.countForeign(ctx, found); n > 0 {
		checks = append(checks, provider.Check{
			Name: "records", Status: provider.Warn, Detail: fmt.Sprintf("%d of the first %d entities are not skykv's, or are in the wrong place", n, of),
			Fix: "delete them, or keep them in another table",
		})
	}
	return checks
}

// countForeign makes one request for entities of the table, without their values. n is the number
// of entities in the response, except the layout record, whose key, place or metadata are not of
// the layout. total is the number of all entities in the response. If the request fails, both
// are 0.
func (d *driver) countForeign(ctx context.Context, l *layout) (n, total int) {
	pager := d.table.NewListEntitiesPager(d.listOptions("", false, maxPage))
	page, err := d.page(attempt.With(ctx, attempt.Many), pager, nil)
	if err != nil {
		return 0, 0
	}
	for _, body := range page.Entities {
		e, err := l.parse(body)
		key := e.key()
		if err == nil {
			_, err = l.record(&e, key, false)
		}
		if !e.is(layoutPartition, layoutRow) && (err != nil || kv.ValidateKey(key) != nil || !e.in(l.partition(key))) {
			n++
		}
	}
	return n, len(page.Entities)
}

// inspectSweep looks for an entity that a sweep would delete. It makes one request.
func (d *driver) inspectSweep(ctx context.Context) provider.Check {
	c := provider.Check{Name: "sweep", Status: provider.OK, Detail: "one request found no expired entries that must be deleted"}
	pager := d.table.NewListEntitiesPager(d.listOptions(d.layout.unsweptFilter(time.Now()), false, 1))
	page, err := d.page(ctx, pager, nil)
	switch {
	case err != nil:
		return provider.Failed(c.Name, err, "see the message")
	case len(page.Entities) > 0:
		c.Status, c.Detail = provider.Warn, "expired entries must be deleted: Azure Tables does not delete them"
		c.Fix = "run about once a day: skykv sweep URL"
	}
	return c
}
