package kv

import "strings"

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
// attempts of a write share. If another program wrote the record, the name is a hash of
// the version.
func stateName(rec Record) string {
	if len(rec.Token) == TokenLen && isPlain(rec.Token) && !strings.Contains(rec.Token, " ") {
		return rec.Token[:countFrom]
	}
	h := hash(rec.Version)
	return "." + encodeText([]byte{byte(h >> 56), byte(h >> 48), byte(h >> 40), byte(h >> 32), byte(h >> 24), byte(h >> 16), byte(h >> 8), byte(h)})
}

// succeed returns the Predecessors of a record that replaces rec: the last names in rec, and
// the name of the state of rec. It drops all names in rec if no store can have written them,
// because a driver may be unable to store such a text.
func succeed(rec Record) string {
	names := rec.Predecessors
	for strings.Count(names, " ")+1 >= maxPredecessors {
		_, names, _ = strings.Cut(names, " ")
	}
	name := stateName(rec)
	if names == "" || !isPlain(names) || len(names)+len(" ")+len(name) > MaxPredecessorsLen {
		return name
	}
	return names + " " + name
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

// The function follows reports whether the Predecessors of rec contain the name.
func follows(rec Record, name string) bool {
	for of := range strings.FieldsSeq(rec.Predecessors) {
		if of == name {
			return true
		}
	}
	return false
}
