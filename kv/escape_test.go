package kv_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/skykv/skykv/kv"
)

// Programs have stored keys that EscapeKey returned, so these vectors must never be edited.
func TestEscapeKeyGoldenVectors(t *testing.T) {
	t.Parallel()
	for text, key := range map[string]string{
		"":                      "",
		"user@example.com":      "user_40example.com",
		"x+rsa":                 "x_2Brsa",
		"a/b/../c":              "a_2Fb_2F.._2Fc",
		"https://example.com/?": "https_3A_2F_2Fexample.com_2F_3F",
		"a_b":                   "a_5Fb",
		"a::b":                  "a_3A_3Ab",
		"AZaz09-.":              "AZaz09-.",
		"é":                     "_C3_A9",
		"\x00\xff":              "_00_FF",
		" ":                     "_20",
	} {
		if got := kv.EscapeKey(text); got != key {
			t.Errorf("rule: the result for a text never changes; EscapeKey(%q) = %q, want %q", text, got, key)
		}
		if got, err := kv.UnescapeKey(key); got != text || err != nil {
			t.Errorf("rule: UnescapeKey reverses EscapeKey; UnescapeKey(%q) = %q, %v, want %q", key, got, err, text)
		}
	}
}

func TestUnescapeKeyRefuses(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"_", "a_", "_4", "_4g", "_4_", "_40_", "_2b", "_41", "_2D", "a:b", "a b", "é", "a/b", "\x00"} {
		if text, err := kv.UnescapeKey(key); !errors.Is(err, kv.ErrInvalidKey) || text != "" {
			t.Errorf("rule: a text that is no result of EscapeKey is ErrInvalidKey; UnescapeKey(%q) = %q, %v", key, text, err)
		}
	}
}

func FuzzEscapeKey(f *testing.F) {
	f.Add("user@example.com", "_40")
	f.Add("", "\x00")
	f.Add("_5F", "é")
	f.Fuzz(func(t *testing.T, a, b string) {
		key := kv.EscapeKey(a)
		if text, err := kv.UnescapeKey(key); text != a || err != nil {
			t.Fatalf("rule: UnescapeKey reverses EscapeKey; %q became %q, %v", a, text, err)
		}
		if strings.Contains(key, ":") || kv.ValidatePrefix(key[:min(len(key), kv.MaxKeyLen)]) != nil {
			t.Fatalf("rule: the result is a part of a key without a colon; %q became %q", a, key)
		}
		if (a == b) != (key == kv.EscapeKey(b)) {
			t.Fatalf("rule: different texts have different results; %q and %q became %q", a, b, key)
		}
		if !strings.HasPrefix(kv.EscapeKey(a+b), key) || strings.HasPrefix(kv.EscapeKey(b), key) != strings.HasPrefix(b, a) {
			t.Fatalf("rule: a result begins with another result exactly if the text begins with the other text; %q and %q", a, b)
		}
		// UnescapeKey refuses every key that is not a result of EscapeKey.
		if text, err := kv.UnescapeKey(b); err == nil && kv.EscapeKey(text) != b {
			t.Fatalf("rule: one text has one key; UnescapeKey(%q) = %q, whose key is %q", b, text, kv.EscapeKey(text))
		}
	})
}

// Programs have stored keys that HashKey returned, so these vectors must never be edited.
func TestHashKeyGoldenVectors(t *testing.T) {
	t.Parallel()
	for text, key := range map[string]string{
		"":                         "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU",
		"abc":                      "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0",
		strings.Repeat("a", 1<<20): "m8GyooiyavclejYneuOBan1PFuicHn530KXEi61is2A",
	} {
		if got := kv.HashKey(text); got != key || kv.ValidateKey(got) != nil {
			t.Errorf("rule: the result for a text never changes, and is legal; HashKey(%.10q…) = %q, want %q", text, got, key)
		}
	}
}
