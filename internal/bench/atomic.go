package main

import (
	"context"
	"strconv"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"google.golang.org/grpc/metadata"

	"github.com/skykv/skykv/kv"
)

var atomicWorks = []work{
	{name: "AtomicWrite-10/service=dynamodb", turns: 20, ops: 10, open: dynamoAtomic},
	{name: "AtomicWrite-10/service=firestore", turns: 20, ops: 10, open: firestoreAtomic},
	{name: "AtomicWrite-10/service=aztables", turns: 20, ops: 10, open: azureAtomic},
}

// atomicKeys are keys of one group.
var atomicKeys = func() []string {
	keys := make([]string, 10)
	for i := range keys {
		keys[i] = "atomic::" + strconv.Itoa(i)
	}
	return keys
}()

// atomicContenders put entries in one request of the SDK, and by AtomicWrite without and
// with conditions, which hold.
func atomicContenders(store *kv.Store, sdk func(context.Context) error) []contender {
	requests := kv.NewMeter(nil)
	store = meter(store, requests, 0)
	write := func(opts ...kv.PutOption) func(context.Context, int) error {
		return each(func(ctx context.Context) error {
			ops := make([]kv.Op, len(atomicKeys))
			for i, key := range atomicKeys {
				ops[i] = kv.PutOp(key, oneValue, opts...)
			}
			_, err := store.AtomicWrite(ctx, ops...)
			return err
		})
	}
	return []contender{
		{store: "sdk", do: each(sdk)},
		{store: "skykv", gauges: requestsOf(requests), do: write()},
		{store: "skykv-if-not-exists", gauges: requestsOf(requests), do: write(kv.IfNotExists())},
	}
}

func dynamoAtomic(b *bed) ([]contender, error) {
	s, err := b.start("dynamodb", 0)
	if err != nil {
		return nil, err
	}
	client, store, err := openDynamo(b, "http://"+s.addr)
	if err != nil {
		return nil, err
	}
	return atomicContenders(store, func(ctx context.Context) error {
		items := make([]types.TransactWriteItem, len(atomicKeys))
		for i, key := range atomicKeys {
			items[i].Put = &types.Put{TableName: aws.String(skykvTable), Item: sdkDynamoItem(key)}
		}
		_, err := client.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: items})
		return err
	}), nil
}

func firestoreAtomic(b *bed) ([]contender, error) {
	s, err := b.start("firestore", 0)
	if err != nil {
		return nil, err
	}
	opts, err := firestoreOptions(b, s.addr)
	if err != nil {
		return nil, err
	}
	client, store, _, err := openFirestore(b, opts)
	if err != nil {
		return nil, err
	}
	return atomicContenders(store, func(ctx context.Context) error {
		req := &pb.CommitRequest{Database: firestoreDatabase}
		for _, key := range atomicKeys {
			req.Writes = append(req.Writes, &pb.Write{Operation: &pb.Write_Update{Update: &pb.Document{
				Name: firestoreDocs + key, Fields: firestoreFields(oneValue, anyToken),
			}}})
		}
		_, err := client.Commit(metadata.NewOutgoingContext(ctx, firestoreHeaders), req)
		return err
	}), nil
}

func azureAtomic(b *bed) ([]contender, error) {
	s, err := b.start("aztables", 0)
	if err != nil {
		return nil, err
	}
	table, store, err := openAzure(b, "http://"+s.addr+"/devstoreaccount1")
	if err != nil {
		return nil, err
	}
	return atomicContenders(store, func(ctx context.Context) error {
		actions := make([]aztables.TransactionAction, len(atomicKeys))
		for i, key := range atomicKeys {
			entity, err := sdkAzureEntity(key)
			if err != nil {
				return err
			}
			actions[i] = aztables.TransactionAction{ActionType: aztables.TransactionTypeInsertReplace, Entity: entity}
		}
		_, err := table.SubmitTransaction(ctx, actions, nil)
		return err
	}), nil
}
