package kv

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
)

// A record's Predecessors are the names of the states that its last updates replaced, the
// oldest first, separated by spaces. There are at most maxPredecessors names. After a
// lost response, an update finds the name of the state that it wrote among them, even if
// other updates have replaced that state.
//
// A write that changes a record's token must either append the name of the state that it
// replaces, as updates do, or remove all names. If it kept only the old names, the name of
// the replaced state would be missing, and the update that wrote that state would look as if
// it was never applied.
const maxPredecessors = 8

// stateName returns the name of the state of a record: the part of the token that all
// attempts of a write share, and a hash of the version. A put without a condition may be
// applied twice. Its two states have the same part of the token, but different versions. If
// another program wrote the record, the name is only a hash of the version.
func stateName(rec Record) string { return string(appendStateName(nil, rec)) }

// appendStateName appends the name of the state of rec to b. The name has at most TokenLen
// bytes.
func appendStateName(b []byte, rec Record) []byte {
	var h [8]byte
	binary.BigEndian.PutUint64(h[:], hash(rec.Version))
	if len(rec.Token) == TokenLen && isPlain(rec.Token) && !strings.Contains(rec.Token, " ") {
		return base64.RawURLEncoding.AppendEncode(append(b, rec.Token[:countFrom]...), h[:3])
	}
	return base64.RawURLEncoding.AppendEncode(append(b, '.'), h[:])
}

// succeed returns the Predecessors of a record that replaces rec: the last names in rec, and
// the name of the state of rec. It drops all names in rec if no store can have written them,
// because a driver may be unable to store such a text.
func succeed(rec Record) string {
	names := rec.Predecessors
	for strings.Count(names, " ")+1 >= maxPredecessors {
		_, names, _ = strings.Cut(names, " ")
	}
	name := appendStateName(make([]byte, 0, TokenLen), rec)
	if names == "" || !isPlain(names) || len(names)+len(" ")+len(name) > MaxPredecessorsLen {
		return string(name)
	}
	return names + " " + string(name)
}

// isPlain reports whether s is printable ASCII without quotes and backslashes.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// The function follows reports whether the Predecessors of rec contain a name that begins with
// name: a whole name, or the shared part of a write's tokens for a state that the write made.
func follows(rec Record, name string) bool {
	for of := range strings.FieldsSeq(rec.Predecessors) {
		if strings.HasPrefix(of, name) {
			return true
		}
	}
	return false
}
