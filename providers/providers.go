// Package providers opens stores by URL. It links every provider and so every
// cloud SDK: a program that uses one service imports that provider's package
// instead, whose Open takes the same URLs.
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

// All returns the providers of this module. A program appends its own, which are
// then opened by URL like these.
func All() provider.Set {
	return provider.Set{
		memkv.Provider(),
		localkv.Provider(),
		dynamokv.Provider(),
		firestorekv.Provider(),
		aztableskv.Provider(),
	}
}

// Open opens the store that url names. These are all the URLs; every parameter is
// optional:
//
//	mem:                               memory of this process
//	file:PATH                          SQLite in one file, made if absent
//	  ?readers=N                         connections that read at once
//	dynamodb://TABLE                   AWS DynamoDB
//	  ?region=R                          else AWS_REGION, or the shared AWS files
//	  &layout=skykv                      lays the layout down in an empty table; or alien: see docs/alien.md
//	  &shards=N                          partitions, 16 unless given; fixed once the table is in use
//	  &endpoint=URL                      an emulator (http) or a private connection (https)
//	  &timeout=DURATION                  of calls without a deadline, 1m unless given
//	firestore://PROJECT/COLLECTION     Google Cloud Firestore
//	  ?database=ID                       else "(default)"
//	  &shards=N                          ranges of document names, 1 unless given; fixed once in use
//	  &endpoint=URL                      an emulator (http) or another front end (https)
//	aztables://ACCOUNT/TABLE           Azure Tables
//	  ?layout=skykv                      lays the layout down in an empty table; or alien: see docs/alien.md
//	  &shards=N                          partitions, 16 unless given; fixed once the table is in use
//	  &endpoint=URL                      Azurite, or a sovereign or private cloud
//	any of these
//	  &max-value=BYTES                   values of more than 24,576 bytes, up to 393,216: see [kv.MaxValue]
//
// Credentials are those that the service's own tools find; they never stand in
// the URL. A table, or Firestore database, must exist: see [Ensure], or the command
// skykv provision. What the values may be, the Open of each provider's package says.
//
// A scheme, parameter or value that is not known, credentials, a fragment, and a
// parameter that is empty or there twice are errors that match
// [kv.ErrInvalidOption], before any I/O; a table, database or folder that does not
// exist is [kv.ErrNotProvisioned]. No message repeats a value of the URL that may
// be a secret.
func Open(ctx context.Context, url string) (*kv.Store, error) { return All().Open(ctx, url) }

// Ensure creates what the store that url names needs and does not have yet: a table
// with its settings, the settings of a collection, a file, the layout record. It may be
// called any number of times. What belongs to another program is
// [kv.ErrIncompatible] and left as it is.
func Ensure(ctx context.Context, url string) error { return All().Ensure(ctx, url) }

// Inspect yields what there is to say of the store that url names, from the network to
// how long a read takes, and changes nothing. It is what skykv doctor prints.
func Inspect(ctx context.Context, url string) iter.Seq[provider.Check] {
	return All().Inspect(ctx, url)
}
