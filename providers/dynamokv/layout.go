package dynamokv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/skykv/skykv/internal/alien"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
)

// layout says how records are stored in a table: the attributes and their names, the
// primary key, the shards, the expressions and the layout record. doc.go describes both
// layouts. The rest of the driver does not depend on their details.
type layout struct {
	name       provider.Layout
	driver     string                 // the driver's name, a part of every version; each layout has its own
	partitions []types.AttributeValue // the partition key value of each shard

	shard         func(key string) int
	shardOfPrefix func(prefix string) (int, bool) // nil if keys of one group are in several shards

	attributes
	expressions

	// shared is set if other programs also write items. They do not know the attributes
	// expires and predecessors. These attributes are valid only while the rest of the
	// item agrees with them. For the other programs, an item expires at its ttl. After
	// that, the service may remove the item.
	shared bool
}

// attributes are the names of an item's attributes, besides pk, sk and ttl.
type attributes struct{ value, token, expires, predecessors string }

// expressions are the expressions of requests. In an expression, a placeholder such as #t
// stands for the name of an attribute, because the name may be a reserved word. The map
// after each group of fields has the names for their placeholders.
type expressions struct {
	// The conditions of writes. If there is an item, each condition also requires that the
	// item's attributes have the types that decode expects. So no write replaces or deletes
	// an item of another form, and the driver need not read the item first.
	any, absent, version, live string

	odd string // for counts: matches items that have or may have expired, or do not have the layout

	conditionNames map[string]string

	set, setExpiry, removeExpiry string // for a touch
	touchNames                   map[string]string

	filter      string // for scans; keeps items whose expiry has a wrong type, so that the scan reports them
	filterNames map[string]string

	metadata      string // the attributes that a read without values requests
	metadataNames map[string]string
}

// newLayout returns skykv's own layout.
func newLayout(shards int) *layout {
	l := &layout{
		name: provider.LayoutSkykv, driver: name,
		shard:         func(key string) int { return kv.Shard(key, shards) },
		shardOfPrefix: func(prefix string) (int, bool) { return kv.ShardOfPrefix(prefix, shards) },
		attributes:    attributes{value: attrValue, token: attrToken, expires: attrExpires, predecessors: attrPredecessors},
		expressions:   ownExpressions,
	}
	for shard := range shards {
		l.partitions = append(l.partitions, text(strconv.Itoa(shard)))
	}
	return l
}

// alienLayout is the layout of the Alien platform's programs, with two more
// attributes, which only skykv uses.
var alienLayout = func() *layout {
	l := &layout{
		name: provider.LayoutAlien, driver: name + "-alien", shared: true,
		shard:       alien.Bucket,
		attributes:  attributes{value: "value", token: "version", expires: "skykv_x", predecessors: "skykv_p"},
		expressions: alienExpressions,
	}
	for bucket := range alien.Buckets {
		l.partitions = append(l.partitions, text(fmt.Sprintf("bucket_%d", bucket)))
	}
	return l
}()

// format is the version of the layouts that doc.go describes.
const format = 2

// The attributes of an item. The first three are in both layouts.
const (
	attrShard        = "pk"
	attrKey          = "sk"
	attrTTL          = "ttl"
	attrValue        = "v"
	attrExpires      = "x"
	attrToken        = "t"
	attrPredecessors = "p"
)

