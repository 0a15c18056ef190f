package kv

import (
	"strings"
	"testing"
)

func TestAttemptTokens(t *testing.T) {
	t.Parallel()
	for _, token := range []string{newToken(), strings.Repeat("A", TokenLen), strings.Repeat("_", TokenLen)} {
		seen := make(map[string]int)
		for _, round := range []int{0, 1, maxRounds - 1} {
			for attempt := range roundAttempts {
				// As the driver has it, on top of what the store has.
				got := AttemptToken(AttemptToken(token, round*roundAttempts), attempt)
				if other, twice := seen[got]; twice {
					t.Fatalf("rule: attempts have distinct tokens; those of %q numbered %d and %d have %q", token, other, round*roundAttempts+attempt, got)
				}
				seen[got] = round*roundAttempts + attempt
				if !SameWrite(got, token) || strings.Trim(got, base64url) != "" {
					t.Fatalf("rule: the tokens of one write are known by what they have in common, and of one alphabet; %q became %q", token, got)
				}
			}
		}
		if got := AttemptToken(token, 0); got != token {
			t.Errorf("rule: attempt 0 has the write's own token; %q became %q", token, got)
		}
		for _, other := range []string{newToken(), "", token[:countFrom], token + "A", string(rune(token[0]^1)) + token[1:]} {
			if SameWrite(other, token) {
				t.Errorf("rule: tokens of other writes are not taken for one's own; %q was taken for %q", other, token)
			}
		}
	}
}

const base64url = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
