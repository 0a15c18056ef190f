package command

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"time"

	"github.com/skykv/skykv/cmd/skykv/command/internal/entryline"
	"github.com/skykv/skykv/kv"
)

// printJSON prints one line of JSON to standard output.
func printJSON(v any) error {
	enc := json.NewEncoder(stdout)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// output is standard output for many lines. It buffers them. It flushes the buffer when the buffer
// is full, and after a line if the last flush was at least 100 milliseconds ago. On a terminal it
// flushes after every line.
type output struct {
	*bufio.Writer
	lines   *entryline.Encoder
	flushed time.Time
	every   time.Duration
}

func newOutput() *output {
	out := &output{Writer: bufio.NewWriterSize(stdout, 1<<16), every: 100 * time.Millisecond}
	out.lines = entryline.NewEncoder(out, true)
	if stdout.terminal {
		out.every = 0
	}
	return out
}

// line flushes the buffer if the last flush was at least o.every ago. It must be called after
// every line.
func (o *output) line() error {
	if time.Since(o.flushed) < o.every {
		return nil
	}
	o.flushed = time.Now()
	return o.Flush()
}

// json prints an entry as a line of JSON.
func (o *output) json(entry kv.Entry) error {
	if err := o.lines.Encode(entry); err != nil {
		return err
	}
	return o.line()
}

// interruptible returns a reader of r. When ctx ends, its Read fails, even while r waits for
// input that does not come, for example from a terminal.
func interruptible(ctx context.Context, r io.Reader) io.Reader {
	c := &contextReader{ctx: ctx, chunks: make(chan chunk)}
	go func() {
		for {
			buf := make([]byte, 64<<10)
			n, err := r.Read(buf)
			select {
			case c.chunks <- chunk{buf[:n], err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return c
}

type chunk struct {
	data []byte
	err  error
}

type contextReader struct {
	ctx    context.Context
	chunks chan chunk
	rest   chunk
}

func (c *contextReader) Read(p []byte) (int, error) {
	for len(c.rest.data) == 0 {
		if c.rest.err != nil {
			return 0, c.rest.err
		}
		select {
		case c.rest = <-c.chunks:
		case <-c.ctx.Done():
			return 0, context.Cause(c.ctx)
		}
	}
	n := copy(p, c.rest.data)
	c.rest.data = c.rest.data[n:]
	return n, nil
}
