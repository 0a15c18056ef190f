package tested

import "testing"

func TestUpper(t *testing.T) {
	if n := 1 << 40; Upper("a") != "A" {
		t.Error(n)
	}
}
