package kv

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestVersionText(t *testing.T) {
	t.Parallel()
	for _, v := range []Version{
		{provider: "mem", key: hash("k"), native: "n"},
		{provider: "dynamodb", key: hash("a.b"), expires: 1 << 42, native: newToken()},
		{provider: "aztables", key: hash(strings.Repeat("k", 512)), native: `W/"datetime'2026-03-01T12%3A00%3A00.0000000Z'"`},
	} {
		text := v.String()
		if parsed, err := ParseVersion(text); err != nil || parsed != v {
			t.Errorf("rule: ParseVersion reads what String returned; %q is read as %v, %v", text, parsed, err)
		}
		if text != strings.Trim(text, " \t\n\"+/=") {
			t.Errorf("rule: a version's text is safe in URLs and headers; got %q", text)
		}
		marshalled, err := json.Marshal(map[string]Version{"v": v})
		var back map[string]Version
		if err != nil || json.Unmarshal(marshalled, &back) != nil || back["v"] != v {
			t.Errorf("rule: a version survives JSON; %s became %v, %v", marshalled, back, err)
		}
		for i := range len(text) {
			for bit := range 7 {
				damaged := []byte(text)
				damaged[i] ^= 1 << bit
				if _, err := ParseVersion(string(damaged)); !errors.Is(err, ErrInvalidVersion) {
					t.Fatalf("rule: a damaged version is ErrInvalidVersion; bit %d of byte %d of %q flipped returned %v", bit, i, text, err)
				}
			}
			if _, err := ParseVersion(text[:i]); !errors.Is(err, ErrInvalidVersion) {
				t.Fatalf("rule: a truncated version is ErrInvalidVersion; %d bytes of %q returned %v", i, text, err)
			}
		}
	}
	text := Version{provider: "mem", key: 1, native: "n"}.String()
	for _, other := range []string{text + "\n", "\r\n" + text, text[:4] + "\n" + text[4:]} {
		if _, err := ParseVersion(other); !errors.Is(err, ErrInvalidVersion) {
			t.Errorf("rule: a version has one text; %q returned %v", other, err)
		}
	}
	if text := (Version{}).String(); text != "" {
		t.Errorf("rule: the zero version has no text; got %q", text)
	}
	var v Version
	if err := json.Unmarshal([]byte(`""`), &v); err != nil || v != (Version{}) {
		t.Errorf("rule: the zero version survives JSON; got %v, %v", v, err)
	}
}

func FuzzParseVersion(f *testing.F) {
	f.Add("")
	f.Add(Version{provider: "mem", key: hash("k"), native: "n"}.String())
	f.Add(Version{provider: "dynamodb", key: hash("k"), expires: 99, native: newToken()}.String())
	f.Fuzz(func(t *testing.T, text string) {
		v, err := ParseVersion(text)
		if err != nil {
			if !errors.Is(err, ErrInvalidVersion) || v != (Version{}) {
				t.Fatalf("rule: a text that is not a version is ErrInvalidVersion and the zero Version; %q returned %v, %v", text, v, err)
			}
			return
		}
		if v.String() != text {
			t.Fatalf("rule: a version has one text; %q came back as %q", text, v)
		}
	})
}

func FuzzCursor(f *testing.F) {
	f.Add("", "")
	f.Add("user:", cursorAfter("user:", "user:42"))
	f.Add("", cursorAfter("", strings.Repeat("z", 512)))
	f.Fuzz(func(t *testing.T, prefix, cursor string) {
		if checkPrefix(prefix, MaxKeyLen) != nil {
			return
		}
		key, err := cursorKey(prefix, cursor)
		switch {
		case err != nil:
			if err.Kind != ErrInvalidCursor || key != "" {
				t.Fatalf("rule: a text that is not a cursor is ErrInvalidCursor; %q returned %q, %v", cursor, key, err)
			}
		case key == "":
			if cursor != "" {
				t.Fatalf("rule: only the empty cursor is the start; %q is too", cursor)
			}
		default:
			if !strings.HasPrefix(key, prefix) || checkKey(key, MaxKeyLen) != nil {
				t.Fatalf("rule: no cursor leaves the prefix; %q leads from %q to %q", cursor, prefix, key)
			}
			if r := new(Store).scanRequest(prefix, scanPlan{after: key}); r.From <= key || r.From < prefix || r.To != prefix+afterKeys {
				t.Fatalf("rule: no cursor widens a scan; after %q it reads from %q to %q", key, r.From, r.To)
			}
			if cursorAfter(prefix, key) != cursor {
				t.Fatalf("rule: a position has one cursor; %q came back as %q", cursor, cursorAfter(prefix, key))
			}
		}
	})
}

func TestCursors(t *testing.T) {
	t.Parallel()
	cursor := cursorAfter("user:", "user:42")
	if key, err := cursorKey("user:", cursor); err != nil || key != "user:42" {
		t.Errorf("rule: a cursor is the position after a key; got %q, %v", key, err)
	}
	for _, other := range []string{"", "u", "user", "user:4", "user:42", "order:"} {
		if _, err := cursorKey(other, cursor); err == nil || err.Kind != ErrInvalidCursor {
			t.Errorf("rule: another prefix's cursor is ErrInvalidCursor; under %q it returned %v", other, err)
		}
	}
	for i := range len(cursor) {
		for bit := range 7 {
			damaged := []byte(cursor)
			damaged[i] ^= 1 << bit
			if _, err := cursorKey("user:", string(damaged)); err == nil || err.Kind != ErrInvalidCursor {
				t.Fatalf("rule: a damaged cursor is ErrInvalidCursor; bit %d of byte %d flipped returned %v", bit, i, err)
			}
		}
		if _, err := cursorKey("user:", cursor[:i]); i > 0 && (err == nil || err.Kind != ErrInvalidCursor) {
			t.Fatalf("rule: a truncated cursor is ErrInvalidCursor; %d bytes returned %v", i, err)
		}
	}
}
