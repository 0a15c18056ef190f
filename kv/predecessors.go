package kv

import "strings"

// A record's Predecessors are the names of the states that its entry was in before the
// last updates, the oldest first, with spaces between them. They let an update whose
// response was lost see that it was applied although others followed.
//
// Every write that changes a record's token appends the name of the state that it
// replaces, as updates do, or removes them all: else the missing name of an update would
// say that it was never applied.
const maxPredecessors = 8

// stateName names the state of a record: what the tokens of all attempts of a write have
// in common, or a hash where another program wrote the record.
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

// follows reports whether rec followed the state with a name.
func follows(rec Record, name string) bool {
	for of := range strings.FieldsSeq(rec.Predecessors) {
		if of == name {
			return true
		}
	}
	return false
}
