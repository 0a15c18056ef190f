package seal

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/skykv/skykv/kv"
)

// A sealed value consists of the header, the packing byte, and the ciphertext of the packed
// value. The packing byte says how the value was packed. The associated data consists of the
// header, the packing byte, and the key of the entry as it is stored.
//
// No UTF-8 text contains the first byte of the header, so the header distinguishes sealed values
// from text. The last byte of the header is the version of the scheme.
const header = "\xffsk\x01"

const (
	plain  = 0
	zipped = 1 // compressed by zstd
)

// scheme seals and opens values.
type scheme struct {
	aead     AEAD
	compress bool
}

// associatedData returns the associated data for a value under key. Its first five bytes are
// also the first five bytes of the sealed value.
func associatedData(packing byte, key string) []byte {
	data := make([]byte, 0, len(header)+1+len(key))
	return append(append(append(data, header...), packing), key...)
}

func (s *scheme) seal(key string, value []byte) ([]byte, error) {
	packing := byte(plain)
	if s.compress {
		if packed := encoder().EncodeAll(value, nil); len(packed) < len(value) {
			packing, value = zipped, packed
		}
	}
	data := associatedData(packing, key)
	ciphertext, err := s.aead.Encrypt(value, data)
	if err != nil {
		return nil, asError(fmt.Errorf("the value cannot be sealed: %w", err))
	}
	sealed := make([]byte, 0, len(header)+1+len(ciphertext))
	return append(append(sealed, data[:len(header)+1]...), ciphertext...), nil
}

func (s *scheme) open(key string, sealed []byte) ([]byte, error) {
	ciphertext, ok := bytes.CutPrefix(sealed, []byte(header))
	if !ok || len(ciphertext) == 0 || ciphertext[0] > zipped {
		return nil, &kv.Error{Kind: kv.ErrIncompatible, Err: ErrNotSealed}
	}
	packing, ciphertext := ciphertext[0], ciphertext[1:]
	value, err := s.aead.Decrypt(ciphertext, associatedData(packing, key))
	if err != nil {
		return nil, refused(err)
	}
	if packing == zipped {
		if value, err = decoder().DecodeAll(value, []byte{}); err != nil {
			return nil, &kv.Error{Kind: kv.ErrIncompatible, Err: errZipped}
		}
	}
	if value == nil {
		value = []byte{}
	}
	return value, nil
}

var errZipped = fmt.Errorf("the value is sealed as it should be, but cannot be decompressed to at most %d bytes", kv.MaxLargeValueLen)

// window is the size of the zstd window. No value is larger, and a larger window would take
// more memory.
const window = 512 << 10

var (
	encoder = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithWindowSize(window), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
		if err != nil {
			panic(err) // an option is wrong
		}
		return e
	})

	// decoder refuses data that would become larger than any value, before it allocates the
	// memory.
	decoder = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(kv.MaxLargeValueLen), zstd.WithDecoderMaxWindow(window), zstd.WithDecoderConcurrency(0), zstd.WithDecoderLowmem(true))
		if err != nil {
			panic(err) // an option is wrong
		}
		return d
	})
)