type item = map[string]types.AttributeValue

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func number(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

func (l *layout) shards() int { return len(l.partitions) }

// primaryKey returns the primary key of key's item.
func (l *layout) primaryKey(key string) item {
	return item{attrShard: l.partitions[l.shard(key)], attrKey: text(key)}
}

// keyOf returns the key of an item or of a primary key, or "" if there is none.
func (l *layout) keyOf(it item) string {
	if s, ok := it[attrKey].(*types.AttributeValueMemberS); ok {
		return s.Value
	}
	return ""
}

// position returns a text that identifies a primary key, or "" if the primary key is
// invalid.
func (l *layout) position(primaryKey item) string {
	partition, ok := primaryKey[attrShard].(*types.AttributeValueMemberS)
	if key := l.keyOf(primaryKey); ok && key != "" {
		return partition.Value + " " + key
	}
	return ""
}

// encode returns the item of a record.
func (l *layout) encode(rec kv.Record) item {
	it := l.primaryKey(rec.Key)
	it[l.value] = &types.AttributeValueMemberB{Value: rec.Value}
	it[l.token] = text(rec.Token)
	if rec.Expires != 0 {
		it[l.expires] = number(rec.Expires)
		it[attrTTL] = l.deleteAt(rec.Expires)
	}
	if rec.Predecessors != "" {
		it[l.predecessors] = l.encodePredecessors(rec)
	}
	return it
}

// deleteAt returns the time after which the service may delete an item, in seconds.
func (l *layout) deleteAt(expires int64) types.AttributeValue {
	if l.shared {
		return number(seconds(expires))
	}
	return number(seconds(expires) + int64(kv.ExpiryGrace/time.Second))
}

// seconds converts milliseconds to seconds, rounded up.
func seconds(ms int64) int64 { return ms/1000 + min(ms%1000, 1) }

// encodePredecessors returns the attribute of a record's predecessors. In a shared
// layout, it begins with the token of the write to which they belong.
func (l *layout) encodePredecessors(rec kv.Record) types.AttributeValue {
	if l.shared {
		return text(rec.Token + " " + rec.Predecessors)
	}
	return text(rec.Predecessors)
}

// decode returns the record that an item holds. key is the key of the item. The record
// shares the item's slices. The error is ErrIncompatible if the item does not have the
// layout.
func (l *layout) decode(key string, it item, withValue bool) (kv.Record, error) {
	rec := kv.Record{Key: key}
	token, ok := it[l.token].(*types.AttributeValueMemberS)
	if !ok || token.Value == "" {
		return kv.Record{}, errForeign(l.token, "a string that is not empty")
	}
	rec.Token, rec.Version = token.Value, token.Value
	var err *kv.Error
	if l.shared {
		rec.Expires, err = l.decodeTTL(it)
		rec.Predecessors = l.predecessorsOf(rec.Token, it)
	} else if rec.Expires, err = l.decodeExpiry(it); err == nil {
		rec.Predecessors, err = l.decodePredecessors(it)
	}
	if err != nil {
		return kv.Record{}, err
	}
	if withValue {
		v, ok := it[l.value].(*types.AttributeValueMemberB)
		if !ok {
			return kv.Record{}, errForeign(l.value, "binary")
		}
		rec.Value = v.Value
	}
	return rec, nil
}

func (l *layout) decodeExpiry(it item) (int64, *kv.Error) {
	switch x := it[l.expires].(type) {
	case nil:
		return 0, nil
	case *types.AttributeValueMemberN:
		n, err := strconv.ParseInt(x.Value, 10, 64)
		if err != nil || n <= 0 {
			return 0, errForeign(l.expires, "a whole number of milliseconds above 0")
		}
		return n, nil
	}
	return 0, errForeign(l.expires, "a number")
}

func (l *layout) decodePredecessors(it item) (string, *kv.Error) {
	switch p := it[l.predecessors].(type) {
	case nil:
		return "", nil
	case *types.AttributeValueMemberS:
		return p.Value, nil
	}
	return "", errForeign(l.predecessors, "a string")
}

// decodeTTL returns the expiry of an item in a shared layout. If the item has skykv's exact
// instant, and the instant is within the second that ends at ttl, the expiry is the instant.
// Otherwise another program has written ttl, and the expiry is ttl.
func (l *layout) decodeTTL(it item) (int64, *kv.Error) {
	var ttl int64
	switch n := it[attrTTL].(type) {
	case nil:
		return 0, nil
	case *types.AttributeValueMemberN:
		var err error
		if ttl, err = strconv.ParseInt(n.Value, 10, 64); err != nil {
			return 0, errForeign(attrTTL, "a whole number of seconds")
		}
	default:
		return 0, errForeign(attrTTL, "a number")
	}
	if exact, err := l.decodeExpiry(it); err == nil && exact != 0 && seconds(exact) == ttl {
		return exact, nil
	}
	// Other programs may store any number. One before 1970 becomes another expiry in the
	// past, and one after the year 9999 becomes MaxExpiry.
	return max(1, 1000*min(max(ttl, 0), kv.MaxExpiry.Unix())), nil
}

// predecessorsOf returns the predecessors in an item if they belong to the write that
// stored token, and otherwise "".
func (l *layout) predecessorsOf(token string, it item) string {
	all, err := l.decodePredecessors(it)
	of, predecessors, _ := strings.Cut(all, " ")
	if err != nil || !kv.SameWrite(of, token) {
		return ""
	}
	return predecessors
}

// retoken replaces the tokens of all records in an encoded request by the tokens of an
// attempt. It returns the number of tokens.
func (l *layout) retoken(request []byte, attempt int) int {
	// In a request, a token always follows each text in the list below. The texts cannot occur
	// inside other data: keys and predecessors have no quotes, values are in base64, and quotes
	// in the version of a condition are escaped.
	found := 0
	for _, before := range []string{`"` + l.token + `":{"S":"`, `":token":{"S":"`} {
		for rest := request; ; found++ {
			_, after, ok := bytes.Cut(rest, []byte(before))
			if !ok {
				break
			}
			var token []byte
			token, rest, _ = bytes.Cut(after, []byte(`"`))
			copy(token, kv.AttemptToken(string(token), attempt))
		}
	}
	return found
}

// The expressions of skykv's own layout. All requests can share them, because the SDK does not
// change them.
const (
	exprBody   = "attribute_type(v, :b) AND (attribute_not_exists(p) OR attribute_type(p, :s))"
	exprExpiry = "(attribute_not_exists(x) OR attribute_type(x, :n))"
	exprLive   = "attribute_type(t, :s) AND " + exprBody + " AND (attribute_not_exists(x) OR (attribute_type(x, :n) AND x > :now))"
)

var ownExpressions = expressions{
	any:     exprNoItem + " OR (attribute_type(t, :s) AND " + exprBody + " AND " + exprExpiry + ")",
	absent:  exprNoItem + " OR (attribute_type(t, :s) AND " + exprBody + " AND x <= :now)",
	version: "t = :t AND " + exprBody + " AND " + exprExpiry,
	live:    exprLive,
	odd:     "NOT (" + exprLive + ")",

	set: "SET t = :token", setExpiry: ", x = :x, #ttl = :ttl", removeExpiry: "x, #ttl",
	touchNames: map[string]string{"#ttl": attrTTL},

	filter:   "attribute_not_exists(x) OR x > :now OR NOT attribute_type(x, :n)",
	metadata: "sk, x, t, p",
}

// The expressions of the Alien platform's layout. A condition cannot find out whether
// skykv's exact instant is valid, so it uses only the ttl. In the second that ends at
// ttl, an entry may be live or expired. Then the conditions absent and live both fail, and
// the store compares the exact instant with its clock.
const (
	alienExpiry = "(attribute_not_exists(#ttl) OR attribute_type(#ttl, :n))"
	alienLive   = "attribute_type(#t, :s) AND attribute_type(#v, :b) AND (attribute_not_exists(#ttl) OR (attribute_type(#ttl, :n) AND #ttl > :now))"
)

var alienExpressions = expressions{
	any:     exprNoItem + " OR (attribute_type(#t, :s) AND attribute_type(#v, :b) AND " + alienExpiry + ")",
	absent:  exprNoItem + " OR (attribute_type(#t, :s) AND attribute_type(#v, :b) AND #ttl <= :now)",
	version: "#t = :t AND attribute_type(#t, :s) AND attribute_type(#v, :b) AND " + alienExpiry,
	live:    alienLive,
	odd:     "NOT (" + alienLive + ")",

	conditionNames: map[string]string{"#t": "version", "#v": "value", "#ttl": attrTTL},

	set: "SET #t = :token", setExpiry: ", skykv_x = :x, #ttl = :ttl", removeExpiry: "skykv_x, #ttl",
	touchNames: map[string]string{"#t": "version", "#v": "value", "#ttl": attrTTL},

	filter:        "attribute_not_exists(#ttl) OR #ttl > :now OR NOT attribute_type(#ttl, :n)",
	filterNames:   map[string]string{"#ttl": attrTTL},
	metadata:      "sk, #ttl, #t, skykv_x, skykv_p",
	metadataNames: map[string]string{"#t": "version", "#ttl": attrTTL},
}

// The expressions of both layouts.
const exprNoItem = "attribute_not_exists(sk)"

var (
	exprNew   = exprNoItem
	exprTrue  = "attribute_not_exists(sk) OR attribute_exists(sk)"
	exprRange = "pk = :p AND sk BETWEEN :from AND :to"

	typeS = text("S")
	typeB = text("B")
	typeN = text("N")

	valuesAny = item{":s": typeS, ":b": typeB, ":n": typeN}
)

// condition is the condition of a write in the service's form.
type condition struct {
	expr   *string
	names  map[string]string
	values item
}

// expired returns the two instants with which conditions compare the expiry of items, in
// milliseconds or, in a shared layout, in seconds. An item whose expiry is not after the
// result expired has certainly expired. An item whose expiry is after the result live has
// certainly not expired. For any other item, the store must decide.
func (l *layout) expired(now int64) (expired, live int64) {
	if l.shared {
		return now / 1000, now/1000 + 1
	}
	return now, now
}

// condition returns the condition of a write. known is false if the driver does not know
// that kind of write with that kind of condition.
func (l *layout) condition(w kv.Write, now int64) (c condition, known bool) {
	c.names = l.conditionNames
	expired, live := l.expired(now)
	change := w.Kind == kv.KindPut || w.Kind == kv.KindDelete || w.Kind == kv.KindCheck
	switch w.Condition.Kind {
	case kv.CondNone:
		c.expr, c.values = &l.any, valuesAny
		return c, w.Kind == kv.KindPut || w.Kind == kv.KindDelete
	case kv.CondAbsent:
		c.expr, c.values = &l.absent, item{":s": typeS, ":b": typeB, ":now": number(expired)}
		return c, change
	case kv.CondVersion:
		c.expr, c.values = &l.version, item{":t": text(w.Condition.Version), ":s": typeS, ":b": typeB, ":n": typeN}
		return c, change || w.Kind == kv.KindTouch
	case kv.CondLive:
		c.expr, c.values = &l.live, item{":s": typeS, ":b": typeB, ":n": typeN, ":now": number(live)}
		return c, w.Kind == kv.KindTouch
	}
	return condition{}, false
}

// touch returns the update expression that replaces everything in an item except the
// value. It adds the names and values of that expression to the condition's.
func (l *layout) touch(rec kv.Record, c *condition) (expr *string) {
	c.names = l.touchNames
	set, remove := l.set, ""
	c.values[":token"] = text(rec.Token)
	if rec.Expires != 0 {
		set += l.setExpiry
		c.values[":x"], c.values[":ttl"] = number(rec.Expires), l.deleteAt(rec.Expires)
	} else {
		remove = " REMOVE " + l.removeExpiry
	}
	switch {
	case rec.Predecessors != "":
		set += ", " + l.predecessors + " = :p"
		c.values[":p"] = l.encodePredecessors(rec)
	case remove == "":
		remove = " REMOVE " + l.predecessors
	default:
		remove += ", " + l.predecessors
	}
	set += remove
	return &set
}

// failed returns the record that made the condition of a write fail, from the item in the
// service's response. The response always includes the value. If skykv did not write the
// item, every condition fails, and failed returns an error.
func (l *layout) failed(w kv.Write, it item) (kv.Found, *kv.Error) {
	none := kv.Found{Record: kv.Record{Key: w.Key}}
	switch {
	case it == nil && (w.Condition.Kind == kv.CondVersion || w.Condition.Kind == kv.CondLive):
		return none, nil
	case it == nil: // CondNone and CondAbsent hold if there is no item
		return none, errNoItem
	case l.keyOf(it) != w.Key:
		return none, errNoAnswerToWrite("its item has another key")
	}
	rec, err := l.decode(w.Key, it, true)
	if err != nil {
		return none, err.(*kv.Error)
	}
	return kv.Found{Record: rec, Exists: true}, nil
}

// projection returns the expression for the attributes that a read requests, or nil for
// the whole item.
func (l *layout) projection(withValue bool) (expr *string, names map[string]string) {
	if withValue {
		return nil, nil
	}
	return &l.metadata, l.metadataNames
}

// query returns the part of a scan's request that depends on the layout.
func (l *layout) query(req kv.ScanRequest) *dynamodb.QueryInput {
	in := &dynamodb.QueryInput{
		KeyConditionExpression: &exprRange,
		ExpressionAttributeValues: item{
			":p": l.partitions[req.Shard], ":from": text(req.From), ":to": text(req.To),
		},
	}
	in.ProjectionExpression, in.ExpressionAttributeNames = l.projection(req.WithValue)
	if req.Now != 0 {
		expired, _ := l.expired(req.Now)
		in.FilterExpression = &l.filter
		in.ExpressionAttributeValues[":now"] = number(expired)
		in.ExpressionAttributeValues[":n"] = typeN
		if in.ExpressionAttributeNames == nil { // the names of the projection include the names of the filter
			in.ExpressionAttributeNames = l.filterNames
		}
	}
	return in
}

// count returns the part of a count's request that depends on the layout. In response, the
// service returns only items that may have expired or do not have the layout.
func (l *layout) count(req kv.ScanRequest) *dynamodb.QueryInput {
	in := l.query(req)
	_, live := l.expired(req.Now)
	in.FilterExpression, in.ExpressionAttributeNames = &l.odd, l.conditionNames
	in.ExpressionAttributeValues[":now"] = number(live)
	in.ExpressionAttributeValues[":s"], in.ExpressionAttributeValues[":b"], in.ExpressionAttributeValues[":n"] = typeS, typeB, typeN
	return in
}

// The primary key of a table, in the form of CreateTable.
var (
	keySchema = []types.KeySchemaElement{
		{AttributeName: aws.String(attrShard), KeyType: types.KeyTypeHash},
		{AttributeName: aws.String(attrKey), KeyType: types.KeyTypeRange},
	}
	keyAttributes = []types.AttributeDefinition{
		{AttributeName: aws.String(attrShard), AttributeType: types.ScalarAttributeTypeS},
		{AttributeName: aws.String(attrKey), AttributeType: types.ScalarAttributeTypeS},
	}
)

// keyText returns a primary key as text, such as "HASH pk S RANGE sk S".
func keyText(schema []types.KeySchemaElement, attributes []types.AttributeDefinition) string {
	kinds := make(map[string]types.ScalarAttributeType)
	for _, def := range attributes {
		kinds[aws.ToString(def.AttributeName)] = def.AttributeType
	}
	shown := ""
	for i, element := range schema {
		if i > 0 {
			shown += " "
		}
		attr := aws.ToString(element.AttributeName)
		shown += fmt.Sprintf("%s %s %s", element.KeyType, attr, kinds[attr])
	}
	return shown
}

// checkTable returns an error if a table has a different primary key.
func (l *layout) checkTable(table string, described *types.TableDescription) error {
	found, want := keyText(described.KeySchema, described.AttributeDefinitions), keyText(keySchema, keyAttributes)
	if found != want {
		return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("the primary key of table %q is %s; it must be %s", table, found, want)}
	}
	return nil
}

