module github.com/skykv/skykv/internal/middleware

go 1.26.0

require (
	github.com/skykv/skykv v0.0.0-00010101000000-000000000000
	github.com/skykv/skykv/kv/seal v0.0.0-00010101000000-000000000000
)

require github.com/klauspost/compress v1.18.6 // indirect

replace (
	github.com/skykv/skykv => ../..
	github.com/skykv/skykv/kv/seal => ../../kv/seal
)
