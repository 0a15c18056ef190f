package dynamokv

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/skykv/skykv/kv"
)

// The attributes of an item; doc.go says what they hold.
const (
	attrShard   = "pk"
	attrKey     = "sk"
	attrValue   = "v"
	attrExpires = "x"
	attrTTL     = "ttl"
	attrToken   = "t"
)

// ttlGrace is how long past its expiry, in seconds, DynamoDB may delete an item:
// so that no live one goes under clock skew.
const ttlGrace = 3600

type item = map[string]types.AttributeValue

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func number(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

// key is the primary key of the item of key.
func (d *driver) key(key string) item {
	return item{attrShard: d.partitions[kv.Shard(key, len(d.partitions))], attrKey: text(key)}
}

// item encodes rec.
func (d *driver) item(rec kv.Record) item {
	it := item{
		attrShard: d.partitions[kv.Shard(rec.Key, len(d.partitions))],
		attrKey:   text(rec.Key),
		attrValue: &types.AttributeValueMemberB{Value: rec.Value},
		attrToken: text(rec.Token),
	}
	if rec.Expires != 0 {
		it[attrExpires] = number(rec.Expires)
		it[attrTTL] = number((rec.Expires+999)/1000 + ttlGrace)
	}
	return it
}

// itemKey gives the key of an item, "" when it has none.
func itemKey(it item) string {
	if s, ok := it[attrKey].(*types.AttributeValueMemberS); ok {
		return s.Value
	}
	return ""
}

// decode reads the item of key. The record keeps the item's slices. An item that
// skykv did not write is ErrIncompatible.
func decode(key string, it item, withValue bool) (kv.Record, error) {
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
	if withValue {
		v, ok := it[attrValue].(*types.AttributeValueMemberB)
		if !ok {
			return kv.Record{}, errForeign(attrValue, "binary")
		}
		rec.Value = v.Value
	}
	return rec, nil
}

// errForeign says why an item is none of skykv's.
func errForeign(attr, want string) *kv.Error {
	return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("skykv did not write the item under this key: its attribute %q is not %s", attr, want)}
}

// The expressions, and the values that they need beside their own. An item is
// skykv's if its attributes have skykv's types, as decode has it; writes leave
// all others alone, which costs no further request.
const exprMine = "attribute_type(t, :s) AND attribute_type(v, :b)"

// All requests share these; the SDK only reads them.
var (
	exprAny     = "attribute_not_exists(sk) OR (" + exprMine + " AND (attribute_not_exists(x) OR attribute_type(x, :n)))"
	exprAbsent  = "attribute_not_exists(sk) OR (" + exprMine + " AND x <= :now)"
	exprVersion = "t = :t"

	exprRange = "pk = :p AND sk BETWEEN :from AND :to"
	// The filter keeps items with an expiry of another type, to report them.
	exprLive = "attribute_not_exists(x) OR x > :now OR NOT attribute_type(x, :n)"

	// What the service is asked for when values are not wanted.
	exprMetadata = "sk, x, t"

	typeS = text("S")
	typeB = text("B")
	typeN = text("N")

	valuesAny = item{":s": typeS, ":b": typeB, ":n": typeN}

	yes = aws.Bool(true)
)

// condition gives the expression for cond, and its values.
func condition(cond kv.Condition) (*string, item) {
	switch {
	case cond.Absent:
		return &exprAbsent, item{":s": typeS, ":b": typeB, ":now": number(cond.Now)}
	case cond.Version != "":
		return &exprVersion, item{":t": text(cond.Version)}
	}
	return &exprAny, valuesAny
}

// errNoItem is a failed condition whose item the service did not send along.
var errNoItem = &kv.Error{
	Kind: kv.ErrIncompatible,
	Err:  errors.New("the service reported a failed condition without the item: it must support ReturnValuesOnConditionCheckFailure"),
}