// keyRule says what the primary key must be.
const keyRule = "the primary key of table %q must be " + attrShard + " and " + attrKey + ", both strings"

// The layout record says how to read a table. It is an item of the same table, with a
// partition key value that is not a shard in either layout.
const (
	layoutPartition = "layout"
	layoutKey       = "skykv"
	attrFormat      = "format"
	attrShards      = "shards"
	attrLayout      = "layout" // absent in skykv's own layout
)

func (l *layout) recordKey() item {
	return item{attrShard: text(layoutPartition), attrKey: text(layoutKey)}
}

func (l *layout) record() item {
	record := l.recordKey()
	record[attrFormat], record[attrShards] = number(format), number(int64(l.shards()))
	if l.name != provider.LayoutSkykv {
		record[attrLayout] = text(string(l.name))
	}
	return record
}

// readRecord returns the layout and the number of shards in a layout record. It returns
// an error if skykv did not write the record, or if the record has a different format.
func readRecord(table string, record item) (provider.Layout, int, error) {
	foundFormat, isFormat := record[attrFormat].(*types.AttributeValueMemberN)
	foundShards, isShards := record[attrShards].(*types.AttributeValueMemberN)
	shards := 0
	if isShards {
		shards, _ = strconv.Atoi(foundShards.Value)
	}
	switch {
	case isFormat && foundFormat.Value != strconv.Itoa(format):
		return "", 0, &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("table %q has format %s; this version of skykv knows format %d", table, foundFormat.Value, format)}
	case !isFormat || shards < 1:
		return "", 0, &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("the item %q, %q of table %q is not a layout record of skykv", layoutPartition, layoutKey, table)}
	}
	if found, ok := record[attrLayout].(*types.AttributeValueMemberS); ok {
		return provider.Layout(found.Value), shards, nil
	}
	return provider.LayoutSkykv, shards, nil
}

