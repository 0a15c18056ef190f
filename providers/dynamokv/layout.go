package dynamokv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/skykv/skykv/kv"
)

// layout is how records lie in a table: the attributes and their names, the primary
// key, the shards, the expressions and the layout record. doc.go describes it. Only
// this file knows any of it.
type layout struct {
	partitions []types.AttributeValue // the partition key value of each shard
}

func newLayout(shards int) *layout {
	l := new(layout)
	for shard := range shards {
		l.partitions = append(l.partitions, text(strconv.Itoa(shard)))
	}
	return l
}

// format is the version of the layout that doc.go describes.
const format = 2

// The attributes of an item.
const (
	attrShard        = "pk"
	attrKey          = "sk"
	attrValue        = "v"
	attrExpires      = "x"
	attrTTL          = "ttl"
	attrToken        = "t"
	attrPredecessors = "p"
)

type item = map[string]types.AttributeValue

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func number(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

func (l *layout) shards() int { return len(l.partitions) }

func (l *layout) shard(key string) int { return kv.Shard(key, len(l.partitions)) }

func (l *layout) shardOfPrefix(prefix string) (int, bool) {
	return kv.ShardOfPrefix(prefix, len(l.partitions))
}

// primaryKey returns the primary key of the item of key.
func (l *layout) primaryKey(key string) item {
	return item{attrShard: l.partitions[l.shard(key)], attrKey: text(key)}
}

// keyOf returns the key of an item or of a primary key, "" when it has none.
func (l *layout) keyOf(it item) string {
	if s, ok := it[attrKey].(*types.AttributeValueMemberS); ok {
		return s.Value
	}
	return ""
}

// position names the place of a primary key among all of a table, "" when it is none.
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
	it[attrValue] = &types.AttributeValueMemberB{Value: rec.Value}
	it[attrToken] = text(rec.Token)
	if rec.Expires != 0 {
		it[attrExpires] = number(rec.Expires)
		it[attrTTL] = deleteAt(rec.Expires)
	}
	if rec.Predecessors != "" {
		it[attrPredecessors] = text(rec.Predecessors)
	}
	return it
}

// deleteAt returns when the service may delete an item, in its unit: seconds.
func deleteAt(expires int64) types.AttributeValue {
	return number((expires+999)/1000 + int64(kv.ExpiryGrace/time.Second))
}

// decode reads the item of key. The record keeps the item's slices. An item that
// skykv did not write is ErrIncompatible.
func (l *layout) decode(key string, it item, withValue bool) (kv.Record, error) {
	rec := kv.Record{Key: key}
	token, ok := it[attrToken].(*types.AttributeValueMemberS)
	if !ok || token.Value == "" {
		return kv.Record{}, errForeign(attrToken, "a string that is not empty")
	}
	rec.Token, rec.Version = token.Value, token.Value
	switch x := it[attrExpires].(type) {
	case nil:
	case *types.AttributeValueMemberN:
		n, err := strconv.ParseInt(x.Value, 10, 64)
		if err != nil || n <= 0 {
			return kv.Record{}, errForeign(attrExpires, "a whole number of milliseconds above 0")
		}
		rec.Expires = n
	default:
		return kv.Record{}, errForeign(attrExpires, "a number")
	}
	switch p := it[attrPredecessors].(type) {
	case nil:
	case *types.AttributeValueMemberS:
		rec.Predecessors = p.Value
	default:
		return kv.Record{}, errForeign(attrPredecessors, "a string")
	}
	if withValue {
		v, ok := it[attrValue].(*types.AttributeValueMemberB)
		if !ok {
			return kv.Record{}, errForeign(attrValue, "binary")
		}
		rec.Value = v.Value
	}
	return rec, nil
}

// retoken replaces the tokens of the records in an encoded request by those that an
// attempt stores, and returns how many there were.
func (l *layout) retoken(request []byte, attempt int) int {
	// Nothing else in a request looks like these. Keys and predecessors have no quotes,
	// values are in base64, and versions in a condition have their quotes escaped.
	found := 0
	for _, before := range []string{`"` + attrToken + `":{"S":"`, `":token":{"S":"`} {
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

// The expressions. An item is skykv's if its attributes have the types that decode
// wants. Every write leaves all other items alone, which costs no further request.
const (
	exprNoItem = "attribute_not_exists(sk)"
	exprToken  = "attribute_type(t, :s)"
	exprBody   = "attribute_type(v, :b) AND (attribute_not_exists(p) OR attribute_type(p, :s))"
	exprExpiry = "(attribute_not_exists(x) OR attribute_type(x, :n))"
)

// All requests share these. The SDK only reads them.
var (
	exprAny     = exprNoItem + " OR (" + exprToken + " AND " + exprBody + " AND " + exprExpiry + ")"
	exprAbsent  = exprNoItem + " OR (" + exprToken + " AND " + exprBody + " AND x <= :now)"
	exprVersion = "t = :t AND " + exprBody + " AND " + exprExpiry
	exprOwnLive = exprToken + " AND " + exprBody + " AND (attribute_not_exists(x) OR (attribute_type(x, :n) AND x > :now))"
	exprNew     = exprNoItem
	exprTrue    = "attribute_not_exists(sk) OR attribute_exists(sk)"

	exprRange = "pk = :p AND sk BETWEEN :from AND :to"
	// The filter keeps items with an expiry of another type, to report them.
	exprLive = "attribute_not_exists(x) OR x > :now OR NOT attribute_type(x, :n)"

	// exprOdd is what a count looks at: items that are expired, or that skykv did not write.
	exprOdd = "NOT (" + exprOwnLive + ")"

	// exprMetadata is what a read without values asks for.
	exprMetadata = "sk, x, t, p"

	typeS = text("S")
	typeB = text("B")
	typeN = text("N")

	valuesAny = item{":s": typeS, ":b": typeB, ":n": typeN}

	touchNames = map[string]string{"#ttl": attrTTL} // a reserved word
)

// condition returns the expression for the condition of a write, and its values. It
// reports whether it knows the kinds of both.
func (l *layout) condition(w kv.Write, now int64) (expr *string, values item, known bool) {
	change := w.Kind == kv.KindPut || w.Kind == kv.KindDelete || w.Kind == kv.KindCheck
	switch w.Condition.Kind {
	case kv.CondNone:
		return &exprAny, valuesAny, w.Kind == kv.KindPut || w.Kind == kv.KindDelete
	case kv.CondAbsent:
		return &exprAbsent, item{":s": typeS, ":b": typeB, ":now": number(now)}, change
	case kv.CondVersion:
		return &exprVersion, item{":t": text(w.Condition.Version), ":s": typeS, ":b": typeB, ":n": typeN}, change || w.Kind == kv.KindTouch
	case kv.CondLive:
		return &exprOwnLive, item{":s": typeS, ":b": typeB, ":n": typeN, ":now": number(now)}, w.Kind == kv.KindTouch
	}
	return nil, nil, false
}

// touch returns the expression that replaces all of an item but its value, and adds its
// values to those of the condition.
func (l *layout) touch(rec kv.Record, values item) (expr *string, names map[string]string) {
	set, remove := "SET t = :token", ""
	values[":token"] = text(rec.Token)
	if rec.Expires != 0 {
		set += ", x = :x, #ttl = :ttl"
		values[":x"], values[":ttl"] = number(rec.Expires), deleteAt(rec.Expires)
	} else {
		remove = " REMOVE x, #ttl"
	}
	switch {
	case rec.Predecessors != "":
		set += ", p = :p"
		values[":p"] = text(rec.Predecessors)
	case remove == "":
		remove = " REMOVE p"
	default:
		remove += ", p"
	}
	set += remove
	return &set, touchNames
}

// failed returns what was under the key of a write whose condition has failed. The value
// came along, whether it is wanted or not. An item that skykv did not write makes the
// conditions of all kinds fail, and is an error.
func (l *layout) failed(w kv.Write, it item) (kv.Found, *kv.Error) {
	none := kv.Found{Record: kv.Record{Key: w.Key}}
	switch {
	case it == nil && (w.Condition.Kind == kv.CondVersion || w.Condition.Kind == kv.CondLive):
		return none, nil
	case it == nil: // without an item, all others hold
		return none, errNoItem
	case l.keyOf(it) != w.Key:
		return none, errNoAnswer("its item has another key")
	}
	rec, err := l.decode(w.Key, it, true)
	if err != nil {
		return none, err.(*kv.Error)
	}
	return kv.Found{Record: rec, Exists: true}, nil
}

// projection returns what a read asks for: nil for all of an item.
func (l *layout) projection(withValue bool) *string {
	if withValue {
		return nil
	}
	return &exprMetadata
}

// query returns the part of a scan's request that depends on the layout.
func (l *layout) query(req kv.ScanRequest) *dynamodb.QueryInput {
	in := &dynamodb.QueryInput{
		KeyConditionExpression: &exprRange,
		ExpressionAttributeValues: item{
			":p": l.partitions[req.Shard], ":from": text(req.From), ":to": text(req.To),
		},
		ProjectionExpression: l.projection(req.WithValue),
	}
	if req.Now != 0 {
		in.FilterExpression = &exprLive
		in.ExpressionAttributeValues[":now"] = number(req.Now)
		in.ExpressionAttributeValues[":n"] = typeN
	}
	return in
}

// count returns the part of a count's request that depends on the layout: only the items
// that may not count come back.
func (l *layout) count(req kv.ScanRequest) *dynamodb.QueryInput {
	in := l.query(req)
	in.FilterExpression = &exprOdd
	in.ExpressionAttributeValues[":now"] = number(req.Now)
	in.ExpressionAttributeValues[":s"], in.ExpressionAttributeValues[":b"], in.ExpressionAttributeValues[":n"] = typeS, typeB, typeN
	return in
}

// The primary key of a table, in the words of CreateTable.
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

// keyText shows a primary key, as in "HASH pk S RANGE sk S".
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

// checkTable refuses a table with another primary key.
func (l *layout) checkTable(table string, described *types.TableDescription) error {
	found, want := keyText(described.KeySchema, described.AttributeDefinitions), keyText(keySchema, keyAttributes)
	if found != want {
		return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("the primary key of table %q is %s; it must be %s", table, found, want)}
	}
	return nil
}

// keyRule says what the primary key must be.
const keyRule = "the primary key of table %q must be " + attrShard + " and " + attrKey + ", both strings"

// The layout record says how a table is to be read. It is an item of the same
// table, under a partition key value that is no shard's.
const (
	layoutPartition = "layout"
	layoutKey       = "skykv"
	attrFormat      = "format"
	attrShards      = "shards"
)

func (l *layout) recordKey() item {
	return item{attrShard: text(layoutPartition), attrKey: text(layoutKey)}
}

func (l *layout) record() item {
	record := l.recordKey()
	record[attrFormat], record[attrShards] = number(format), number(int64(l.shards()))
	return record
}

// shardsOf returns the number of shards that a layout record says, and refuses a
// record that skykv did not write, and other formats.
func (l *layout) shardsOf(table string, record item) (int, error) {
	foundFormat, isFormat := record[attrFormat].(*types.AttributeValueMemberN)
	foundShards, isShards := record[attrShards].(*types.AttributeValueMemberN)
	shards := 0
	if isShards {
		shards, _ = strconv.Atoi(foundShards.Value)
	}
	switch {
	case isFormat && foundFormat.Value != strconv.Itoa(format):
		return 0, &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("table %q has format %s; this version of skykv knows format %d", table, foundFormat.Value, format)}
	case !isFormat || shards < 1:
		return 0, &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("the item %q, %q of table %q is no layout record of skykv", layoutPartition, layoutKey, table)}
	}
	return shards, nil
}

// checkRecord refuses a layout record of another layout.
func (l *layout) checkRecord(table string, record item) error {
	shards, err := l.shardsOf(table, record)
	if err == nil && shards != l.shards() {
		err = &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("table %q has %d shards and was to be opened with %d; want the number that it was created with", table, shards, l.shards())}
	}
	return err
}

// checkLayout reads the layout record, and creates it in an empty table. It refuses any
// other record, and a table with items of others.
func (d *driver) checkLayout(ctx context.Context) error {
	found, err := d.readLayout(ctx)
	if err != nil {
		return err
	}
	if found == nil {
		// Who may not look for the items of others takes it that there are none.
		if found, err = d.checkOwner(ctx); err != nil && !isDenied(err) {
			return err
		}
	}
	if found == nil {
		if found, err = d.createLayout(ctx); err != nil {
			return err
		}
	}
	return d.layout.checkRecord(*d.table, found)
}

// readLayout returns the layout record, nil if there is none.
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

// createLayout creates the layout record unless somebody was faster, and returns
// the one that there is then.
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
		if failed.Item == nil {
			return nil, errNoItem
		}
		return failed.Item, nil
	}
	e := a.failRead(err)
	e.Err = fmt.Errorf("table %q has no layout record yet, and it cannot be created: %w", *d.table, e.Err)
	return nil, e
}
