package dynamokv

import (
	"bytes"
	"context"
	"hash/crc32"
	"io"
	"net/http"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/skykv/skykv/internal/attempt"
	"github.com/skykv/skykv/kv"
)

// noAnswer is the error of a response that the service cannot have sent, such as one with
// an empty body. The SDK would read an empty body as an absent entry, or as a successful
// write.
type noAnswer string

func (e noAnswer) Error() string { return "the response is not from the service: " + string(e) }

// ConnectionError makes the SDK retry the request.
func (noAnswer) ConnectionError() bool { return true }

// errNoAnswer returns the error of a response whose JSON members cannot be right. The SDK does
// not check members, so it does not retry the request after such a response.
func errNoAnswer(why string) *kv.Error {
	return &kv.Error{Kind: kv.ErrUnavailable, Err: noAnswer(why)}
}

// errNoAnswerToWrite is errNoAnswer for a write: it also sets MayHaveApplied.
func errNoAnswerToWrite(why string) *kv.Error {
	return &kv.Error{Kind: kv.ErrUnavailable, MayHaveApplied: true, Err: noAnswer(why)}
}

// judge is an HTTP client that checks the responses to requests whose context is an [attempts].
// If a response cannot be right, or is larger than any response to its request, Do or Read of the
// body returns an error.
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
		// A client for New may have an HTTP client that follows redirects. The response
		// then comes from another host, or is the response to a GET instead of a POST.
		_ = resp.Body.Close()
		return nil, noAnswer("the HTTP client followed a redirect")
	}
	a.status = resp.StatusCode
	a.body = body{ReadCloser: resp.Body, ctx: a, left: a.most, object: resp.StatusCode < 300}
	if sum, err := strconv.ParseUint(resp.Header.Get("X-Amz-Crc32"), 10, 32); err == nil {
		a.body.sum, a.body.summed = uint32(sum), true
	}
	resp.Body = &a.body
	return resp, nil
}

// plainBody hides the method WriteTo of a request's body from net/http. The SDK
// (smithy-go 1.28.8) closes the body when the response arrives. At that moment net/http
// may have sent the last byte without having seen the end of the body. If the body has
// WriteTo, net/http uses it. WriteTo of a closed body fails, so net/http drops the
// connection, and sometimes the response with it. Read of a closed body only reports the
// end.
type plainBody struct{ io.ReadCloser }

// body is the body of a response. Read fails if the body is too large. The Read that reaches the
// end fails if the response cannot be right.
type body struct {
	io.ReadCloser
	ctx         context.Context // of the request
	left        int64           // number of bytes that may follow
	object      bool            // the body must be a JSON object
	head        [32]byte        // the first bytes that were read
	heads       int
	first, last byte // the first and the last byte so far that is not white space
	summed      bool // sum is the checksum that the body must have
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
	case err == nil:
	case err != io.EOF:
		if ended := b.ctx.Err(); ended != nil {
			err = ended // net/http returns the cause of the end, which may be any error of the caller
		}
	case b.summed && b.read != b.sum:
		err = noAnswer("its checksum does not match")
	case b.object && b.first == 0:
		err = noAnswer("it is empty")
	case b.object && (b.first != '{' || b.last != '}'):
		err = noAnswer("it is not a JSON object")
	}
	return n, err
}

// The method names reports whether the first bytes of the body contain the name of a
// member. The SDK's output does not show this: the SDK treats a member that is null as
// absent, and an absent number as 0.
func (b *body) names(member string) bool {
	return bytes.Contains(b.head[:b.heads], []byte(`"`+member+`"`))
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }
