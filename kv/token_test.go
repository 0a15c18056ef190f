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
				// The store derives a token for each of its calls of the driver. From it,
				// the driver derives a token for each attempt.
				got := AttemptToken(AttemptToken(token, round*roundAttempts), attempt)
				if other, twice := seen[got]; twice {
					t.Fatalf("rule: attempts have distinct tokens; attempts %[2]d and %[3]d of %[1]q have %[4]q", token, other, round*roundAttempts+attempt, got)
				}
				seen[got] = round*roundAttempts + attempt
				if !SameWrite(got, token) || strings.Trim(got, base64url) != "" {
					t.Fatalf("rule: the tokens of one write share a part, and have one alphabet; %q became %q", token, got)
				}
			}
		}
		if got := AttemptToken(token, 0); got != token {
			t.Errorf("rule: attempt 0 has the write's own token; %q became %q", token, got)
		}
		for _, other := range []string{newToken(), "", token[:countFrom], token + "A", string(rune(token[0]^1)) + token[1:]} {
			if SameWrite(other, token) {
				t.Errorf("rule: the tokens of two writes are told apart; %q was taken for %q", other, token)
			}
		}
	}
}

const base64url = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
