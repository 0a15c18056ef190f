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
	driver     string   // the driver's name, which differs because versions belong to a layout
	partitions []string // the PartitionKey of each shard

	shard         func(key string) int
	shardOfPrefix func(prefix string) (int, bool) // nil if keys of one group are in several shards

	metadata string // the $select of a read without values

	// shared says that other programs write entities too, and do not know the properties
	// propAlienToken and propAlienPredecessors. These are valid only while the rest of the
	// entity agrees with them.
	shared bool
}

// layoutFormat is the version of the layouts that doc.go describes.
const layoutFormat = 2

// The properties of an entity in skykv's own layout, besides its PartitionKey and RowKey.
// An entity has all of them, except the further parts of a value and propChecked.
const (
	propValue        = "v" // its further parts are in v1, v2 and so on
	propExpires      = "x" // 0 for an entry that does not expire
	propToken        = "t"
	propPredecessors = "p"
	propChecked      = "c" // the token of the last check since the last put; nothing reads it

	typeBinary = "Edm.Binary"
	typeInt64  = "Edm.Int64"
)

// The properties of an entity in the layout of the reference platform. All are strings.
// The last two are skykv's own.
const (
	propAlienValue        = "Value"     // in base64
	propAlienExpires      = "ExpiresAt" // absent for an entry that does not expire
	propAlienCreated      = "CreatedAt"
	propAlienToken        = "skykv_t" // the token, CreatedAt and ExpiresAt of skykv's write
	propAlienPredecessors = "skykv_p"
)

// The format of ExpiresAt and CreatedAt. Their texts sort like their instants.
const (
	instantFormat = "2006-01-02T15:04:05.000"
	instantZone   = "+00:00"

	// never is the ExpiresAt of an entry whose expiry a touch removed: a merge cannot
	// remove a property. It is later than any expiry of skykv.
	never = "9999-12-31T23:59:59.999999999" + instantZone
)

// A value is in parts of maxPart bytes, the greatest size of a property:
// https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model#property-types
// The last part may be shorter. It is not empty unless it is the only one.
const (
	maxPart  = 64 << 10
	maxParts = 6
)

// The keys of the layout record. Its partition is not a shard in either layout.
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

// alienLayout is the layout of the reference platform's programs, with two properties of
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

// maxValueLen returns the greatest length of a value, and maxAtomicWrites the greatest
// number of writes of an AtomicWrite.
func (l *layout) maxValueLen() int {
	if l.shared {
		return kv.MaxValueLen // its base64 fills a string
	}
	return kv.MaxLargeValueLen
}

func (l *layout) maxAtomicWrites() int {
	if l.shared {
		return 0 // the keys of a group are in several partitions
	}
	return maxTransaction
}

// The filters of queries: https://learn.microsoft.com/rest/api/storageservices/querying-tables-and-entities

// keyFilter selects the entity of both keys.
func (l *layout) keyFilter(partition, row string) string {
	return "PartitionKey eq '" + partition + "' and RowKey eq '" + row + "'"
}

// scanFilter selects the entities of a scan.
func (l *layout) scanFilter(req kv.ScanRequest) string {
	filter := "PartitionKey eq '" + l.partitions[req.Shard] + "' and RowKey ge '" + req.From + "' and RowKey le '" + req.To + "'"
	if req.Now > 0 {
		// This form also selects entities without an expiry: a comparison with an absent
		// property is false.
		filter += " and not (" + l.expiredFilter(req.Now) + ")"
	}
	return filter
}

// expiredFilter selects entities that have expired at an instant. In the shared layout it
// selects those that expired a day before: others may write instants in another zone.
func (l *layout) expiredFilter(instant int64) string {
	if l.shared {
		return expiresBefore(time.UnixMilli(instant).Add(-24 * time.Hour))
	}
	return expiredAt(instant)
}

// sweepFilter selects the entities of a shard that a sweep deletes, by its clock.
// Entities without an expiry do not match, so the sweep does not read them.
func (l *layout) sweepFilter(shard int, now time.Time) string {
	return "PartitionKey eq '" + l.partitions[shard] + "' and " + l.unsweptFilter(now)
}

