package aztableskv

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"github.com/skykv/skykv/kv"
)

// layout is how entries are laid out in a table: the entities of records, the
// partitions of keys, the filters of queries, the conditions of writes, and the layout
// record that says all this of a table. Nothing else knows the name of a property.
type layout struct {
	shards     int
	partitions []string // the PartitionKey of each shard
}

// layoutFormat is the format of what this file reads and writes.
const layoutFormat = 2

// The properties of an entity besides its PartitionKey and RowKey. They are always all
// there, but for the further parts of a value and propChecked.
const (
	propValue        = "v" // its further parts are in v1, v2 and so on
	propExpires      = "x" // 0 for an entry that does not expire
	propToken        = "t"
	propPredecessors = "p"
	propChecked      = "c" // the token of the last check since the last put; it is never read

	typeBinary = "Edm.Binary"
	typeInt64  = "Edm.Int64"
)

// A value is in parts of maxPart bytes, which is the most that a property holds:
// https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model#property-types
// The last part is shorter, or as long, and not empty unless it is the only one.
const (
	maxPart  = 64 << 10
	maxParts = 6
)

// The layout record's place. Its partition is none that keys are in.
const (
	layoutPartition = "skykv"
	layoutRow       = "layout"
)

func newLayout(shards int) *layout {
	l := &layout{shards: shards, partitions: make([]string, shards)}
	for i := range l.partitions {
		l.partitions[i] = fmt.Sprintf("%02x", i)
	}
	return l
}

// shard returns the shard of a key, and shardOfPrefix that of all keys with a prefix
// if there is one: see kv.Info.
func (l *layout) shard(key string) int { return kv.Shard(key, l.shards) }

func (l *layout) shardOfPrefix(prefix string) (int, bool) { return kv.ShardOfPrefix(prefix, l.shards) }

func (l *layout) partition(key string) string { return l.partitions[l.shard(key)] }

// metadata is the $select of a reader that does not want values.
func (l *layout) metadata() string {
	return "PartitionKey,RowKey," + propExpires + "," + propToken + "," + propPredecessors
}

// The filters of queries: https://learn.microsoft.com/rest/api/storageservices/querying-tables-and-entities

// keyFilter selects the entity of both keys.
func (l *layout) keyFilter(partition, row string) string {
	return "PartitionKey eq '" + partition + "' and RowKey eq '" + row + "'"
}

// scanFilter selects what a scan asks for.
func (l *layout) scanFilter(req kv.ScanRequest) string {
	filter := "PartitionKey eq '" + l.partitions[req.Shard] + "' and RowKey ge '" + req.From + "' and RowKey le '" + req.To + "'"
	if req.Now > 0 {
		// In this form an entity without x, which skykv did not write, is returned:
		// a comparison with a property that is not there is false.
		filter += " and not (" + expiredAt(req.Now) + ")"
	}
	return filter
}

// sweepFilter selects the entities of a shard that a sweep deletes, by its clock.
// Entities without x do not match: they are not even read.
func (l *layout) sweepFilter(shard int, now time.Time) string {
	return "PartitionKey eq '" + l.partitions[shard] + "' and " + l.unsweptFilter(now)
}

// unsweptFilter selects what a sweep of all shards deletes, and unswept says the same of
// a record, but for a tombstone's age: its writer may still look for it.
func (l *layout) unsweptFilter(now time.Time) string {
	until := sweptUntil(now)
	return expiredAt(until.UnixMilli()) +
		" and (" + propExpires + " gt " + strconv.Itoa(tombstoneExpires) + "L or Timestamp lt datetime'" + until.UTC().Format(time.RFC3339) + "')"
}

func (l *layout) unswept(rec kv.Record, now time.Time) bool {
	return rec.Expires > 0 && rec.Expires <= sweptUntil(now).UnixMilli()
}

func sweptUntil(now time.Time) time.Time { return now.Add(-kv.ExpiryGrace) }

func expiredAt(instant int64) string {
	return propExpires + " gt 0L and " + propExpires + " le " + strconv.FormatInt(instant, 10) + "L"
}

