// Package alien has the part of the Alien platform's table layouts that is the same for
// several services. Alien is the name of that platform.
package alien

import (
	"encoding/binary"
	"math/bits"
)

// Buckets is the number of partitions over which the platform's programs spread keys.
const Buckets = 16

// Bucket returns the partition of a key, from 0 to 15. It is the key's SipHash-1-3 modulo
// [Buckets], with a hash key of zeros, as Rust's DefaultHasher computes it for a str.
func Bucket(key string) int { return int(hash(key) % Buckets) }

// hash returns the SipHash-1-3 of a key's bytes and one byte 0xFF:
// https://cr.yp.to/siphash/siphash-20120918.pdf
func hash(key string) uint64 {
	s := sip{0x736f6d6570736575, 0x646f72616e646f6d, 0x6c7967656e657261, 0x7465646279746573}
	text := append(append(make([]byte, 0, 520), key...), 0xff)
	size := len(text)
	for ; len(text) >= 8; text = text[8:] {
		s.add(binary.LittleEndian.Uint64(text))
	}
	var last [8]byte
	copy(last[:], text)
	last[7] = byte(size)
	s.add(binary.LittleEndian.Uint64(last[:]))
	s[2] ^= 0xff
	for range 3 {
		s.round()
	}
	return s[0] ^ s[1] ^ s[2] ^ s[3]
}

type sip [4]uint64

func (s *sip) add(word uint64) {
	s[3] ^= word
	s.round()
	s[0] ^= word
}

func (s *sip) round() {
	s[0] += s[1]
	s[2] += s[3]
	s[1] = bits.RotateLeft64(s[1], 13) ^ s[0]
	s[3] = bits.RotateLeft64(s[3], 16) ^ s[2]
	s[0] = bits.RotateLeft64(s[0], 32)
	s[2] += s[1]
	s[0] += s[3]
	s[1] = bits.RotateLeft64(s[1], 17) ^ s[2]
	s[3] = bits.RotateLeft64(s[3], 21) ^ s[0]
	s[2] = bits.RotateLeft64(s[2], 32)
}
