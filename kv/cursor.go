package kv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// A cursor is the position after a key. It is the base64url text of three parts: a
// format byte, a checksum of the scan's prefix and the key, and the key itself. A
// cursor depends on no session, store or number of shards, so it can continue any
// scan of the same prefix.
const cursorFormat = 1

const cursorHeader = 1 + 8

// cursorAfter returns the cursor after key in the scan of prefix.
func cursorAfter(prefix, key string) string {
	b := make([]byte, cursorHeader, cursorHeader+len(key))
	b[0] = cursorFormat
	binary.BigEndian.PutUint64(b[1:], hash(prefix, key))
	return encodeText(append(b, key...))
}

// cursorKey returns the key of a cursor, "" for the empty cursor.
func cursorKey(prefix, cursor string) (string, *Error) {
	if cursor == "" {
		return "", nil
	}
	const most = (cursorHeader + MaxKeyLen + 2) / 3 * 4 // longer texts are not decoded
	if len(cursor) > most {
		return "", &Error{Kind: ErrInvalidCursor, Err: fmt.Errorf("the text has %d bytes, more than any cursor; want Next of a page of the same prefix, or nothing for the first page", len(cursor))}
	}
	b, ok := decodeText(cursor)
	if !ok || len(b) < cursorHeader || b[0] != cursorFormat {
		return "", &Error{Kind: ErrInvalidCursor, Err: errors.New("the text is not a cursor; want Next of a page of the same prefix, or nothing for the first page")}
	}
	key := string(b[cursorHeader:])
	if binary.BigEndian.Uint64(b[1:]) != hash(prefix, key) || !strings.HasPrefix(key, prefix) || checkKey(key, MaxKeyLen) != nil {
		return "", &Error{Kind: ErrInvalidCursor, Err: errors.New("the cursor is damaged or belongs to another prefix; want Next of a page of the same prefix, or nothing for the first page")}
	}
	return key, nil
}
