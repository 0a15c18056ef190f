// Package providers opens stores by URL. It links every provider and so every
// cloud SDK: a program that uses one service imports that provider's package
// instead, whose Open takes the same URLs.
package providers

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/aztableskv"
	"github.com/skykv/skykv/providers/dynamokv"
	"github.com/skykv/skykv/providers/firestorekv"
	"github.com/skykv/skykv/providers/localkv"
	"github.com/skykv/skykv/providers/memkv"
)

// Open opens the store that url names:
//
//	mem:                                        memory of this process
//	file:app.db                                 SQLite in one file, made if absent
//	dynamodb://table?region=R                   AWS DynamoDB
//	firestore://project/collection?database=D   Google Cloud Firestore
//	aztables://account/table                    Azure Tables
//
// The Open of each provider's package says which parameters there are and where
// credentials come from, which is never the URL. A scheme, parameter or value
// that is not known is an error that matches [kv.ErrInvalidOption]; a table or
// database that does not exist is [kv.ErrNotProvisioned].
func Open(ctx context.Context, url string) (*kv.Store, error) {
	const allowed = "allowed are mem:, file:PATH, dynamodb://TABLE, firestore://PROJECT/COLLECTION and aztables://ACCOUNT/TABLE"
	scheme, _, found := strings.Cut(url, ":")
	if !found { // it may be anything, a secret included
		return nil, &kv.Error{Op: "open", Kind: kv.ErrInvalidOption, Err: errors.New("the URL has no scheme; " + allowed)}
	}
	switch scheme {
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