// unsweptFilter selects the entities of all shards that a sweep deletes. unswept reports
// the same for a record, but does not know the age of a tombstone, whose writer may still
// look for it.
func (l *layout) unsweptFilter(now time.Time) string {
	until := sweptUntil(now)
	if l.shared {
		return expiresBefore(until.Add(time.Millisecond))
	}
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

// expiresBefore selects entities of the shared layout whose ExpiresAt sorts before an
// instant. It is exact for an ExpiresAt in UTC.
func expiresBefore(instant time.Time) string {
	return propAlienExpires + " lt '" + instant.UTC().Format(instantFormat) + "'"
}

// action returns the operation of a transaction for a write at an instant. A deletion has
// no entity yet: see encodeKey. The error is about a write that the driver does not know,
// or a version that is not an ETag.
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

// atomicActions returns the operations for the writes of a WriteAtomic. Each must be one
// that the service can judge, and a deletion without a condition must not fail if there is
// no entity.
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

// tombstoneExpires is the expiry of a tombstone. It has passed by every clock.
const tombstoneExpires = 1

// tombstone returns the record that a WriteAtomic stores for a deletion without a
// condition or a check for absence. Its token shows that the WriteAtomic was carried out.
// leavesTombstone says which writes have one.
func tombstone(w kv.Write) kv.Record {
	return kv.Record{Key: w.Key, Expires: tombstoneExpires, Token: w.Token}
}

func (l *layout) leavesTombstone(w kv.Write) bool {
	return w.Kind == kv.KindDelete && w.Condition.Kind == kv.CondNone || w.Kind == kv.KindCheck && w.Condition.Kind == kv.CondAbsent
}

// etagOf returns the ETag of a version. Versions come from callers, who can make up any
// text, and in a request "*" would match every entity.
func etagOf(version string) (*azcore.ETag, error) {
	if !isETag(version) {
		return nil, &kv.Error{Kind: kv.ErrInvalidVersion, Err: errors.New("the version is not an ETag; want a version that Get, Put or a scan returned")}
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

// encode returns the JSON of the entity of rec, which is written at an instant. Nothing
// in it needs escaping: keys, tokens, predecessors, instants and base64 have no special
// characters.
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

// encodeMetadata returns the entity of rec without a value, for a merge.
func (l *layout) encodeMetadata(rec kv.Record, now int64) []byte {
	b := appendKey(make([]byte, 0, sizeOfMetadata(rec)), l.partition(rec.Key), rec.Key)
	if l.shared {
		return appendAlienMetadata(b, rec, now, never)
	}
	return appendMetadata(b, rec)
}

// sizeOfMetadata returns about the size of an entity without its value, in bytes.
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

// appendMetadata appends the other properties of an entity in skykv's own layout.
func appendMetadata(b []byte, rec kv.Record) []byte {
	b = append(b, `,"`+propExpires+`@odata.type":"`+typeInt64+`","`+propExpires+`":"`...)
	b = strconv.AppendInt(b, rec.Expires, 10)
	b = append(b, `","`+propToken+`":"`...)
	b = append(b, rec.Token...)
	b = append(b, `","`+propPredecessors+`":"`...)
	b = append(b, rec.Predecessors...)
	return append(b, `"}`...)
}

// appendAlienMetadata appends the other properties of an entity in the shared layout.
// Without an expiry, ExpiresAt is unlimited, or absent if unlimited is "".
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

// instantText returns milliseconds since 1970 as the reference platform's programs write
// them.
func instantText(ms int64) string {
	ms = max(0, min(ms, kv.MaxExpiry.UnixMilli())) // later years have more digits
	return time.UnixMilli(ms).UTC().Format(instantFormat) + instantZone
}

// tokenText returns the text of a token in an entity of the shared layout: with the
// properties that every write of other programs changes.
func tokenText(token, created, expires string) string {
	return token + " " + created + " " + expires
}

// encodeKey returns the entity of key for a deletion in a transaction.
func (l *layout) encodeKey(key string) []byte {
	return append(appendKey(make([]byte, 0, 40+len(key)), l.partition(key), key), '}')
}

// encodeCheck returns the entity that a check merges into the entity under its key. That
// changes the ETag, and nothing that a store reads. It must not change the token, which
// shows who wrote the entity.
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

// entity has the properties of an entity, as literals of its JSON. Absent ones are empty.
type entity struct {
	partitionKey, rowKey, etag                []byte
	values, valueTypes                        [maxParts][]byte
	expires, expiresType, token, predecessors []byte
	created                                   []byte // in the shared layout
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

// field returns the field of e for a property, nil if there is none.
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

// alienField is field for the properties of the shared layout.
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

// in reports whether an entity is in a partition, and has a RowKey.
func (e *entity) in(partition string) bool {
	return isText(e.partitionKey, partition) && len(e.rowKey) > 0 && e.rowKey[0] == '"'
}

// is reports whether an entity has both keys.
func (e *entity) is(partition, row string) bool {
	return isText(e.partitionKey, partition) && isText(e.rowKey, row)
}

// key returns the RowKey of an entity, and version its ETag, "" if there is none.
func (e *entity) key() string {
	key, _ := text(e.rowKey)
	return key
}

func (e *entity) version() string {
	etag, _ := text(e.etag)
	return etag
}

// record returns the record of an entity under key. An entity that is not of the layout
// is ErrIncompatible.
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

// alienMetadata is metadata for the shared layout. The reference platform's programs also
// refuse an entity without CreatedAt.
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

// expiryOf returns the expiry of an ExpiresAt in milliseconds, rounded up. It is at least
// 1, which has always expired, and 0 if ExpiresAt is later than every expiry.
func expiryOf(instant time.Time) int64 {
	if instant.After(kv.MaxExpiry) {
		return 0
	}
	return max(1, instant.Add(time.Millisecond-1).UnixMilli())
}

func errNoInstant(property string) error {
	return errForeign("property "+property, "a string such as "+never)
}

// isNull reports whether a property is absent.
func isNull(literal []byte) bool { return len(literal) == 0 || string(literal) == "null" }

// alienValue is value for the shared layout.
func (e *entity) alienValue() ([]byte, error) {
	content, ok := unescaped(e.values[0])
	value := make([]byte, 0, base64.StdEncoding.DecodedLen(len(content)))
	value, err := base64.StdEncoding.AppendDecode(value, content)
	if !ok || err != nil {
		return nil, errForeign("property "+propAlienValue, "a string of base64")
	}
	return value, nil
}

// value returns the value from its parts.
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
	Layout provider.Layout `json:"layout,omitempty"` // absent in skykv's own
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

// decodeRecord returns the layout in a layout record. It refuses a record that skykv did
// not write, and other formats.
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

// checkRecord refuses a layout record of another layout.
func (l *layout) checkRecord(table string, found *layout) error {
	switch {
	case found.name != l.name:
		return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("table %s has layout %q and was opened with layout %q; want layout=%s", table, found.name, l.name, found.name)}
	case found.shards() != l.shards():
		return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("table %s has %d shards and was opened with %d; want the number with which it was created", table, found.shards(), l.shards())}
	}
	return nil
}

// owns reports whether an entity without a layout record shows that a table has this
// layout. skykv's own layout stores nothing before that record.
func (l *layout) owns(body []byte) bool {
	e, err := l.parse(body)
	if !l.shared || err != nil || kv.ValidateKey(e.key()) != nil || !e.in(l.partition(e.key())) {
		return false
	}
	_, err = l.record(&e, e.key(), true)
	return err == nil
}

// checkLayout reads the layout record. In a table without entities it creates the record,
// if the caller named the layout. It refuses any other record, and a table with entities
// of other programs.
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

// errUnclaimed says that a table has no layout yet.
func (d *driver) errUnclaimed() *kv.Error {
	return &kv.Error{Kind: kv.ErrNotProvisioned, Err: fmt.Errorf("table %s is empty and has no layout record: Ensure writes it, and so does opening the table with layout=%s or layout=%s", d.name, provider.LayoutSkykv, provider.LayoutAlien)}
}

// readLayout returns the layout in the layout record, nil if there is none. It makes a
// query, because the response to a request for one entity may be the same if the entity or
// if the table is missing.
func (d *driver) readLayout(ctx context.Context) (*layout, error) {
	_, body, err := d.queryOne(ctx, layoutPartition, layoutRow, true, nil)
	if body == nil || err != nil {
		return nil, d.errNotProvisioned(err)
	}
	return decodeRecord(d.name, body)
}

// checkOwner refuses a table with entities of other programs and without a layout record:
// skykv stores nothing before that record. It returns the record's layout if another
// program has created it by now, and nil if the table is empty or in the driver's layout.
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
		e = fmt.Errorf("%w, on the reference platform; want layout=%s", e, provider.LayoutAlien)
	}
	return nil, &kv.Error{Kind: kv.ErrIncompatible, Err: e}
}

// firstEntity returns the JSON of an entity of the table, nil if there is none.
func (d *driver) firstEntity(ctx context.Context) ([]byte, error) {
	for body, err := range d.list(ctx, kv.ScanRequest{Limit: 1, WithValue: true, Alone: true}, "") {
		return body, err
	}
	return nil, nil
}

// createLayout creates the layout record unless another program was faster, and returns
// the record's layout.
func (d *driver) createLayout(ctx context.Context) (*layout, error) {
	body, err := d.layout.encodeRecord()
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
	case codeOf(err) != aztables.EntityAlreadyExists:
		return nil, d.errNotProvisioned(call.failRead(err))
	}
	found, err := d.readLayout(ctx)
	if err == nil && found == nil {
		err = &kv.Error{Kind: kv.ErrUnavailable, Err: fmt.Errorf("the layout record of table %s vanished", d.name)}
	}
	return found, err
}