// action returns what the service is asked for a write, as an operation of a
// transaction. A deletion has no entity yet: see encodeKey. The error is that of a write
// that the driver does not know, or of a version that cannot be one of the service's.
func (l *layout) action(w kv.Write) (aztables.TransactionAction, error) {
	var a aztables.TransactionAction
	cond := w.Condition.Kind
	switch {
	case w.Kind == kv.KindPut && cond == kv.CondNone:
		a.ActionType = aztables.TransactionTypeInsertReplace
	case w.Kind == kv.KindPut && cond == kv.CondAbsent:
		a.ActionType = aztables.TransactionTypeAdd
	case w.Kind == kv.KindPut && cond == kv.CondVersion:
		a.ActionType = aztables.TransactionTypeUpdateReplace
	case w.Kind == kv.KindDelete && (cond == kv.CondNone || cond == kv.CondVersion):
		a.ActionType = aztables.TransactionTypeDelete
	case w.Kind == kv.KindTouch && cond == kv.CondVersion:
		a.ActionType = aztables.TransactionTypeUpdateMerge
	default:
		return a, kv.UnsupportedWrite(w)
	}
	if cond == kv.CondVersion {
		match, err := etagOf(w.Condition.Version)
		if err != nil {
			return a, err
		}
		a.IfMatch = match
	}
	switch w.Kind {
	case kv.KindPut:
		a.Entity = l.encode(w.Record)
	case kv.KindTouch:
		a.Entity = l.encodeMetadata(w.Record)
	}
	return a, nil
}

// atomicActions returns what the service is asked for the writes of a WriteAtomic, of which
// each must leave something for the service to judge, and a deletion without a condition
// must not fail for want of an entity.
func (l *layout) atomicActions(writes []kv.Write) ([]aztables.TransactionAction, error) {
	actions := make([]aztables.TransactionAction, len(writes))
	for i, w := range writes {
		var err error
		switch {
		case w.Kind == kv.KindDelete && w.Condition.Kind == kv.CondNone:
			actions[i] = aztables.TransactionAction{ActionType: aztables.TransactionTypeInsertReplace, Entity: l.encode(tombstone(w))}
		case w.Kind == kv.KindCheck && w.Condition.Kind == kv.CondAbsent:
			actions[i] = aztables.TransactionAction{ActionType: aztables.TransactionTypeAdd, Entity: l.encode(tombstone(w))}
		case w.Kind == kv.KindCheck && w.Condition.Kind == kv.CondVersion:
			actions[i] = aztables.TransactionAction{ActionType: aztables.TransactionTypeUpdateMerge, Entity: l.encodeCheck(w)}
			actions[i].IfMatch, err = etagOf(w.Condition.Version)
		case w.Kind == kv.KindDelete:
			actions[i], err = l.action(w)
			actions[i].Entity = l.encodeKey(w.Key)
		default:
			actions[i], err = l.action(w)
		}
		if err != nil {
			return nil, err
		}
	}
	return actions, nil
}

// tombstoneExpires is the expiry of a tombstone. By every clock it has passed.
const tombstoneExpires = 1

// tombstone returns the record that a WriteAtomic leaves where it deletes without a
// condition, or finds nothing as it should: its token tells that the WriteAtomic was
// carried out. leavesTombstone says which writes have one.
func tombstone(w kv.Write) kv.Record {
	return kv.Record{Key: w.Key, Expires: tombstoneExpires, Token: w.Token}
}

func (l *layout) leavesTombstone(w kv.Write) bool {
	return w.Kind == kv.KindDelete && w.Condition.Kind == kv.CondNone || w.Kind == kv.KindCheck && w.Condition.Kind == kv.CondAbsent
}

// etagOf returns a version as the ETag that it is. Versions come from outside, as
// text that anybody can make up, and in a request "*" would match any entity.
func etagOf(version string) (*azcore.ETag, error) {
	if !isETag(version) {
		return nil, &kv.Error{Kind: kv.ErrInvalidVersion, Err: errors.New("the version holds no ETag; want what Get, Put or a scan returned")}
	}
	etag := azcore.ETag(version)
	return &etag, nil
}

// isETag reports whether s is one entity tag: printable ASCII without quotes and
// spaces, in quotes, perhaps after W/.
// https://www.rfc-editor.org/rfc/rfc9110#name-etag
func isETag(s string) bool {
	s = strings.TrimPrefix(s, "W/")
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return false
	}
	return !strings.ContainsFunc(s[1:len(s)-1], func(r rune) bool { return r < '!' || r == '"' || r > '~' })
}

// encode returns the entity of rec as JSON. No part of it needs escaping: keys,
// tokens, predecessors and base64 are made of harmless characters.
func (l *layout) encode(rec kv.Record) []byte {
	const perPart = len(`,"v5@odata.type":"Edm.Binary","v5":"=="`)
	parts := len(rec.Value)/maxPart + 1
	b := make([]byte, 0, 140+len(rec.Key)+len(rec.Token)+len(rec.Predecessors)+parts*perPart+base64.StdEncoding.EncodedLen(len(rec.Value)))
	b = appendKey(b, l.partition(rec.Key), rec.Key)
	value := rec.Value
	for i := 0; i == 0 || len(value) > 0; i++ {
		part := value[:min(len(value), maxPart)]
		value = value[len(part):]
		b = append(b, `,"`...)
		b = appendPartName(b, i)
		b = append(b, `@odata.type":"`+typeBinary+`","`...)
		b = appendPartName(b, i)
		b = append(b, `":"`...)
		b = base64.StdEncoding.AppendEncode(b, part)
		b = append(b, '"')
	}
	return appendMetadata(b, rec)
}

