package kv_test

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/memkv"
)

// A codec can be any pair of functions that encode and decode values. The codec of this
// example uses Protocol Buffers.
func ExampleNewTyped() {
	ctx := context.Background()
	names := kv.NewTyped(memkv.New(), kv.Codec[*wrapperspb.StringValue]{
		Marshal: func(m *wrapperspb.StringValue) ([]byte, error) { return proto.Marshal(m) },
		Unmarshal: func(raw []byte) (*wrapperspb.StringValue, error) {
			m := new(wrapperspb.StringValue)
			return m, proto.Unmarshal(raw, m)
		},
	})
	if _, err := names.Put(ctx, "user:42", wrapperspb.String("Ann")); err != nil {
		panic(err)
	}
	entry, err := names.Get(ctx, "user:42")
	fmt.Println(entry.Value.GetValue(), err)
	// Output: Ann <nil>
}
