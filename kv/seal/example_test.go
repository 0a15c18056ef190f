package seal_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/kv/seal"
	"github.com/skykv/skykv/providers/memkv"
)

func newSecret() []byte {
	secret := make([]byte, seal.KeyLen)
	rand.Read(secret)
	return secret
}

// A program seals the values of a store that has been in use.
func ExampleValues() {
	ctx := context.Background()
	store := memkv.New() // as a rule: providers.Open(ctx, url)
	defer store.Close()
	if _, err := store.Put(ctx, "user:42", []byte("Ann")); err != nil {
		panic(err)
	}

	keys, err := seal.NewKeys("2026-11", map[string][]byte{"2026-11": newSecret()}) // from a secret manager
	if err != nil {
		panic(err)
	}
	option, err := seal.Values(keys, nil)
	if err != nil {
		panic(err)
	}
	sealed := store.With(option)
	for entry, err := range store.Scan(ctx, "") {
		if err != nil {
			panic(err)
		}
		_, err := sealed.Put(ctx, entry.Key, entry.Value, kv.IfVersion(entry.Version), kv.ExpiresAt(entry.ExpiresAt))
		if err != nil {
			panic(err) // ErrConditionFailed if somebody else has just changed the entry
		}
	}

	entry, err := sealed.Get(ctx, "user:42")
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s\n", entry.Value)
	stored, err := store.Get(ctx, "user:42")
	if err != nil {
		panic(err)
	}
	fmt.Println(bytes.Contains(stored.Value, []byte("Ann")))
	// Output:
	// Ann
	// false
}

// A tink.AEAD, from one of Tink's keysets, can seal values.
func ExampleAEAD() {
	ctx := context.Background()
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate()) // as a rule: keyset.Read, with the AEAD of a KMS
	if err != nil {
		panic(err)
	}
	primitive, err := aead.New(handle)
	if err != nil {
		panic(err)
	}
	option, err := seal.Values(primitive, nil)
	if err != nil {
		panic(err)
	}
	store := memkv.New().With(option)
	defer store.Close()
	n, err := store.Increment(ctx, "views:home", 41)
	if err != nil {
		panic(err)
	}
	n, err = store.Increment(ctx, "views:home", 1)
	if err != nil {
		panic(err)
	}
	fmt.Println(n)
	// Output: 42
}

// A key from November replaces a key from May.
func ExampleReseal() {
	ctx := context.Background()
	may, november := newSecret(), newSecret()
	base := memkv.New()
	defer base.Close()
	open := func(primary string, secrets map[string][]byte) *kv.Store {
		keys, err := seal.NewKeys(primary, secrets)
		if err != nil {
			panic(err)
		}
		option, err := seal.Values(keys, nil)
		if err != nil {
			panic(err)
		}
		return base.With(option)
	}
	before := open("2026-05", map[string][]byte{"2026-05": may})
	if _, err := before.Put(ctx, "user:42", []byte("Ann")); err != nil {
		panic(err)
	}

	both := open("2026-11", map[string][]byte{"2026-05": may, "2026-11": november})
	n, err := seal.Reseal(ctx, both, "")
	if err != nil {
		panic(err)
	}
	fmt.Println(n, "sealed anew")

	after := open("2026-11", map[string][]byte{"2026-11": november})
	entry, err := after.Get(ctx, "user:42")
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s\n", entry.Value)
	// Output:
	// 1 sealed anew
	// Ann
}