// encodeMetadata returns the entity of rec without a value: what a merge changes.
func (l *layout) encodeMetadata(rec kv.Record) []byte {
	b := make([]byte, 0, 140+len(rec.Key)+len(rec.Token)+len(rec.Predecessors))
	return appendMetadata(appendKey(b, l.partition(rec.Key), rec.Key), rec)
}

// appendMetadata appends what an entity has beside its keys and its value.
func appendMetadata(b []byte, rec kv.Record) []byte {
	b = append(b, `,"`+propExpires+`@odata.type":"`+typeInt64+`","`+propExpires+`":"`...)
	b = strconv.AppendInt(b, rec.Expires, 10)
	b = append(b, `","`+propToken+`":"`...)
	b = append(b, rec.Token...)
	b = append(b, `","`+propPredecessors+`":"`...)
	b = append(b, rec.Predecessors...)
	return append(b, `"}`...)
}

// encodeKey returns the entity of key as a transaction wants it for a deletion.
func (l *layout) encodeKey(key string) []byte {
	return append(appendKey(make([]byte, 0, 40+len(key)), l.partition(key), key), '}')
}

// encodeCheck returns the entity that is merged into the one under the key of a check. That
// gives it another ETag, and changes nothing that a store reads: another token would hide
// whose write it is.
func (l *layout) encodeCheck(w kv.Write) []byte {
	b := appendKey(make([]byte, 0, 80+len(w.Key)), l.partition(w.Key), w.Key)
	b = append(b, `,"`+propChecked+`":"`...)
	b = append(b, w.Token...)
	return append(b, `"}`...)
}

func appendKey(b []byte, partition, key string) []byte {
	b = append(b, `{"PartitionKey":"`...)
	b = append(b, partition...)
	b = append(b, `","RowKey":"`...)
	b = append(b, key...)
	return append(b, '"')
}

func appendPartName(b []byte, i int) []byte {
	b = append(b, propValue...)
	if i > 0 {
		b = strconv.AppendInt(b, int64(i), 10)
	}
	return b
}

// entity is what the JSON of an entity holds, as literals in it; absent ones are
// empty.
type entity struct {
	partitionKey, rowKey, etag                []byte
	values, valueTypes                        [maxParts][]byte
	expires, expiresType, token, predecessors []byte
}

// parse reads an entity.
func (l *layout) parse(body []byte) (entity, error) {
	var e entity
	err := eachProperty(body, func(name, literal []byte) {
		if field := l.field(&e, name); field != nil {
			*field = literal
		}
	})
	return e, err
}

// field returns the place of a property, nil for one that is of no interest.
func (l *layout) field(e *entity, name []byte) *[]byte {
	switch string(name) {
	case "PartitionKey":
		return &e.partitionKey
	case "RowKey":
		return &e.rowKey
	case "odata.etag":
		return &e.etag
	case propValue:
		return &e.values[0]
	case propValue + "@odata.type":
		return &e.valueTypes[0]
	case propExpires:
		return &e.expires
	case propExpires + "@odata.type":
		return &e.expiresType
	case propToken:
		return &e.token
	case propPredecessors:
		return &e.predecessors
	}
	if len(name) < 2 || name[0] != propValue[0] || name[1] < '1' || name[1] >= '0'+maxParts {
		return nil
	}
	part := name[1] - '0'
	switch string(name[2:]) {
	case "":
		return &e.values[part]
	case "@odata.type":
		return &e.valueTypes[part]
	}
	return nil
}

// in reports whether an entity is in a partition, and has a RowKey.
func (e *entity) in(partition string) bool {
	return isText(e.partitionKey, partition) && len(e.rowKey) > 0 && e.rowKey[0] == '"'
}

// is reports whether an entity has both keys.
func (e *entity) is(partition, row string) bool {
	return isText(e.partitionKey, partition) && isText(e.rowKey, row)
}

// key returns the key under which an entity is, and version its ETag, "" where the
// service did not say.
func (e *entity) key() string {
	key, _ := text(e.rowKey)
	return key
}

func (e *entity) version() string {
	etag, _ := text(e.etag)
	return etag
}

