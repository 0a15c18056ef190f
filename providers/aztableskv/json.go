package aztableskv

import (
	"bytes"
	"errors"
	"strconv"
)

// eachProperty calls f with the name and the literal of every property of an entity. The SDK
// makes the JSON in b with json.Marshal, so b is well-formed and has no space between tokens.
// Reading b without package json saves a map, and copies of the value.
func eachProperty(b []byte, f func(name, literal []byte)) error {
	if len(b) < 2 || b[0] != '{' {
		return errSyntax
	}
	for rest := b[1:]; rest[0] != '}'; {
		if rest[0] == ',' {
			rest = rest[1:]
		}
		name, err := literal(rest)
		if err != nil || len(name) < 2 || name[0] != '"' {
			return errSyntax
		}
		if rest = rest[len(name):]; len(rest) < 2 || rest[0] != ':' {
			return errSyntax
		}
		value, err := literal(rest[1:])
		if err != nil || len(value)+1 >= len(rest) {
			return errSyntax
		}
		rest = rest[1+len(value):]
		f(name[1:len(name)-1], value)
	}
	return nil
}

var errSyntax = errors.New("the response is not from the service: it is not the JSON of an entity")

// literal returns the JSON literal at the start of b: a string with its quotes, a number,
// true, false or null. Properties of entities have no other values.
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

// unescaped returns the text of a string literal that has no escapes. Base64, tokens and
// numbers never have escapes.
func unescaped(literal []byte) ([]byte, bool) {
	if len(literal) < 2 || literal[0] != '"' || bytes.IndexByte(literal, '\\') >= 0 {
		return nil, false
	}
	return literal[1 : len(literal)-1], true
}

// text returns the text of a string literal, and false for any other literal.
// strconv.Unquote reads everything that json.Marshal writes.
func text(literal []byte) (string, bool) {
	if plain, ok := unescaped(literal); ok {
		return string(plain), true
	}
	s, err := strconv.Unquote(string(literal))
	return s, err == nil && literal[0] == '"'
}

// isText reports whether a literal is a string with this text.
func isText(literal []byte, want string) bool {
	if plain, ok := unescaped(literal); ok {
		return string(plain) == want
	}
	s, ok := text(literal)
	return ok && s == want
}
