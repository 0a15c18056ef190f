package conformance

import (
	"context"
	"iter"
	"reflect"
	"slices"
	"strings"

	"github.com/skykv/skykv/kv"
)

// rangeFaults are stores that get the bounds of a scan wrong.
func rangeFaults() []fault {
	// bound returns the key of the option opt, if opt is of the same kind as the option like.
	bound := func(opt kv.PageOption, like kv.PageOption) (string, bool) {
		if opt == nil || reflect.TypeOf(opt) != reflect.TypeOf(like) {
			return "", false
		}
		return reflect.ValueOf(opt).Field(0).String(), true
	}
	// bounded returns a function that changes the options of scans and pages.
	bounded := func(change func(prefix string, opt kv.PageOption) kv.PageOption) func(store) store {
		return fronting(func(f *front) {
			f.scan = func(ctx context.Context, prefix string, opts ...kv.ScanOption) iter.Seq2[kv.Entry, error] {
				opts = slices.Clone(opts)
				for i, opt := range opts {
					if page, ok := opt.(kv.PageOption); ok {
						opts[i] = change(prefix, page)
					}
				}
				return f.store.Scan(ctx, prefix, opts...)
			}
			f.scanPage = func(ctx context.Context, prefix string, limit int, cursor string, opts ...kv.PageOption) (kv.Page, error) {
				opts = slices.Clone(opts)
				for i, opt := range opts {
					opts[i] = change(prefix, opt)
				}
				return f.store.ScanPage(ctx, prefix, limit, cursor, opts...)
			}
		})
	}
	// The function from changes the option From of scans and pages. The function before
	// changes the option Before.
	from := func(change func(prefix, key string) kv.PageOption) func(store) store {
		return bounded(func(prefix string, opt kv.PageOption) kv.PageOption {
			if key, ok := bound(opt, kv.From("")); ok {
				return change(prefix, key)
			}
			return opt
		})
	}
	before := func(change func(prefix, key string) kv.PageOption) func(store) store {
		return bounded(func(prefix string, opt kv.PageOption) kv.PageOption {
			if key, ok := bound(opt, kv.Before("")); ok {
				return change(prefix, key)
			}
			return opt
		})
	}
	return []fault{
		{
			name: "scans ignore From",
			with: from(func(_, _ string) kv.PageOption { return kv.From("") }),
			must: []string{"scan/range/from-a-key", "scan/range/from-an-absent-key", "scan/range/from-past-all", "scan/range/from-within-the-prefix", "scan/range/from-past-the-prefix",
				"scan/range/from-and-before", "scan/range/one-key", "scan/range/from-is-before", "scan/range/from-after-before", "scan/range/from-and-an-earlier-after",
				"scan/range/many", "scan/range/in-a-group", "scan/range/in-namespace", "scan/range/invalid", "page/range", "keys/invalid/slash"},
		},
		{
			name: "From leaves out its key",
			with: from(func(_, key string) kv.PageOption { return kv.From(key + strings.Repeat("-", min(1, len(key)))) }),
			must: []string{"scan/range/from-a-key", "scan/range/from-before-all", "scan/range/from-within-the-prefix", "scan/range/one-key", "scan/range/many", "page/range"},
		},
		{
			name: "a From before the prefix starts the scan there",
			with: fronting(func(f *front) {
				f.scan = func(ctx context.Context, prefix string, opts ...kv.ScanOption) iter.Seq2[kv.Entry, error] {
					for _, opt := range opts {
						if page, ok := opt.(kv.PageOption); ok {
							if key, ok := bound(page, kv.From("")); ok && key != "" && key < prefix {
								prefix = ""
							}
						}
					}
					return f.store.Scan(ctx, prefix, opts...)
				}
			}),
			must: []string{"scan/range/from-before-the-prefix", "scan/range/in-a-group", "count/range"},
			only: true,
		},
		{
			name: "scans ignore Before",
			with: before(func(_, _ string) kv.PageOption { return kv.Before("") }),
			must: []string{"scan/range/before-a-key", "scan/range/before-an-absent-key", "scan/range/before-a-key-that-begins-others", "scan/range/before-the-lowest-byte", "scan/range/before-the-lowest-key",
				"scan/range/before-the-highest-byte", "scan/range/before-within-the-prefix", "scan/range/before-the-prefix", "scan/range/before-the-prefix-itself",
				"scan/range/from-and-before", "scan/range/one-key", "scan/range/from-is-before", "scan/range/from-after-before", "scan/range/after-and-before", "scan/range/all-together",
				"scan/range/many", "scan/range/in-a-group", "scan/range/in-namespace", "scan/range/invalid", "page/range", "keys/invalid/slash"},
		},
		{
			name: "Before includes its key, and longer keys that begin with it",
			with: before(func(_, key string) kv.PageOption { return kv.Before(key + strings.Repeat("z", min(1, len(key)))) }),
			must: []string{"scan/range/before-a-key", "scan/range/before-a-key-that-begins-others", "scan/range/before-the-lowest-byte", "scan/range/before-the-highest-byte",
				"scan/range/before-within-the-prefix", "scan/range/before-the-prefix-itself", "scan/range/from-is-before", "page/range"},
		},
		{
			name: "Before ends before keys that begin like its key",
			with: before(func(_, key string) kv.PageOption { return kv.Before(key[:max(len(key)-1, min(1, len(key)))]) }),
			must: []string{"scan/range/before-a-key", "scan/range/before-the-lowest-byte", "scan/range/before-the-highest-byte", "scan/range/one-key", "scan/range/before-within-the-prefix"},
		},
		{
			name: "Before within a prefix counts as after it",
			with: before(func(prefix, key string) kv.PageOption {
				if key != "" {
					key = prefix + key
				}
				return kv.Before(key)
			}),
			must: []string{"scan/range/before-within-the-prefix", "scan/range/before-the-prefix", "scan/range/before-past-the-prefix", "scan/range/all-together"},
		},
		{
			name: "treats a Before greater than all keys as an empty range",
			with: before(func(_, key string) kv.PageOption {
				if len(key) == 5 && strings.Trim(key, "z") == "" {
					key = "-"
				}
				return kv.Before(key)
			}),
			must: []string{"scan/range/before-past-all"},
			only: true,
		},
		{
			name: "From overrides After",
			with: fronting(func(f *front) {
				// later(opts) is opts without After if there is a From.
				later := func(opts []kv.PageOption) []kv.PageOption {
					if !slices.ContainsFunc(opts, func(opt kv.PageOption) bool { key, ok := bound(opt, kv.From("")); return ok && key != "" }) {
						return opts
					}
					return slices.DeleteFunc(slices.Clone(opts), isAfter)
				}
				f.scanPage = func(ctx context.Context, prefix string, limit int, cursor string, opts ...kv.PageOption) (kv.Page, error) {
					return f.store.ScanPage(ctx, prefix, limit, cursor, later(opts)...)
				}
			}),
			must: []string{"scan/range/from-and-a-later-after", "scan/range/from-and-after-of-one-key", "scan/range/all-together"},
			only: true,
		},
		{
			name: "empty bounds are the lowest key",
			with: before(func(_, key string) kv.PageOption {
				if key == "" {
					key = "-"
				}
				return kv.Before(key)
			}),
			must: []string{"scan/range/empty-keys", "scan/range/from-a-key", "scan/range/from-and-a-later-after"},
		},
	}
}