// record returns an entity as the record under key, or an error that says why it
// is none.
func (l *layout) record(e *entity, key string, withValue bool) (kv.Record, error) {
	none := kv.Record{Key: key}
	expires, ok := unescaped(e.expires)
	if !ok || string(e.expiresType) != `"`+typeInt64+`"` {
		return none, errForeign("property "+propExpires, typeInt64)
	}
	instant, err := strconv.ParseInt(string(expires), 10, 64)
	if err != nil || instant < 0 {
		return none, errForeign("property "+propExpires, "milliseconds since 1970, or 0")
	}
	token, ok := unescaped(e.token)
	if !ok || len(token) != kv.TokenLen {
		return none, errForeign("property "+propToken, fmt.Sprintf("%d characters", kv.TokenLen))
	}
	predecessors, ok := text(e.predecessors)
	if !ok || len(predecessors) > kv.MaxPredecessorsLen {
		return none, errForeign("property "+propPredecessors, fmt.Sprintf("at most %d characters", kv.MaxPredecessorsLen))
	}
	rec := kv.Record{Key: key, Expires: instant, Token: string(token), Predecessors: predecessors}
	if withValue {
		if rec.Value, err = e.value(); err != nil {
			return none, err
		}
	}
	return rec, nil
}

// value returns the value, put together from its parts.
func (e *entity) value() ([]byte, error) {
	size := 0
	for _, part := range e.values {
		size += base64.StdEncoding.DecodedLen(max(0, len(part)-len(`""`)))
	}
	value := make([]byte, 0, size)
	for i, part := range e.values {
		if i > 0 && (len(part) == 0 || string(part) == "null") {
			continue
		}
		content, ok := unescaped(part)
		if !ok || string(e.valueTypes[i]) != `"`+typeBinary+`"` {
			return nil, errForeignPart(i, typeBinary)
		}
		if len(value) != i*maxPart {
			return nil, errForeignPart(i, fmt.Sprintf("%d bytes before it", i*maxPart))
		}
		var err error
		if value, err = base64.StdEncoding.AppendDecode(value, content); err != nil {
			return nil, errForeignPart(i, "base64")
		}
		if n := len(value) - i*maxPart; n > maxPart || i > 0 && n == 0 {
			return nil, errForeignPart(i, fmt.Sprintf("1 to %d bytes", maxPart))
		}
	}
	return value, nil
}

func errForeignPart(i int, want string) error {
	return errForeign("property "+string(appendPartName(nil, i)), want)
}

// layoutRecord is the content of the layout record. Both are Edm.Int32.
type layoutRecord struct {
	Format int `json:"format"`
	Shards int `json:"shards"`
}

// checkLayout compares the table's layout record to the driver's layout, and creates
// it when there is none.
func (d *driver) checkLayout(ctx context.Context) error {
	found, err := d.readLayout(ctx)
	if err == nil && found == nil {
		if found, err = d.createLayout(ctx); err == nil && found == nil {
			// Somebody else was first.
			found, err = d.readLayout(ctx)
		}
	}
	switch {
	case err != nil:
		return err
	case found == nil:
		return &kv.Error{Kind: kv.ErrUnavailable, Err: fmt.Errorf("the layout record of table %s vanished", d.name)}
	case found.shards != d.layout.shards:
		return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("table %s has %d shards; want %d", d.name, found.shards, d.layout.shards)}
	}
	return nil
}

// readLayout returns the layout that the layout record says, or nil when there is no
// such record. It makes a query: to a request for one entity, the service answers the
// same whether the entity or the table is missing.
func (d *driver) readLayout(ctx context.Context) (*layout, error) {
	_, body, err := d.queryOne(ctx, layoutPartition, layoutRow, true, nil)
	if body == nil || err != nil {
		return nil, d.errNotProvisioned(err)
	}
	var found layoutRecord
	switch err := json.Unmarshal(body, &found); {
	case err != nil, found.Format == 0:
		return nil, errForeign("the layout record of table "+d.name, fmt.Sprintf("format %d", layoutFormat))
	case found.Format != layoutFormat: // another version of skykv wrote it
		return nil, errForeign(fmt.Sprintf("format %d of table %s", found.Format, d.name), fmt.Sprintf("format %d", layoutFormat))
	case found.Shards < 1 || found.Shards > MaxShards:
		return nil, errForeign("the layout record of table "+d.name, fmt.Sprintf("1 to %d shards", MaxShards))
	}
	return newLayout(found.Shards), nil
}

// createLayout creates the layout record of the driver's layout and returns that, or
// nil when there is a record.
func (d *driver) createLayout(ctx context.Context) (*layout, error) {
	body, err := json.Marshal(struct {
		PartitionKey, RowKey string
		layoutRecord
	}{layoutPartition, layoutRow, layoutRecord{Format: layoutFormat, Shards: d.layout.shards}})
	if err != nil {
		return nil, err
	}
	callCtx, call := d.watch(ctx, nil)
	resp, err := d.table.AddEntity(callCtx, body, nil)
	err = call.end(err)
	switch {
	case err == nil && resp.ETag == "":
		return nil, errAnswer(errNoETag)
	case err == nil:
		return d.layout, nil
	case codeOf(err) == aztables.EntityAlreadyExists:
		return nil, nil
	}
	return nil, d.errNotProvisioned(call.failRead(err))
}
