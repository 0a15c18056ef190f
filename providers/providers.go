// Package providers opens stores by URL. It links every provider and so every
// cloud SDK: a program that uses one service imports that provider's package
// instead, whose Open takes the same URLs.
package providers

import (
	"context"
	"errors"
	"fmt"

	"github.com/skykv/skykv/kv/provider"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/aztableskv"
	"github.com/skykv/skykv/providers/dynamokv"
	"github.com/skykv/skykv/providers/firestorekv"
	"github.com/skykv/skykv/providers/localkv"
	"github.com/skykv/skykv/providers/memkv"
)

// Open opens the store that url names. These are all the URLs; every parameter is
// optional:
//
//	mem:                               memory of this process
//	file:PATH                          SQLite in one file, made if absent
//	  ?readers=N                         connections that read at once
//	dynamodb://TABLE                   AWS DynamoDB
//	  ?region=R                          else AWS_REGION, or the shared AWS files
//	  &shards=N                          partitions, 16 unless given; fixed once the table is in use
//	  &endpoint=URL                      an emulator (http) or a private connection (https)
//	firestore://PROJECT/COLLECTION     Google Cloud Firestore
//	  ?database=ID                       else "(default)"
//	  &endpoint=URL                      an emulator (http) or another front end (https)
//	aztables://ACCOUNT/TABLE           Azure Tables
//	  ?shards=N                          partitions, 16 unless given; fixed once the table is in use
//	  &endpoint=URL                      Azurite, or a sovereign or private cloud
//
// Credentials are those that the service's own tools find; they never stand in
// the URL. A table, or Firestore database, must exist: see the Ensure functions of
// the providers, or the command skykv provision. What the values may be, the Open
// of each provider's package says.
//
// A scheme, parameter or value that is not known, credentials, a fragment, and a
// parameter that is empty or there twice are errors that match
// [kv.ErrInvalidOption], before any I/O; a table, database or folder that does not
// exist is [kv.ErrNotProvisioned]. No message repeats a value of the URL that may
// be a secret.
func Open(ctx context.Context, url string) (*kv.Store, error) {
	const allowed = "allowed are mem:, file:PATH, dynamodb://TABLE, firestore://PROJECT/COLLECTION and aztables://ACCOUNT/TABLE"
	scheme := provider.Scheme(url)
	switch scheme {
	case "": // the text may be anything, such as a connection string with its key
		return nil, &kv.Error{Op: "open", Kind: kv.ErrInvalidOption, Err: errors.New("the URL has no scheme; " + allowed)}
	case "mem":
		return memkv.Open(ctx, url)
	case "file":
		return localkv.Open(ctx, url)
	case "dynamodb":
		return dynamokv.Open(ctx, url)
	case "firestore":
		return firestorekv.Open(ctx, url)
	case "aztables":
		return aztableskv.Open(ctx, url)
	}
	return nil, &kv.Error{Op: "open", Kind: kv.ErrInvalidOption, Err: fmt.Errorf("the scheme %q is unknown; %s", scheme, allowed)}
}