// The method owns reports whether an item shows that a table without a layout record has this
// layout. In skykv's own layout no item is older than the record, so owns returns false.
func (l *layout) owns(it item) bool {
	if !l.shared || l.keyOf(it) == "" || l.position(it) != l.position(l.primaryKey(l.keyOf(it))) {
		return false
	}
	_, err := l.decode(l.keyOf(it), it, false)
	return err == nil
}

// checkRecord returns an error if a layout record has a different format, layout or number of
// shards.
func (l *layout) checkRecord(table string, record item) error {
	found, shards, err := readRecord(table, record)
	switch {
	case err != nil:
		return err
	case found != l.name:
		return l.errOther(table, found)
	case shards != l.shards():
		return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("table %q has %d shards and was opened with %d; want the number with which it was created", table, shards, l.shards())}
	}
	return nil
}

func (l *layout) errOther(table string, found provider.Layout) *kv.Error {
	return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("table %q has layout %q and was opened with layout %q; want layout=%s", table, found, l.name, found)}
}

// errUnclaimed returns the error of a table that has no layout yet.
func (d *driver) errUnclaimed() *kv.Error {
	return &kv.Error{Kind: kv.ErrNotProvisioned, Err: fmt.Errorf("table %q is empty and has no layout record: providers.Ensure writes it, and so does opening the table with layout=%s or layout=%s", *d.table, provider.LayoutSkykv, provider.LayoutAlien)}
}

