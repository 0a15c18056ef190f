// Package providers opens stores by URL. It links every provider, and so the SDK of every
// cloud. A program that uses one service should import that provider's package instead. Its
// Open takes the same URLs.
package providers

import (
	"context"
	"iter"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/provider"
	"github.com/skykv/skykv/providers/aztableskv"
	"github.com/skykv/skykv/providers/dynamokv"
	"github.com/skykv/skykv/providers/firestorekv"
	"github.com/skykv/skykv/providers/localkv"
	"github.com/skykv/skykv/providers/memkv"
)

// All returns the providers of this module. A program may append its own providers. The Open
// method of the resulting set then opens their URLs too.
func All() provider.Set {
	return provider.Set{
		memkv.Provider(),
		localkv.Provider(),
		dynamokv.Provider(),
		firestorekv.Provider(),
		aztableskv.Provider(),
	}
}

// Open opens the store that url names. These are all forms of URL. Every parameter is
// optional:
//
//	mem:                               memory of this process
//	file:PATH                          SQLite in one file, created if absent
//	  ?readers=N                         connections that read at once
//	dynamodb://TABLE                   AWS DynamoDB
//	  ?region=R                          default: AWS_REGION, or the shared AWS files
//	  &layout=skykv                      sets up the layout in an empty table; or alien: see docs/alien.md
//	  &shards=N                          partitions, default 16; fixed once the table is in use
//	  &endpoint=URL                      an emulator (http) or a private connection (https)
//	  &timeout=DURATION                  of calls without a deadline, default 1m
//	firestore://PROJECT/COLLECTION     Google Cloud Firestore
//	  ?database=ID                       default: "(default)"
//	  &layout=skykv                      sets up the layout in an empty collection; or alien: see docs/alien.md
//	  &shards=N                          ranges of document names, default 1; fixed once in use
//	  &endpoint=URL                      an emulator (http) or another front end (https)
//	  &timeout=DURATION                  of calls without a deadline, default 1m
//	aztables://ACCOUNT/TABLE           Azure Tables
//	  ?layout=skykv                      sets up the layout in an empty table; or alien: see docs/alien.md
//	  &shards=N                          partitions, default 16; fixed once the table is in use
//	  &endpoint=URL                      Azurite, or a sovereign or private cloud
//	  &timeout=DURATION                  of calls without a deadline, default 1m
//	any of these
//	  &max-value=BYTES                   values of more than 24,576 bytes, up to 393,216: see [kv.MaxValue]
//
// The credentials come from the sources that the service's own tools use. They must not be
// in the URL. A table or Firestore database must exist: see [Ensure], or the command skykv
// provision. The Open function of each provider's package describes the parameters.
//
// Open refuses a URL with an unknown scheme or parameter, an invalid value, a parameter that
// is empty or repeated, credentials, or a fragment. The error matches [kv.ErrInvalidOption]
// and comes before any I/O. For a table, database or folder that does not exist, Open returns
// [kv.ErrNotProvisioned]. No message repeats a part of the URL that may be a secret.
func Open(ctx context.Context, url string) (*kv.Store, error) { return All().Open(ctx, url) }

// Ensure creates everything that the store of url needs and does not have yet: a table with
// its settings, the settings of a collection, a file, the layout record. It may be called
// any number of times. If the table or collection belongs to another program, Ensure does not
// change it, and returns [kv.ErrIncompatible].
func Ensure(ctx context.Context, url string) error { return All().Ensure(ctx, url) }

// Inspect checks the store of url, from the network connection to the duration of a read. It
// yields the result of each check, and changes nothing. The command skykv doctor prints the
// results.
func Inspect(ctx context.Context, url string) iter.Seq[provider.Check] {
	return All().Inspect(ctx, url)
}
