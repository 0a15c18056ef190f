package main

import (
	"context"
	"crypto/rand"

	"github.com/skykv/skykv/kv/seal"
	"github.com/skykv/skykv/providers/memkv"
)

// sealWorks compare a sealed store with a store that is not sealed, and with the encryption
// alone, which is the contender "aead".
var sealWorks = []work{
	{name: "Get-sealed/service=memory", turns: 10, ops: 20_000, open: sealContenders(true)},
	{name: "Put-sealed/service=memory", turns: 10, ops: 20_000, open: sealContenders(false)},
}

func sealContenders(get bool) func(*bed) ([]contender, error) {
	return func(b *bed) ([]contender, error) {
		secret := make([]byte, seal.KeyLen)
		rand.Read(secret)
		keys, err := seal.NewKeys("2026-11", map[string][]byte{"2026-11": secret})
		if err != nil {
			return nil, err
		}
		option, err := seal.Values(keys, nil)
		if err != nil {
			return nil, err
		}
		plain, sealed := memkv.New(), memkv.New().With(option)
		b.onClose(plain.Close)
		b.onClose(sealed.Close)
		key := []byte(oneKey)
		ciphertext, err := keys.Encrypt(oneValue, key)
		if err != nil {
			return nil, err
		}
		puts := []contender{
			{store: "skykv", do: skykvPut(plain)},
			{store: "skykv-sealed", do: skykvPut(sealed)},
			{store: "aead", do: each(func(context.Context) error {
				_, err := keys.Encrypt(oneValue, key)
				return err
			})},
		}
		if !get {
			return puts, nil
		}
		for _, c := range puts {
			if err := c.do(b.ctx, 1); err != nil {
				return nil, err
			}
		}
		return []contender{
			{store: "skykv", do: skykvGet(plain)},
			{store: "skykv-sealed", do: skykvGet(sealed)},
			{store: "aead", do: each(func(context.Context) error {
				value, err := keys.Decrypt(ciphertext, key)
				return checkLen(len(value), err)
			})},
		}, nil
	}
}