// checkLayout returns an error if the table has a different layout, or has items of other
// programs and no layout record. If the table has no layout record, checkLayout creates it,
// provided that the caller named the layout.
func (d *driver) checkLayout(ctx context.Context) error {
	found, err := d.readLayout(ctx)
	if err != nil {
		return err
	}
	if found == nil {
		// Without the permission to look for other programs' items, assume that there
		// are none.
		if found, err = d.checkOwner(ctx); err != nil && !isDenied(err) {
			return err
		}
	}
	if found == nil {
		if !d.claims {
			return d.errUnclaimed()
		}
		if found, err = d.createLayout(ctx); err != nil {
			return err
		}
	}
	return d.layout.checkRecord(*d.table, found)
}

// readLayout returns the layout record, or nil if there is none.
func (d *driver) readLayout(ctx context.Context) (item, error) {
	a := d.watch(ctx, nil)
	defer a.end()
	key := d.layout.recordKey()
	out, err := d.client.GetItem(a, &dynamodb.GetItemInput{TableName: d.table, Key: key, ConsistentRead: yes})
	switch {
	case err != nil:
		return nil, a.failRead(err)
	case out.Item == nil && a.body.names("Item"):
		return nil, errNoAnswer("its item is null")
	case out.Item != nil && d.layout.position(out.Item) != d.layout.position(key):
		return nil, errNoAnswer("its item has another key")
	}
	return out.Item, nil
}

// createLayout creates the layout record, and returns it. If another program was faster,
// it returns the record of that program.
func (d *driver) createLayout(ctx context.Context) (item, error) {
	own := d.layout.record()
	a := d.watch(ctx, nil)
	defer a.end()
	_, err := d.client.PutItem(a, &dynamodb.PutItemInput{
		TableName: d.table, Item: own, ConditionExpression: &exprNew,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	if err == nil {
		return own, nil
	}
	if failed, ok := errors.AsType[*types.ConditionalCheckFailedException](err); ok {
		switch {
		case failed.Item == nil:
			return nil, errNoItem
		case d.layout.position(failed.Item) != d.layout.position(own):
			return nil, errNoAnswer("its item has another key")
		}
		return failed.Item, nil
	}
	e := a.failRead(err)
	e.Err = fmt.Errorf("table %q has no layout record, and it cannot be created: %w", *d.table, e.Err)
	return nil, e
}
