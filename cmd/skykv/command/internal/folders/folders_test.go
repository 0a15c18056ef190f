package folders

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// countingDriver counts the records that scans read.
type countingDriver struct {
	kv.Driver
	read *int
}

func (d countingDriver) Scan(ctx context.Context, req kv.ScanRequest) iter.Seq2[kv.Record, error] {
	return func(yield func(kv.Record, error) bool) {
		for rec, err := range d.Driver.Scan(ctx, req) {
			if *d.read++; !yield(rec, err) {
				return
			}
		}
	}
}

// The rule: the keys under a prefix are listed once and in order. Keys with the delimiter
// are listed as folders. The rest of a long folder is not read.
func TestList(t *testing.T) {
	t.Parallel()
	store := memkv.New()
	var read int
	counting := store.With(kv.Wrap(kv.Level1, func(d kv.Driver) kv.Driver { return countingDriver{d, &read} }))
	items := []kv.Item{{Key: "a"}, {Key: "big:"}, {Key: "user"}, {Key: "user::x"}, {Key: "user:1:a"}, {Key: "user:1:b"}, {Key: "user:2"}, {Key: "z:z"}, {Key: strings.Repeat("z", kv.MaxKeyLen)}}
	for i := range 3 * long {
		items = append(items, kv.Item{Key: fmt.Sprintf("big:%05d", i)})
	}
	if _, err := store.PutMany(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		prefix, delimiter string
		want              []string
	}{
		{"", ":", []string{"a", "big:/", "user", "user:/", "z:/", strings.Repeat("z", kv.MaxKeyLen)}},
		{"user:", ":", []string{"user:1:/", "user:2", "user::/"}},
		{"user", ":", []string{"user", "user:/"}},
		{"user", "::", []string{"user", "user:1:a", "user:1:b", "user:2", "user::/"}}, // digits sort before the colon
		{"nothing", ":", nil},
	} {
		read = 0
		var got []string
		var err error
		for entry, failed := range List(t.Context(), counting, c.prefix, c.delimiter, "") {
			if err = failed; Is(entry) {
				entry.Key += "/"
			}
			got = append(got, entry.Key)
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("the prefix %q and the delimiter %q list %q, %v; want %q", c.prefix, c.delimiter, got, err, c.want)
		}
		if most := long + 20; read > most {
			t.Errorf("rule: the rest of a long folder is skipped; %d records were read, want at most %d", read, most)
		}
	}
}
