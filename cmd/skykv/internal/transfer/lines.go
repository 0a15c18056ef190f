package transfer

import (
	"bytes"
	"context"
	"io"
	"iter"
	"os"
	"time"

	"github.com/skykv/skykv/cmd/skykv/internal/entryline"
	"github.com/skykv/skykv/kv"
)

// FromLines reads the lines that open gives from a byte offset on.
func FromLines(open func(offset int64) (io.Reader, error)) Source {
	return func(_ context.Context, from Position) iter.Seq2[Record, error] {
		return func(yield func(Record, error) bool) {
			r, err := open(from.Offset)
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

// ToLines writes entries as lines to w, in their order. Its marks are the number
// of bytes written, on top of offset.
func ToLines(w io.Writer, offset int64) Sink {
	return &lineSink{w, offset}
}

type lineSink struct {
	w      io.Writer
	offset int64
}

func (s *lineSink) Parallel() int { return 1 }

func (s *lineSink) Write(_ context.Context, entries []kv.Entry) (done Counts, mark int64, err error) {
	var lines bytes.Buffer
	enc := entryline.NewEncoder(&lines, false)
	now := time.Now().UnixMilli()
	for _, entry := range entries {
		if !entry.ExpiresAt.IsZero() && entry.ExpiresAt.UnixMilli() <= now {
			done.Expired++
			continue
		}
		if err := enc.Encode(entry); err != nil {
			return done, 0, err
		}
		done.Written++
	}
	// One call for a whole batch: nothing of a batch that failed to encode is out.
	n, err := s.w.Write(lines.Bytes())
	s.offset += int64(n)
	return done, s.offset, err
}

// Sync makes a file's content durable; pipes and terminals have nothing to sync.
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
