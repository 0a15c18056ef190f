package reference

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
)

// AzureTables is a table of Azure Tables. Bucket returns the number of a key's partition. Now is
// the clock.
type AzureTables struct {
	Client *aztables.Client
	Bucket func(key string) int
	Now    func() time.Time
}

// azureEntity is an entity as the programs of the Alien platform store it.
type azureEntity struct {
	PartitionKey, RowKey string
	Value                string
	CreatedAt            string
	ExpiresAt            string `json:",omitempty"`
}

func (a *AzureTables) partition(key string) string { return fmt.Sprintf("p%d", a.Bucket(key)) }

func (a *AzureTables) entity(key string, value []byte, ttl time.Duration) ([]byte, error) {
	now := a.Now()
	e := azureEntity{
		PartitionKey: a.partition(key), RowKey: key,
		Value: base64.StdEncoding.EncodeToString(value), CreatedAt: rfc3339(now),
	}
	if ttl != 0 {
		e.ExpiresAt = rfc3339(a.Expires(now, ttl))
	}
	return json.Marshal(e)
}

// rfc3339 formats an instant with zero, three, six or nine digits after the seconds.
func rfc3339(at time.Time) string {
	digits := ".000000000"
	switch ns := at.Nanosecond(); {
	case ns == 0:
		digits = ""
	case ns%1_000_000 == 0:
		digits = ".000"
	case ns%1_000 == 0:
		digits = ".000000"
	}
	return at.UTC().Format("2006-01-02T15:04:05" + digits + "-07:00")
}

// Expires returns the exact instant of expiry.
func (a *AzureTables) Expires(now time.Time, ttl time.Duration) time.Time { return now.Add(ttl) }

// Sees returns the instant after the expiry, because these programs see an entry as live at the
// very instant of its expiry.
func (a *AzureTables) Sees(at time.Time) time.Time { return at.Add(1) }

func (a *AzureTables) expired(expiresAt string) (bool, error) {
	if expiresAt == "" {
		return false, nil
	}
	at, err := time.Parse(time.RFC3339, expiresAt)
	return a.Now().After(at), err
}

// read returns the entity of a key and its ETag. If there is none, the entity is nil.
func (a *AzureTables) read(ctx context.Context, key string) (*azureEntity, azcore.ETag, error) {
	resp, err := a.Client.GetEntity(ctx, a.partition(key), key, nil)
	if statusCode(err) == http.StatusNotFound {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	e := new(azureEntity)
	if err := json.Unmarshal(resp.Value, e); err != nil {
		return nil, "", err
	}
	if _, err := time.Parse(time.RFC3339, e.CreatedAt); err != nil {
		return nil, "", fmt.Errorf("the entity of %q: %w", key, err)
	}
	return e, resp.ETag, nil
}

// statusCode returns the HTTP status in an error, or 0 if it has none.
func statusCode(err error) int {
	if answer, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return answer.StatusCode
	}
	return 0
}

// Get reads the entity. The version is the ETag and the instant of expiry.
func (a *AzureTables) Get(ctx context.Context, key string) (value []byte, version string, found bool, err error) {
	e, etag, err := a.read(ctx, key)
	if e == nil || err != nil {
		return nil, "", false, err
	}
	if expired, err := a.expired(e.ExpiresAt); expired || err != nil {
		return nil, "", false, err
	}
	value, err = base64.StdEncoding.DecodeString(e.Value)
	return value, string(etag) + " " + e.ExpiresAt, err == nil, err
}

// Put replaces the entity.
func (a *AzureTables) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	entity, err := a.entity(key, value, ttl)
	if err == nil {
		_, err = a.Client.UpsertEntity(ctx, entity, &aztables.UpsertEntityOptions{UpdateMode: aztables.UpdateModeReplace})
	}
	return err
}

// PutIfAbsent inserts the entity. If there is an expired entity, PutIfAbsent replaces it on
// condition of its ETag.
func (a *AzureTables) PutIfAbsent(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	entity, err := a.entity(key, value, ttl)
	if err != nil {
		return false, err
	}
	if _, err := a.Client.AddEntity(ctx, entity, nil); statusCode(err) != http.StatusConflict {
		return err == nil, err
	}
	found, etag, err := a.read(ctx, key)
	if found == nil || err != nil {
		return false, err
	}
	if expired, err := a.expired(found.ExpiresAt); !expired || err != nil {
		return false, err
	}
	return a.replace(ctx, entity, etag)
}

// replace replaces an entity if it still has this ETag.
func (a *AzureTables) replace(ctx context.Context, entity []byte, etag azcore.ETag) (bool, error) {
	_, err := a.Client.UpdateEntity(ctx, entity, &aztables.UpdateEntityOptions{IfMatch: &etag, UpdateMode: aztables.UpdateModeReplace})
	if code := statusCode(err); code == http.StatusPreconditionFailed || code == http.StatusNotFound {
		return false, nil
	}
	return err == nil, err
}

// CompareAndSwap finds out from the version whether the entry has expired. The replacement is
// on condition of the version's ETag.
func (a *AzureTables) CompareAndSwap(ctx context.Context, key, version string, value []byte, ttl time.Duration) (bool, error) {
	etag, expiresAt, _ := strings.Cut(version, " ")
	if expired, err := a.expired(expiresAt); expired || err != nil {
		return false, err
	}
	entity, err := a.entity(key, value, ttl)
	if err != nil {
		return false, err
	}
	return a.replace(ctx, entity, azcore.ETag(etag))
}

// Delete deletes the entity without a condition.
func (a *AzureTables) Delete(ctx context.Context, key string) error {
	_, err := a.Client.DeleteEntity(ctx, a.partition(key), key, nil)
	if statusCode(err) == http.StatusNotFound {
		return nil
	}
	return err
}

// Scan queries one partition after another.
func (a *AzureTables) Scan(ctx context.Context, prefix string) ([]string, error) {
	var keys []string
	for bucket := range 16 {
		filter := fmt.Sprintf("PartitionKey eq 'p%d' and RowKey ge '%s' and RowKey lt '%s~'", bucket, prefix, prefix)
		pages := a.Client.NewListEntitiesPager(&aztables.ListEntitiesOptions{Filter: &filter})
		for pages.More() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, err
			}
			for _, entity := range page.Entities {
				var e azureEntity
				if err := json.Unmarshal(entity, &e); err != nil {
					return nil, err
				}
				expired, err := a.expired(e.ExpiresAt)
				if err != nil {
					return nil, err
				}
				if !expired {
					keys = append(keys, e.RowKey)
				}
			}
		}
	}
	return keys, nil
}
