package transfer

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"os"
	"time"

	"github.com/skykv/skykv/cmd/skykv/command/internal/entryline"
	"github.com/skykv/skykv/kv"
)

// FromLines returns a source that reads lines. The function open must return the lines
// after the first offset bytes. The reader that it returns must fail soon after ctx ends.
func FromLines(open func(ctx context.Context, offset int64) (io.Reader, error)) Source {
	return func(ctx context.Context, from Position) iter.Seq2[Record, error] {
		return func(yield func(Record, error) bool) {
			r, err := open(ctx, from.Offset)
			if err != nil {
				yield(Record{}, err)
				return
			}
			lines := entryline.NewDecoder(r, from.Offset, from.Line)
			for {
				entry, err := lines.Decode()
				if err == io.EOF {
					return
				}
				if err != nil {
					yield(Record{}, err)
					return
				}
				offset, line := lines.Position()
				if !yield(Record{entry, Position{Offset: offset, Line: line}}, nil) {
					return
				}
			}
		}
	}
}

// Mark is a place in a file of lines, given by the length and the CRC-32 of the part
// before it. The zero Mark is the beginning.
type Mark struct {
	Length int64  `json:"length"`
	Sum    uint32 `json:"sum"`
}

// Check reads r up to the mark, and returns an error if the content is different.
func (m Mark) Check(r io.Reader) error {
	sum := crc32.NewIEEE()
	n, err := io.CopyN(sum, r, m.Length)
	switch {
	case err == io.EOF:
		return fmt.Errorf("it has %d bytes; want at least %d", n, m.Length)
	case err != nil:
		return err
	case sum.Sum32() != m.Sum:
		return fmt.Errorf("its first %d bytes are different", n)
	}
	return nil
}

// ToLines returns a sink that writes entries as lines to w, in order. The parameter from is the
// place in the whole output at which w begins.
func ToLines(w io.Writer, from Mark) Sink {
	return &lineSink{w, from}
}

type lineSink struct {
	w  io.Writer
	at Mark
}

func (s *lineSink) Takes(kv.Entry) error { return nil } // lines have no limit

func (s *lineSink) Parallel() int { return 1 }

func (s *lineSink) Write(_ context.Context, entries []kv.Entry) (done Counts, mark Mark, err error) {
	var lines bytes.Buffer
	enc := entryline.NewEncoder(&lines, false)
	now := time.Now().UnixMilli()
	for _, entry := range entries {
		if !entry.ExpiresAt.IsZero() && entry.ExpiresAt.UnixMilli() <= now {
			done.Expired++
			continue
		}
		if err := enc.Encode(entry); err != nil {
			return done, mark, err
		}
		done.Written++
	}
	// The whole batch is written by one call, so that nothing is written if an entry
	// cannot be encoded.
	n, err := s.w.Write(lines.Bytes())
	s.at = Mark{s.at.Length + int64(n), crc32.Update(s.at.Sum, crc32.IEEETable, lines.Bytes()[:n])}
	return done, s.at, err
}

// Sync makes the content of a regular file durable. Pipes and terminals need no sync.
func (s *lineSink) Sync() error {
	f, ok := s.w.(*os.File)
	if !ok {
		return nil
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return err
	}
	return f.Sync()
}
