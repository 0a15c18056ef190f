package main

import (
	"context"
	"maps"
	"strconv"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go/middleware"
	"google.golang.org/grpc/metadata"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/dynamokv"
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

// atomicContenders returns three contenders that put a group of entries: with the function
// sdk, with an AtomicWrite without conditions, and with an AtomicWrite whose conditions hold.
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
	sent, err := dynamoTransaction(b, "http://"+s.addr)
	if err != nil {
		return nil, err
	}
	return append(atomicContenders(store, func(ctx context.Context) error {
		items := make([]types.TransactWriteItem, len(atomicKeys))
		for i, key := range atomicKeys {
			items[i].Put = &types.Put{TableName: aws.String(skykvTable), Item: sdkDynamoItem(key)}
		}
		_, err := client.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: items})
		return err
	}), contender{store: "sdk-with-conditions", do: each(func(ctx context.Context) error {
		items := make([]types.TransactWriteItem, len(sent.TransactItems))
		for i, item := range sent.TransactItems { // new items for each request, as in the other contenders
			put := *item.Put
			put.Item = maps.Clone(put.Item)
			items[i].Put = &put
		}
		_, err := client.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: items, ClientRequestToken: sent.ClientRequestToken})
		return err
	})}), nil
}

// dynamoTransaction returns the request that a store sends for an AtomicWrite that puts
// atomicKeys. Unlike the transaction of the contender "sdk", it has a condition for each item.
func dynamoTransaction(b *bed, endpoint string) (sent *dynamodb.TransactWriteItemsInput, err error) {
	config := dynamoConfig()
	config.APIOptions = append(config.APIOptions, func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("bench:Sent", func(
			ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
		) (middleware.InitializeOutput, middleware.Metadata, error) {
			if transaction, ok := in.Parameters.(*dynamodb.TransactWriteItemsInput); ok {
				sent = transaction
			}
			return next.HandleInitialize(ctx, in)
		}), middleware.Before)
	})
	store, err := dynamokv.New(b.ctx, steadyClient(config, endpoint), skykvTable, nil)
	if err != nil {
		return nil, err
	}
	defer store.Close()
	ops := make([]kv.Op, len(atomicKeys))
	for i, key := range atomicKeys {
		ops[i] = kv.PutOp(key, oneValue)
	}
	_, err = store.AtomicWrite(b.ctx, ops...)
	return sent, err
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
