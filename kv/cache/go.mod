module github.com/skykv/skykv/kv/cache

go 1.26.0

require (
	github.com/maypok86/otter/v2 v2.4.0
	github.com/skykv/skykv v0.0.0-00010101000000-000000000000
)

replace github.com/skykv/skykv => ../..
