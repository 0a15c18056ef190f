package main

import (
	"slices"
	"strings"
	"testing"
)

// The rule: check finds an error in code or tests for one platform, and does not report it
// for the others.
func TestCheck(t *testing.T) {
	t.Parallel()
	for platform, want := range map[string][]string{
		"linux/386":     {"code.go:3", "tested_test.go:6"},
		"windows/amd64": {"code_windows.go:5"},
		"windows/386":   {"code.go:3", "code_windows.go:5", "tested_test.go:6"},
		"darwin/arm64":  nil,
	} {
		problems, err := check("testdata/module", platform)
		if err != nil {
			t.Errorf("%s: %v", platform, err)
			continue
		}
		slices.Sort(problems)
		if !slices.EqualFunc(problems, want, strings.Contains) {
			t.Errorf("%s: found %q; want errors at %q", platform, problems, want)
		}
	}
	if _, err := check("testdata/module", "linux"); err == nil {
		t.Error(`"linux" is accepted as a platform`)
	}
	if problems, err := check("testdata/module", "linux/pdp11"); err == nil && len(problems) == 0 {
		t.Error(`"linux/pdp11" compiles`)
	}
}
