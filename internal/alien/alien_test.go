package alien

import (
	_ "embed"
	"fmt"
	"strings"
	"testing"
)

//go:embed testdata/buckets.tsv
var golden string

// The rule: Bucket returns the bucket in which the platform's programs, in Rust and in
// TypeScript, look for the key. The test vectors (key, hash, bucket) were made with Rust's
// DefaultHasher.
func TestBuckets(t *testing.T) {
	t.Parallel()
	n := 0
	for line := range strings.Lines(golden) {
		fields := strings.Split(strings.TrimRight(line, "\r\n"), "\t")
		if len(fields) != 3 {
			t.Fatalf("the line %q has %d fields; want 3", line, len(fields))
		}
		n++
		key := fields[0]
		if got := fmt.Sprintf("%016x", hash(key)); got != fields[1] {
			t.Errorf("the hash of %q is %s; want %s", key, got, fields[1])
		}
		if got := fmt.Sprint(Bucket(key)); got != fields[2] {
			t.Errorf("the bucket of %q is %s; want %s", key, got, fields[2])
		}
	}
	if n < 50 {
		t.Errorf("there are %d golden vectors; want at least 50", n)
	}
}
