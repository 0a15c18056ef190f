package kv

import "strings"

// A record's Predecessors are the names of the states of its entry before the last
// updates, the oldest first, separated by spaces. An update whose response was lost
// finds its own state there, even if other updates followed.
//
// Every write that changes a record's token either appends the name of the state that it
// replaces, as updates do, or removes all names. Otherwise an update whose name is
// missing would look as if it was never applied.
const maxPredecessors = 8

// stateName returns the name of the state of a record: the part of the token that all
// attempts of a write share, or a hash if another program wrote the record.
func stateName(rec Record) string {
	if len(rec.Token) == TokenLen {
		return rec.Token[:countFrom]
	}
	h := hash(rec.Version)
	return "." + encodeText([]byte{byte(h >> 56), byte(h >> 48), byte(h >> 40), byte(h >> 32), byte(h >> 24), byte(h >> 16), byte(h >> 8), byte(h)})
}

// succeed returns the Predecessors of a record that replaces rec.
func succeed(rec Record) string {
	names := rec.Predecessors
	for strings.Count(names, " ")+1 >= maxPredecessors {
		_, names, _ = strings.Cut(names, " ")
	}
	if names == "" {
		return stateName(rec)
	}
	return names + " " + stateName(rec)
}

// follows reports whether rec came after the state with that name.
func follows(rec Record, name string) bool {
	for of := range strings.FieldsSeq(rec.Predecessors) {
		if of == name {
			return true
		}
	}
	return false
}
