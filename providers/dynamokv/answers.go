package dynamokv

import (
	"bytes"
	"hash/crc32"
	"io"
	"net/http"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/skykv/skykv/internal/attempt"
	"github.com/skykv/skykv/kv"
)

// noAnswer is the error of an answer that the service cannot have given. The SDK takes
// an empty body for an answer without members: an entry that is not there, or a write
// that succeeded.
type noAnswer string

func (e noAnswer) Error() string { return "this is no answer of the service: " + string(e) }

// ConnectionError makes the SDK repeat the request.
func (noAnswer) ConnectionError() bool { return true }

// errNoAnswer refuses an answer for what its members are. The SDK knows nothing of that
// and has not repeated the request.
func errNoAnswer(why string) *kv.Error {
	return &kv.Error{Kind: kv.ErrUnavailable, Err: noAnswer(why)}
}

// errNoAnswerToWrite is errNoAnswer for a write.
func errNoAnswerToWrite(why string) *kv.Error {
	return &kv.Error{Kind: kv.ErrUnavailable, MayHaveApplied: true, Err: noAnswer(why)}
}

// judge is an HTTP client that passes on no answer to a watched request that cannot be
// right, and not more of it than the request was for.
type judge struct{ aws.HTTPClient }

func (c judge) Do(r *http.Request) (*http.Response, error) {
	a, ok := r.Context().Value(attemptsKey{}).(*attempts)
	if !ok {
		return c.HTTPClient.Do(r)
	}
	a.begin()
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = plainBody{r.Body}
	}
	resp, err := c.HTTPClient.Do(r)
	if err != nil || resp == nil {
		return resp, err
	}
	if resp.Body == nil {
		resp.Body = http.NoBody
	}
	if resp.Request != nil && resp.Request.Response != nil {
		// The HTTP client that New was given does so. Of a redirected request another
		// host, or another method, has an answer.
		_ = resp.Body.Close()
		return nil, noAnswer("the HTTP client followed a redirect")
	}
	a.status = resp.StatusCode
	a.body = body{ReadCloser: resp.Body, left: a.most, object: resp.StatusCode < 300}
	if sum, err := strconv.ParseUint(resp.Header.Get("X-Amz-Crc32"), 10, 32); err == nil {
		a.body.sum, a.body.summed = uint32(sum), true
	}
	resp.Body = &a.body
	return resp, nil
}

// plainBody is the body of a request, without its method WriteTo. The SDK (smithy-go 1.28.8)
// closes the body when the answer is there, perhaps before net/http has asked it for more
// than its last byte. net/http asks by WriteTo where there is one. That of the closed body
// fails, where its Read is at the end, and net/http then drops the connection, sometimes
// with the answer.
type plainBody struct{ io.ReadCloser }

// body is the body of an answer. Its last read fails unless it is right.
type body struct {
	io.ReadCloser
	left        int64    // how many bytes may follow
	object      bool     // it must be a JSON object
	head        [32]byte // of what was read
	heads       int
	first, last byte // of what was read, without white space
	summed      bool // it must have this checksum
	sum, read   uint32
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, attempt.ErrTooLarge
	}
	b.heads += copy(b.head[b.heads:], p[:n])
	b.read = crc32.Update(b.read, crc32.IEEETable, p[:n])
	for i := 0; i < n && b.first == 0; i++ {
		if !isSpace(p[i]) {
			b.first = p[i]
		}
	}
	for i := n - 1; i >= 0; i-- {
		if !isSpace(p[i]) {
			b.last = p[i]
			break
		}
	}
	switch {
	case err != io.EOF:
	case b.summed && b.read != b.sum:
		err = noAnswer("its checksum is another")
	case b.object && b.first == 0:
		err = noAnswer("it is empty")
	case b.object && (b.first != '{' || b.last != '}'):
		err = noAnswer("it is no JSON object")
	}
	return n, err
}

// names reports whether a short body has a member of that name, which the SDK leaves out
// when it is null.
func (b *body) names(member string) bool {
	return bytes.Contains(b.head[:b.heads], []byte(`"`+member+`"`))
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }
