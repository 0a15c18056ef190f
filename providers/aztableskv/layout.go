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

	"github.com/skykv/skykv/internal/alien"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

// layout says how records are stored in a table: the properties and their names, the
// partitions, the filters of queries, the conditions of writes and the layout record.
// doc.go describes both layouts. Only this file knows them.
type layout struct {
	name       provider.Layout
	driver     string   // the driver's name; it differs between layouts, because a version is valid in one layout only
	partitions []string // the PartitionKey of each shard

	shard         func(key string) int
	shardOfPrefix func(prefix string) (int, bool) // nil if keys of one group are in several shards

	metadata string // the $select of a read without values

	// shared reports whether other programs write entities too. These programs do not know
	// the properties propAlienToken and propAlienPredecessors. So these two properties are
	// valid only while propAlienToken agrees with CreatedAt and ExpiresAt: see alienMetadata.
	shared bool
}

// layoutFormat is the version of the layouts that doc.go describes.
const layoutFormat = 2

// These are the properties of an entity in skykv's own layout, besides PartitionKey and
// RowKey. Every entity has them, except propChecked and the further parts of the value, which
// are optional.
const (
	propValue        = "v" // the further parts are in v1, v2 and so on
	propExpires      = "x" // 0 for an entry that does not expire
	propToken        = "t"
	propPredecessors = "p"
	propChecked      = "c" // the token of the last check since the last put; nothing reads it

	typeBinary = "Edm.Binary"
	typeInt64  = "Edm.Int64"
)

// These are the properties of an entity in the layout of the Alien platform. All are
// strings. Only skykv uses the last two.
const (
	propAlienValue        = "Value"     // in base64
	propAlienExpires      = "ExpiresAt" // absent for an entry that does not expire
	propAlienCreated      = "CreatedAt"
	propAlienToken        = "skykv_t" // the token, CreatedAt and ExpiresAt of skykv's write
	propAlienPredecessors = "skykv_p"
)

// skykv writes ExpiresAt and CreatedAt in this format. The texts sort in the order of the
// instants.
const (
	instantFormat = "2006-01-02T15:04:05.000"
	instantZone   = "+00:00"

	// never is the ExpiresAt of an entry whose expiry was removed by a touch, because a
	// merge cannot remove a property. It is later than any expiry of skykv.
	never = "9999-12-31T23:59:59.999999999" + instantZone
)

// A value is stored in parts of maxPart bytes, the greatest size of a property:
// https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model#property-types
// The last part may be shorter. It is empty only if it is the only part.
const (
	maxPart  = 64 << 10
	maxParts = 6
)

// These are the keys of the layout record. Its partition is not a shard in either layout.
const (
	layoutPartition = "skykv"
	layoutRow       = "layout"
)

// newLayout returns skykv's own layout.
func newLayout(shards int) *layout {
	l := &layout{
		name: provider.LayoutSkykv, driver: name,
		shard:         func(key string) int { return kv.Shard(key, shards) },
		shardOfPrefix: func(prefix string) (int, bool) { return kv.ShardOfPrefix(prefix, shards) },
		metadata:      "PartitionKey,RowKey," + propExpires + "," + propToken + "," + propPredecessors,
	}
	for i := range shards {
		l.partitions = append(l.partitions, fmt.Sprintf("%02x", i))
	}
	return l
}

// alienLayout is the layout of the Alien platform's programs, plus two properties of
// skykv.
var alienLayout = func() *layout {
	l := &layout{
		name: provider.LayoutAlien, driver: name + "-alien", shared: true,
		shard: alien.Bucket,
		metadata: "PartitionKey,RowKey," + propAlienExpires + "," + propAlienCreated + "," +
			propAlienToken + "," + propAlienPredecessors,
	}
	for bucket := range alien.Buckets {
		l.partitions = append(l.partitions, fmt.Sprintf("p%d", bucket))
	}
	return l
}()

func (l *layout) shards() int { return len(l.partitions) }

func (l *layout) partition(key string) string { return l.partitions[l.shard(key)] }

// maxValueLen returns the greatest length of a value. maxAtomicWrites returns the greatest
// number of writes in an AtomicWrite.
func (l *layout) maxValueLen() int {
	if l.shared {
		return kv.MaxValueLen // in base64, this fills a string
	}
	return kv.MaxLargeValueLen
}

func (l *layout) maxAtomicWrites() int {
	if l.shared {
		return 0 // the keys of a group are in several partitions
	}
	return maxTransaction
}

// The following functions return filters of queries:
// https://learn.microsoft.com/rest/api/storageservices/querying-tables-and-entities

// keyFilter selects the entity with this PartitionKey and this RowKey.
func (l *layout) keyFilter(partition, row string) string {
	return "PartitionKey eq '" + partition + "' and RowKey eq '" + row + "'"
}

// scanFilter selects the entities of a scan.
func (l *layout) scanFilter(req kv.ScanRequest) string {
	filter := "PartitionKey eq '" + l.partitions[req.Shard] + "' and RowKey ge '" + req.From + "' and RowKey le '" + req.To + "'"
	if req.Now > 0 {
		// The negation also selects entities without an expiry, because a comparison with
		// an absent property is false.
		filter += " and not (" + l.expiredFilter(req.Now) + ")"
	}
	return filter
}

// expiredFilter selects entities that have expired at an instant. In the shared layout it
// selects only the entities that expired at least a day before, because the service compares
// texts, and other programs may write instants in other time zones.
func (l *layout) expiredFilter(instant int64) string {
	if l.shared {
		return expiresBefore(time.UnixMilli(instant).Add(-24 * time.Hour))
	}
	return expiredAt(instant)
}

// sweepFilter selects the entities of a shard that a sweep reads: all that it deletes, and a
// few that it then keeps. now is the time by the sweep's clock. Entities without an expiry do
// not match, so the sweep does not read them.
func (l *layout) sweepFilter(shard int, now time.Time) string {
	return "PartitionKey eq '" + l.partitions[shard] + "' and " + l.unsweptFilter(now)
}

// unsweptFilter is like sweepFilter, for all shards. It leaves out young tombstones, because
// the atomic writes that stored them may still look for their tokens.
func (l *layout) unsweptFilter(now time.Time) string {
	until := sweptUntil(now)
	if l.shared {
		return expiresBefore(until.Add(time.Millisecond))
	}
	return expiredAt(until.UnixMilli()) +
		" and (" + propExpires + " gt " + strconv.Itoa(tombstoneExpires) + "L or Timestamp lt datetime'" + until.UTC().Format(time.RFC3339) + "')"
}

// unswept reports whether a sweep deletes a record. A record does not say how old a tombstone
// is, so unswept returns true for every tombstone.
func (l *layout) unswept(rec kv.Record, now time.Time) bool {
	return rec.Expires > 0 && rec.Expires <= sweptUntil(now).UnixMilli()
}

func sweptUntil(now time.Time) time.Time { return now.Add(-kv.ExpiryGrace) }

func expiredAt(instant int64) string {
	return propExpires + " gt 0L and " + propExpires + " le " + strconv.FormatInt(instant, 10) + "L"
}

// expiresBefore selects entities of the shared layout whose ExpiresAt sorts before an
// instant. The filter is exact for an ExpiresAt in UTC.
func expiresBefore(instant time.Time) string {
	return propAlienExpires + " lt '" + instant.UTC().Format(instantFormat) + "'"
}

// action returns the SDK's operation for a write at the instant now. The operation of a
// deletion has no entity. A transaction needs one: the caller of action adds it with
// encodeKey. action returns an error for a kind of write or condition that it does not know, and
// for a version that is not an ETag.
func (l *layout) action(w kv.Write, now int64) (aztables.TransactionAction, error) {
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
		a.Entity = l.encode(w.Record, now)
	case kv.KindTouch:
		a.Entity = l.encodeMetadata(w.Record, now)
	}
	return a, nil
}

// atomicActions returns the operations for the writes of a WriteAtomic. Every operation has
// a condition that the service can check, or none. A deletion without a condition becomes a
// put of a tombstone, because the service would refuse to delete an absent entity. A check
// becomes an insertion of a tombstone, or a merge.
func (l *layout) atomicActions(writes []kv.Write, now int64) ([]aztables.TransactionAction, error) {
	actions := make([]aztables.TransactionAction, len(writes))
	for i, w := range writes {
		var err error
		switch {
		case w.Kind == kv.KindDelete && w.Condition.Kind == kv.CondNone:
			actions[i] = aztables.TransactionAction{ActionType: aztables.TransactionTypeInsertReplace, Entity: l.encode(tombstone(w), now)}
		case w.Kind == kv.KindCheck && w.Condition.Kind == kv.CondAbsent:
			actions[i] = aztables.TransactionAction{ActionType: aztables.TransactionTypeAdd, Entity: l.encode(tombstone(w), now)}
		case w.Kind == kv.KindCheck && w.Condition.Kind == kv.CondVersion:
			actions[i] = aztables.TransactionAction{ActionType: aztables.TransactionTypeUpdateMerge, Entity: l.encodeCheck(w)}
			actions[i].IfMatch, err = etagOf(w.Condition.Version)
		case w.Kind == kv.KindDelete:
			actions[i], err = l.action(w, now)
			actions[i].Entity = l.encodeKey(w.Key)
		default:
			actions[i], err = l.action(w, now)
		}
		if err != nil {
			return nil, err
		}
	}
	return actions, nil
}

// tombstoneExpires is the expiry of a tombstone: an instant in 1970, which has passed.
const tombstoneExpires = 1

// tombstone returns the record that a WriteAtomic stores for w, which is a deletion without
// a condition or a check for absence. The token of the tombstone shows that the WriteAtomic
// was carried out. leavesTombstone reports whether w needs a tombstone.
func tombstone(w kv.Write) kv.Record {
	return kv.Record{Key: w.Key, Expires: tombstoneExpires, Token: w.Token}
}

func (l *layout) leavesTombstone(w kv.Write) bool {
	return w.Kind == kv.KindDelete && w.Condition.Kind == kv.CondNone || w.Kind == kv.KindCheck && w.Condition.Kind == kv.CondAbsent
}

// etagOf returns the ETag of a version. A version comes from the caller, and may be any
// text. It is checked because "*", for example, would match every entity.
func etagOf(version string) (*azcore.ETag, error) {
	if !isETag(version) {
		return nil, &kv.Error{Kind: kv.ErrInvalidVersion, Err: errors.New("the version is not an ETag; want a version that Get, Put or a scan returned")}
	}
	etag := azcore.ETag(version)
	return &etag, nil
}

// isETag reports whether s is one entity tag: printable ASCII without quotes and spaces, in
// quotes, possibly after W/.
// https://www.rfc-editor.org/rfc/rfc9110#name-etag
func isETag(s string) bool {
	s = strings.TrimPrefix(s, "W/")
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return false
	}
	return !strings.ContainsFunc(s[1:len(s)-1], func(r rune) bool { return r < '!' || r == '"' || r > '~' })
}

// encode returns the JSON of the entity of rec, which is written at the instant now. No part
// of the JSON needs escaping, because keys, tokens, predecessors, instants and base64 have no
// special characters.
func (l *layout) encode(rec kv.Record, now int64) []byte {
	const perPart = len(`,"v5@odata.type":"Edm.Binary","v5":"=="`)
	parts := len(rec.Value)/maxPart + 1
	b := make([]byte, 0, sizeOfMetadata(rec)+parts*perPart+base64.StdEncoding.EncodedLen(len(rec.Value)))
	b = appendKey(b, l.partition(rec.Key), rec.Key)
	if l.shared {
		b = append(b, `,"`+propAlienValue+`":"`...)
		b = base64.StdEncoding.AppendEncode(b, rec.Value)
		b = append(b, '"')
		return appendAlienMetadata(b, rec, now, "")
	}
	return appendMetadata(appendParts(b, rec.Value), rec)
}

// encodeMetadata returns the entity of rec without a value. A touch merges it into the
// stored entity.
func (l *layout) encodeMetadata(rec kv.Record, now int64) []byte {
	b := appendKey(make([]byte, 0, sizeOfMetadata(rec)), l.partition(rec.Key), rec.Key)
	if l.shared {
		return appendAlienMetadata(b, rec, now, never)
	}
	return appendMetadata(b, rec)
}

// sizeOfMetadata returns the approximate size of an entity without its value, in bytes.
func sizeOfMetadata(rec kv.Record) int {
	return 250 + len(rec.Key) + len(rec.Token) + len(rec.Predecessors)
}

// appendParts appends a value in skykv's own layout.
func appendParts(b, value []byte) []byte {
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
	return b
}

// appendMetadata appends all properties of an entity in skykv's own layout, except the keys
// and the value.
func appendMetadata(b []byte, rec kv.Record) []byte {
	b = append(b, `,"`+propExpires+`@odata.type":"`+typeInt64+`","`+propExpires+`":"`...)
	b = strconv.AppendInt(b, rec.Expires, 10)
	b = append(b, `","`+propToken+`":"`...)
	b = append(b, rec.Token...)
	b = append(b, `","`+propPredecessors+`":"`...)
	b = append(b, rec.Predecessors...)
	return append(b, `"}`...)
}

// appendAlienMetadata appends all properties of an entity in the shared layout, except the
// keys and the value. If rec has no expiry, ExpiresAt is set to unlimited, or left out if
// unlimited is "".
func appendAlienMetadata(b []byte, rec kv.Record, now int64, unlimited string) []byte {
	created, expires := instantText(now), unlimited
	if rec.Expires != 0 {
		expires = instantText(rec.Expires)
	}
	b = append(b, `,"`+propAlienCreated+`":"`...)
	b = append(b, created...)
	if expires != "" {
		b = append(b, `","`+propAlienExpires+`":"`...)
		b = append(b, expires...)
	}
	b = append(b, `","`+propAlienToken+`":"`...)
	b = append(b, tokenText(rec.Token, created, expires)...)
	b = append(b, `","`+propAlienPredecessors+`":"`...)
	b = append(b, rec.Predecessors...)
	return append(b, `"}`...)
}

// instantText returns an instant, given in milliseconds since 1970, in the form in which the
// Alien platform's programs write it.
func instantText(ms int64) string {
	ms = max(0, min(ms, kv.MaxExpiry.UnixMilli())) // later years have more digits
	return time.UnixMilli(ms).UTC().Format(instantFormat) + instantZone
}

// tokenText returns the text that holds a token in an entity of the shared layout. The text
// includes copies of CreatedAt and ExpiresAt. If another program changes one of these
// properties, the copies no longer match, and the token is not valid any more.
func tokenText(token, created, expires string) string {
	return token + " " + created + " " + expires
}

// encodeKey returns an entity with only its keys, for a deletion in a transaction.
func (l *layout) encodeKey(key string) []byte {
	return append(appendKey(make([]byte, 0, 40+len(key)), l.partition(key), key), '}')
}

// encodeCheck returns the entity that a check merges into the entity under its key. The
// merge changes the ETag, but no property that a store reads. The merge must not change the
// token, because the token shows which write stored the entity.
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

// entity has the properties of an entity, as literals of its JSON. Absent properties are
// empty.
type entity struct {
	partitionKey, rowKey, etag                []byte
	values, valueTypes                        [maxParts][]byte
	expires, expiresType, token, predecessors []byte
	created                                   []byte // only in the shared layout
}

// parse finds the properties in the JSON of an entity. The method record checks them.
func (l *layout) parse(body []byte) (entity, error) {
	var e entity
	err := eachProperty(body, func(name, literal []byte) {
		if field := l.field(&e, name); field != nil {
			*field = literal
		}
	})
	return e, err
}

// field returns the field of e for the property called name, or nil if there is none.
func (l *layout) field(e *entity, name []byte) *[]byte {
	switch string(name) {
	case "PartitionKey":
		return &e.partitionKey
	case "RowKey":
		return &e.rowKey
	case "odata.etag":
		return &e.etag
	}
	if l.shared {
		return alienField(e, name)
	}
	switch string(name) {
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

// alienField is like field, for the properties of the shared layout.
func alienField(e *entity, name []byte) *[]byte {
	switch string(name) {
	case propAlienValue:
		return &e.values[0]
	case propAlienExpires:
		return &e.expires
	case propAlienCreated:
		return &e.created
	case propAlienToken:
		return &e.token
	case propAlienPredecessors:
		return &e.predecessors
	}
	return nil
}

// The method in reports whether an entity is in this partition, and has a RowKey that is a
// string.
func (e *entity) in(partition string) bool {
	return isText(e.partitionKey, partition) && len(e.rowKey) > 0 && e.rowKey[0] == '"'
}

// The method is reports whether an entity has these two keys.
func (e *entity) is(partition, row string) bool {
	return isText(e.partitionKey, partition) && isText(e.rowKey, row)
}

// key returns the RowKey of an entity. version returns its ETag, or "" if it has none.
func (e *entity) key() string {
	key, _ := text(e.rowKey)
	return key
}

func (e *entity) version() string {
	etag, _ := text(e.etag)
	return etag
}

// record returns the record of an entity under key. It returns ErrIncompatible if the
// entity's properties are not those of the layout.
func (l *layout) record(e *entity, key string, withValue bool) (kv.Record, error) {
	var rec kv.Record
	var err error
	if l.shared {
		rec, err = e.alienMetadata()
	} else {
		rec, err = e.metadata()
	}
	switch {
	case err != nil || !withValue:
	case l.shared:
		rec.Value, err = e.alienValue()
	default:
		rec.Value, err = e.value()
	}
	if err != nil {
		return kv.Record{Key: key}, err
	}
	rec.Key = key
	return rec, nil
}

// metadata reads an entity of skykv's own layout, except its key and its value.
func (e *entity) metadata() (rec kv.Record, err error) {
	expires, ok := unescaped(e.expires)
	if !ok || string(e.expiresType) != `"`+typeInt64+`"` {
		return rec, errForeign("property "+propExpires, typeInt64)
	}
	instant, err := strconv.ParseInt(string(expires), 10, 64)
	if err != nil || instant < 0 {
		return rec, errForeign("property "+propExpires, "milliseconds since 1970, or 0")
	}
	token, ok := unescaped(e.token)
	if !ok || len(token) != kv.TokenLen {
		return rec, errForeign("property "+propToken, fmt.Sprintf("%d characters", kv.TokenLen))
	}
	predecessors, ok := text(e.predecessors)
	if !ok || len(predecessors) > kv.MaxPredecessorsLen {
		return rec, errForeign("property "+propPredecessors, fmt.Sprintf("at most %d characters", kv.MaxPredecessorsLen))
	}
	return kv.Record{Expires: instant, Token: string(token), Predecessors: predecessors}, nil
}

// alienMetadata is like metadata, for the shared layout. An entity without CreatedAt is
// incompatible: the Alien platform's programs refuse it too.
func (e *entity) alienMetadata() (rec kv.Record, err error) {
	created, ok := text(e.created)
	if _, err := time.Parse(time.RFC3339, created); !ok || err != nil {
		return rec, errNoInstant(propAlienCreated)
	}
	expires := ""
	if !isNull(e.expires) {
		expires, ok = text(e.expires)
		instant, err := time.Parse(time.RFC3339, expires)
		if !ok || err != nil {
			return rec, errNoInstant(propAlienExpires)
		}
		rec.Expires = expiryOf(instant)
	}
	all, _ := text(e.token)
	predecessors, ok := text(e.predecessors)
	if token, _, _ := strings.Cut(all, " "); len(token) == kv.TokenLen && all == tokenText(token, created, expires) {
		if rec.Token = token; ok && len(predecessors) <= kv.MaxPredecessorsLen {
			rec.Predecessors = predecessors
		}
	}
	return rec, nil
}

// expiryOf returns the expiry for an ExpiresAt, in milliseconds since 1970, rounded up. For an
// instant after kv.MaxExpiry it returns 0, which means no expiry. For every other instant it
// returns at least 1.
func expiryOf(instant time.Time) int64 {
	if instant.After(kv.MaxExpiry) {
		return 0
	}
	return max(1, instant.Add(time.Millisecond-1).UnixMilli())
}

func errNoInstant(property string) error {
	return errForeign("property "+property, "a string such as "+never)
}

// isNull reports whether a property is absent or null.
func isNull(literal []byte) bool { return len(literal) == 0 || string(literal) == "null" }

// alienValue is like value, for the shared layout.
func (e *entity) alienValue() ([]byte, error) {
	content, ok := unescaped(e.values[0])
	value := make([]byte, 0, base64.StdEncoding.DecodedLen(len(content)))
	value, err := base64.StdEncoding.AppendDecode(value, content)
	if !ok || err != nil {
		return nil, errForeign("property "+propAlienValue, "a string of base64")
	}
	return value, nil
}

// value returns the value of an entity, put together from its parts.
func (e *entity) value() ([]byte, error) {
	size := 0
	for _, part := range e.values {
		size += base64.StdEncoding.DecodedLen(max(0, len(part)-len(`""`)))
	}
	value := make([]byte, 0, size)
	for i, part := range e.values {
		if i > 0 && isNull(part) {
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

// layoutRecord is the content of the layout record. The numbers are Edm.Int32.
type layoutRecord struct {
	Format int             `json:"format"`
	Shards int             `json:"shards"`
	Layout provider.Layout `json:"layout,omitempty"` // absent in skykv's own layout
}

// encodeRecord returns the layout record of a table in this layout.
func (l *layout) encodeRecord() ([]byte, error) {
	record := struct {
		PartitionKey, RowKey string
		layoutRecord
	}{layoutPartition, layoutRow, layoutRecord{Format: layoutFormat, Shards: l.shards()}}
	if l.name != provider.LayoutSkykv {
		record.Layout = l.name
	}
	return json.Marshal(record)
}

// decodeRecord returns the layout that a layout record describes. It returns an error for a
// record that skykv did not write, or of a different format.
func decodeRecord(table string, body []byte) (*layout, error) {
	var found layoutRecord
	record := "the layout record of table " + table
	switch err := json.Unmarshal(body, &found); {
	case err != nil, found.Format == 0:
		return nil, errForeign(record, fmt.Sprintf("format %d", layoutFormat))
	case found.Format != layoutFormat: // another version of skykv wrote it
		return nil, errForeign(fmt.Sprintf("format %d of table %s", found.Format, table), fmt.Sprintf("format %d", layoutFormat))
	case found.Shards < 1 || found.Shards > MaxShards:
		return nil, errForeign(record, fmt.Sprintf("1 to %d shards", MaxShards))
	case found.Layout.Check() != nil:
		return nil, errForeign(record, fmt.Sprintf("layout %s or %s", provider.LayoutSkykv, provider.LayoutAlien))
	case found.Layout == provider.LayoutAlien && found.Shards != alienLayout.shards():
		return nil, errForeign(record, fmt.Sprintf("%d shards in layout %s", alienLayout.shards(), found.Layout))
	case found.Layout == provider.LayoutAlien:
		return alienLayout, nil
	}
	return newLayout(found.Shards), nil
}

// checkRecord returns an error if found, the layout in a layout record, differs from l.
func (l *layout) checkRecord(table string, found *layout) error {
	switch {
	case found.name != l.name:
		return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("table %s has layout %q and was opened with layout %q; want layout=%s", table, found.name, l.name, found.name)}
	case found.shards() != l.shards():
		return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("table %s has %d shards and was opened with %d; want the number with which it was created", table, found.shards(), l.shards())}
	}
	return nil
}

// The method owns reports whether an entity shows that a table without a layout record has this
// layout. It returns false in skykv's own layout, in which nothing is stored before the layout
// record.
func (l *layout) owns(body []byte) bool {
	e, err := l.parse(body)
	if !l.shared || err != nil || kv.ValidateKey(e.key()) != nil || !e.in(l.partition(e.key())) {
		return false
	}
	_, err = l.record(&e, e.key(), true)
	return err == nil
}

// checkLayout reads the layout record. In a table without a record and without entities of
// other programs, it creates the record if the caller named the layout, and otherwise returns
// ErrNotProvisioned. It returns ErrIncompatible if the record has a different layout, format or
// number of shards, or if the table belongs to another program.
func (d *driver) checkLayout(ctx context.Context) error {
	found, err := d.readLayout(ctx)
	if err == nil && found == nil {
		found, err = d.checkOwner(ctx)
	}
	if err == nil && found == nil {
		if !d.claims {
			return d.errUnclaimed()
		}
		found, err = d.createLayout(ctx)
	}
	if err != nil {
		return err
	}
	return d.layout.checkRecord(d.name, found)
}

// errUnclaimed returns the error of a table that has no layout yet.
func (d *driver) errUnclaimed() *kv.Error {
	return &kv.Error{Kind: kv.ErrNotProvisioned, Err: fmt.Errorf("table %s is empty and has no layout record: providers.Ensure writes it, and so does opening the table with layout=%s or layout=%s", d.name, provider.LayoutSkykv, provider.LayoutAlien)}
}

// readLayout returns the layout in the layout record, or nil if there is none. It makes a
// query, because the response to a request for one entity may be the same whether the entity
// or the table is missing.
func (d *driver) readLayout(ctx context.Context) (*layout, error) {
	_, body, err := d.queryOne(ctx, layoutPartition, layoutRow, true, nil)
	if body == nil || err != nil {
		return nil, d.errNotProvisioned(err)
	}
	return decodeRecord(d.name, body)
}

// checkOwner returns an error if a table without a layout record belongs to another program.
// It looks only at the first entity. It returns nil, nil if the table is empty, or if the first
// entity is in the driver's layout. If another program has just created the layout record,
// checkOwner returns that record's layout.
func (d *driver) checkOwner(ctx context.Context) (*layout, error) {
	body, err := d.firstEntity(ctx)
	if body == nil || err != nil || d.layout.owns(body) {
		return nil, err
	}
	found, err := d.readLayout(ctx)
	if err != nil || found != nil {
		return found, err
	}
	e := fmt.Errorf("table %s has entities but no layout record of skykv: it belongs to another program", d.name)
	if alienLayout.owns(body) {
		e = fmt.Errorf("%w, on the Alien platform; want layout=%s", e, provider.LayoutAlien)
	}
	return nil, &kv.Error{Kind: kv.ErrIncompatible, Err: e}
}

// firstEntity returns the JSON of the first entity of the table, or nil if the table is empty.
func (d *driver) firstEntity(ctx context.Context) ([]byte, error) {
	for body, err := range d.list(ctx, kv.ScanRequest{Limit: 1, WithValue: true, Alone: true}, "") {
		return body, err
	}
	return nil, nil
}

// createLayout creates the layout record, unless another program has just created it. It
// returns the layout in the record.
func (d *driver) createLayout(ctx context.Context) (*layout, error) {
	body, err := d.layout.encodeRecord()
	if err != nil {
		return nil, err
	}
	callCtx, call := d.watch(ctx, nil)
	resp, err := d.table.AddEntity(callCtx, body, nil)
	err = call.end(err)
	switch {
	case err == nil && !isETag(string(resp.ETag)):
		return nil, errAnswer(errNoETag)
	case err == nil:
		return d.layout, nil
	case codeOf(err) != aztables.EntityAlreadyExists:
		return nil, d.errNotProvisioned(call.failRead(err))
	}
	found, err := d.readLayout(ctx)
	if err == nil && found == nil {
		err = &kv.Error{Kind: kv.ErrUnavailable, Err: fmt.Errorf("the layout record of table %s vanished", d.name)}
	}
	return found, err
}
