package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/skykv/skykv/conformance/emulator"
	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/dynamokv"
)

// emulators are the emulators of the cloud services. Each starts when it is first used.
type emulators struct {
	started map[emulator.Kind]*emulator.Emulator
	failed  map[emulator.Kind]error
}

func (es *emulators) works() []work {
	const turns, ops = 5, 10
	return []work{
		{name: "Get/service=dynamodb-local", turns: turns, ops: ops, open: es.dynamo(dynamoGet)},
		{name: "Put/service=dynamodb-local", turns: turns, ops: ops, open: es.dynamo(dynamoPut)},
		{name: "Scan-2000/service=dynamodb-local", turns: 1, ops: 1, open: es.dynamoScan},
		{name: "Get/service=firestore-emulator", turns: turns, ops: ops, open: es.filled(emulator.KindFirestore, firestoreStores, true)},
		{name: "Put/service=firestore-emulator", turns: turns, ops: ops, open: es.filled(emulator.KindFirestore, firestoreStores, false)},
		{name: "Get/service=azurite", turns: turns, ops: ops, open: es.filled(emulator.KindAzureTables, azureStores, true)},
		{name: "Put/service=azurite", turns: turns, ops: ops, open: es.filled(emulator.KindAzureTables, azureStores, false)},
	}
}

func (es *emulators) endpoint(ctx context.Context, kind emulator.Kind) (string, error) {
	if e := es.started[kind]; e != nil {
		return e.Endpoint, nil
	}
	if err := es.failed[kind]; err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 8*time.Minute) // the emulator may have to be installed
	defer cancel()
	e, err := emulator.Start(ctx, kind)
	if err != nil {
		if es.failed == nil {
			es.failed = make(map[emulator.Kind]error)
		}
		es.failed[kind] = err
		return "", err
	}
	if es.started == nil {
		es.started = make(map[emulator.Kind]*emulator.Emulator)
	}
	es.started[kind] = e
	return e.Endpoint, nil
}

func (es *emulators) stop() {
	for kind, e := range es.started {
		if err := e.Stop(); err != nil {
			fmt.Fprintf(os.Stderr, "bench: stopping %s: %v\n", kind, err)
		}
	}
}

func (es *emulators) dynamoClient(b *bed) (client *dynamodb.Client, endpoint string, err error) {
	if endpoint, err = es.endpoint(b.ctx, emulator.KindDynamoDB); err != nil {
		return nil, "", err
	}
	client = steadyClient(dynamoConfig(), endpoint)
	return client, endpoint, dynamokv.EnsureWith(b.ctx, client, skykvTable, nil)
}

func (es *emulators) dynamo(op dynamoOperation) func(*bed) ([]contender, error) {
	return func(b *bed) ([]contender, error) {
		_, endpoint, err := es.dynamoClient(b)
		if err != nil {
			return nil, err
		}
		if _, err := openGokvDynamo(endpoint); err != nil { // this creates the peers' table
			return nil, err
		}
		if err := es.fill(b, endpoint); err != nil {
			return nil, err
		}
		return dynamoStores(b, endpoint, op)
	}
}

// fill puts the entries that the gets read.
func (es *emulators) fill(b *bed, endpoint string) error {
	puts, err := dynamoStores(b, endpoint, dynamoPut)
	return putOnce(b.ctx, puts, err)
}

func putOnce(ctx context.Context, puts []contender, err error) error {
	for _, c := range puts {
		if err == nil {
			err = c.do(ctx, 1)
		}
	}
	return err
}

func (es *emulators) dynamoScan(b *bed) ([]contender, error) {
	const entries = 2000
	client, _, err := es.dynamoClient(b)
	if err != nil {
		return nil, err
	}
	store, err := dynamokv.New(b.ctx, client, skykvTable, nil)
	if err != nil {
		return nil, err
	}
	items := make([]kv.Item, entries)
	for i := range items {
		items[i] = kv.Item{Key: fmt.Sprintf("%s%08d", manyPrefix, i), Value: oneValue}
	}
	if _, err := store.PutMany(b.ctx, items); err != nil {
		return nil, err
	}
	return []contender{
		{store: "sdk", do: each(func(ctx context.Context) error { return scanInSequence(ctx, client, manyPrefix, entries) })},
		{store: "skykv", do: skykvScan(store, manyPrefix, entries)},
	}, nil
}

// filled returns a function that opens contenders on the emulator of this kind, and starts the
// emulator if necessary. Every store puts once, so that there is an entry to get.
func (es *emulators) filled(kind emulator.Kind, stores func(b *bed, endpoint string, get bool) ([]contender, error), get bool) func(*bed) ([]contender, error) {
	return func(b *bed) ([]contender, error) {
		endpoint, err := es.endpoint(b.ctx, kind)
		if err != nil {
			return nil, err
		}
		puts, err := stores(b, endpoint, false)
		if err := putOnce(b.ctx, puts, err); err != nil || !get {
			return puts, err
		}
		return stores(b, endpoint, true)
	}
}
