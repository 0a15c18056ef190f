package watch

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"github.com/skykv/skykv/kv"
)

// mark is a hash of the version of an entry.
type mark [8]byte

func markOf(v kv.Version) mark {
	sum := sha256.Sum256([]byte(v.String()))
	return mark(sum[:8])
}

// A cursor consists of a format byte, a checksum of the prefix and of all that follows, and
// the keys without the prefix, in ascending order. For each key it contains the number of
// bytes that the key shares with the key before it, the number of its remaining bytes, the
// remaining bytes, and the mark.
const cursorFormat = 1

const cursorHeader = 1 + len(mark{})

func checksum(prefix string, body []byte) []byte {
	sum := sha256.New()
	sum.Write(binary.AppendUvarint(nil, uint64(len(prefix))))
	sum.Write([]byte(prefix))
	sum.Write(body)
	return sum.Sum(nil)[:len(mark{})]
}

// encodeCursor returns the cursor of the yielded states of a prefix.
func encodeCursor(prefix string, yielded map[string]state) []byte {
	cursor := make([]byte, cursorHeader, cursorHeader+len(yielded)*16)
	cursor[0] = cursorFormat
	last := ""
	for _, key := range slices.Sorted(maps.Keys(yielded)) {
		m := yielded[key].mark
		key = key[len(prefix):]
		shared := 0
		for shared < min(len(last), len(key)) && last[shared] == key[shared] {
			shared++
		}
		cursor = binary.AppendUvarint(cursor, uint64(shared))
		cursor = binary.AppendUvarint(cursor, uint64(len(key)-shared))
		cursor = append(append(cursor, key[shared:]...), m[:]...)
		last = key
	}
	copy(cursor[1:], checksum(prefix, cursor[cursorHeader:]))
	return cursor
}

// decodeCursor reads the result of encodeCursor. The empty cursor has no states.
func decodeCursor(prefix string, cursor []byte) (map[string]state, error) {
	yielded := make(map[string]state)
	if len(cursor) == 0 {
		return yielded, nil
	}
	if len(cursor) < cursorHeader || cursor[0] != cursorFormat {
		return nil, errors.New("the bytes are not a cursor; want a result of Change.Cursor, or nothing")
	}
	damaged := errors.New("the cursor is damaged or belongs to another prefix; want a result of Change.Cursor, or nothing")
	body := cursor[cursorHeader:]
	if !bytes.Equal(cursor[1:cursorHeader], checksum(prefix, body)) {
		return nil, damaged
	}
	// The checksum detects only accidents: anybody can compute a valid one.
	for last := ""; len(body) > 0; {
		shared, n := binary.Uvarint(body)
		if n <= 0 || shared > uint64(len(last)) {
			return nil, damaged
		}
		body = body[n:]
		rest, n := binary.Uvarint(body)
		if n <= 0 || rest > kv.MaxKeyLen || len(body)-n < int(rest)+len(mark{}) {
			return nil, damaged
		}
		body = body[n:]
		key := last[:shared] + string(body[:rest])
		if len(yielded) > 0 && key <= last || kv.ValidateKey(prefix+key) != nil {
			return nil, damaged
		}
		yielded[prefix+key] = state{mark: mark(body[rest:])}
		body, last = body[int(rest)+len(mark{}):], key
	}
	return yielded, nil
}
