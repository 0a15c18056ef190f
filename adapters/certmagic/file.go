package certmagic

import (
	"encoding/binary"
	"errors"
	"time"
)

// file is the content of an entry: the time of writing and the contents of the file. The time
// is stored first, in milliseconds since the Unix epoch, as 8 bytes in big-endian order.
type file struct {
	modified time.Time
	contents []byte
}

func encode(f file) []byte {
	value := make([]byte, 0, 8+len(f.contents))
	value = binary.BigEndian.AppendUint64(value, uint64(f.modified.UnixMilli()))
	return append(value, f.contents...)
}

func decode(value []byte) (file, error) {
	if len(value) < 8 {
		return file{}, errors.New("the value is no file; want what package certmagic wrote")
	}
	return file{time.UnixMilli(int64(binary.BigEndian.Uint64(value))), value[8:]}, nil
}
