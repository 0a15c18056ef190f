module github.com/skykv/skykv/kv/seal

go 1.26.0

require (
	github.com/klauspost/compress v1.18.6
	github.com/skykv/skykv v0.0.0-00010101000000-000000000000
	github.com/tink-crypto/tink-go/v2 v2.9.0
)

require (
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)

replace github.com/skykv/skykv => ../..
