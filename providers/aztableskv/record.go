package aztableskv

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"

	"github.com/skykv/skykv/kv"
)

// The properties of an entity, besides its PartitionKey and RowKey. They are
// always all there: x is 0 for an entry that does not expire.
const (
	propValue   = "v"
	propExpires = "x"
	propToken   = "t"

	typeBinary = "Edm.Binary"
	typeInt64  = "Edm.Int64"
)

// selectMetadata is what a reader asks for that does not want the value.
const selectMetadata = "PartitionKey,RowKey," + propExpires + "," + propToken

// encode gives the entity of rec as JSON. No part of it needs escaping: keys,
// tokens and base64 are made of harmless characters.
func encode(partition string, rec kv.Record) []byte {
	b := make([]byte, 0, 160+len(rec.Key)+len(rec.Token)+base64.StdEncoding.EncodedLen(len(rec.Value)))
	b = append(b, `{"PartitionKey":"`...)
	b = append(b, partition...)
	b = append(b, `","RowKey":"`...)
	b = append(b, rec.Key...)
	b = append(b, `","v@odata.type":"Edm.Binary","v":"`...)
	b = base64.StdEncoding.AppendEncode(b, rec.Value)
	b = append(b, `","x@odata.type":"Edm.Int64","x":"`...)
	b = strconv.AppendInt(b, rec.Expires, 10)
	b = append(b, `","t":"`...)
	b = append(b, rec.Token...)
	return append(b, `"}`...)
}

// encodeKey gives the entity of key as a transaction wants it for a deletion.
func encodeKey(partition, key string) []byte {
	b := make([]byte, 0, 40+len(partition)+len(key))
	b = append(b, `{"PartitionKey":"`...)
	b = append(b, partition...)
	b = append(b, `","RowKey":"`...)
	b = append(b, key...)
	return append(b, `"}`...)
}

// entity is what the JSON of an entity holds, as literals in it; absent ones are
// empty.
type entity struct {
	rowKey, etag                []byte
	value, valueType            []byte
	expires, expiresType, token []byte
}

// errForeign is the cause of every record's error that skykv did not write.
func errForeign(why string) error {
	return &kv.Error{Kind: kv.ErrIncompatible, Err: fmt.Errorf("skykv did not write this entity: %s", why)}
}

// record gives the entity as the record under key, or an error that says why it
// is none.
func (e *entity) record(key string, withValue bool) (kv.Record, error) {
	rec := kv.Record{Key: key}
	if withValue {
		text, ok := unescaped(e.value)
		if !ok || string(e.valueType) != `"`+typeBinary+`"` {
			return rec, errForeign("property v is not " + typeBinary)
		}
		rec.Value = make([]byte, base64.StdEncoding.DecodedLen(len(text)))
		n, err := base64.StdEncoding.Decode(rec.Value, text)
		if err != nil {
			return rec, errForeign("property v is not base64")
		}
		rec.Value = rec.Value[:n]
	}
	text, ok := unescaped(e.expires)
	if !ok || string(e.expiresType) != `"`+typeInt64+`"` {
		return rec, errForeign("property x is not " + typeInt64)
	}
	var err error
	if rec.Expires, err = strconv.ParseInt(string(text), 10, 64); err != nil || rec.Expires < 0 {
		return rec, errForeign("property x is not an instant")
	}
	if text, ok = unescaped(e.token); !ok || len(text) != kv.TokenLen {
		return rec, errForeign("property t is not a token")
	}
	rec.Token = string(text)
	return rec, nil
}

// parse reads an entity out of the JSON object that the SDK hands over, which
// it made with json.Marshal: it is well formed and has no space between tokens.
// Reading it by hand spares a map and copies of the value.
func parse(b []byte) (entity, error) {
	var e entity
	if len(b) < 2 || b[0] != '{' {
		return e, errSyntax
	}
	for rest := b[1:]; rest[0] != '}'; {
		if rest[0] == ',' {
			rest = rest[1:]
		}
		name, err := literal(rest)
		if err != nil || len(name) < 2 || name[0] != '"' {
			return e, errSyntax
		}
		if rest = rest[len(name):]; len(rest) < 2 || rest[0] != ':' {
			return e, errSyntax
		}
		value, err := literal(rest[1:])
		if err != nil || len(value)+1 >= len(rest) {
			return e, errSyntax
		}
		rest = rest[1+len(value):]
		switch string(name[1 : len(name)-1]) {
		case "RowKey":
			e.rowKey = value
		case "odata.etag":
			e.etag = value
		case propValue:
			e.value = value
		case propValue + "@odata.type":
			e.valueType = value
		case propExpires:
			e.expires = value
		case propExpires + "@odata.type":
			e.expiresType = value
		case propToken:
			e.token = value
		}
	}
	return e, nil
}

var errSyntax = errors.New("the service's answer is not the JSON of an entity")

// literal gives the JSON literal that b starts with: a string with its quotes, a
// number, true, false or null. Properties of entities are nothing else.
func literal(b []byte) ([]byte, error) {
	if len(b) > 0 && b[0] == '"' {
		for i := 1; i < len(b); i++ {
			n := bytes.IndexByte(b[i:], '"')
			if n < 0 {
				break
			}
			i += n
			slashes := 0
			for b[i-1-slashes] == '\\' {
				slashes++
			}
			if slashes%2 == 0 {
				return b[:i+1], nil
			}
		}
		return nil, errSyntax
	}
	if n := bytes.IndexAny(b, ",}"); n > 0 && !bytes.ContainsAny(b[:n], `"{[`) {
		return b[:n], nil
	}
	return nil, errSyntax
}

// unescaped gives the text of a string literal without escapes, which what skykv
// wrote never has.
func unescaped(literal []byte) ([]byte, bool) {
	if len(literal) < 2 || literal[0] != '"' || bytes.IndexByte(literal, '\\') >= 0 {
		return nil, false
	}
	return literal[1 : len(literal)-1], true
}

// text gives the text of a string literal, "" for anything else. Unquote reads
// all that json.Marshal writes.
func text(literal []byte) string {
	if plain, ok := unescaped(literal); ok {
		return string(plain)
	}
	s, err := strconv.Unquote(string(literal))
	if err != nil {
		return ""
	}
	return s
}
