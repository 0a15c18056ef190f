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

// noAnswer is the error of a response that the service cannot have sent. The SDK treats an
// empty body as a response without members: as an absent entry, or as a write that
// succeeded.
type noAnswer string

func (e noAnswer) Error() string { return "the response is not from the service: " + string(e) }

// ConnectionError makes the SDK retry the request.
func (noAnswer) ConnectionError() bool { return true }

// errNoAnswer refuses a response because of its members. The SDK does not check them and
// has not retried the request.
func errNoAnswer(why string) *kv.Error {
	return &kv.Error{Kind: kv.ErrUnavailable, Err: noAnswer(why)}
}

// errNoAnswerToWrite is errNoAnswer for a write.
func errNoAnswerToWrite(why string) *kv.Error {
	return &kv.Error{Kind: kv.ErrUnavailable, MayHaveApplied: true, Err: noAnswer(why)}
}

// judge is an HTTP client that checks the responses to watched requests. It passes on no
// response that cannot be right, and no more bytes than the request can have.
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
		// The HTTP client of New may follow redirects. The response to a redirected
		// request is from another host, or to another method.
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

// plainBody is the body of a request without its method WriteTo. The SDK (smithy-go
// 1.28.8) closes the body when the response arrives, perhaps before net/http has asked for
// more than its last byte. net/http uses WriteTo if there is one. WriteTo of the closed
// body fails, while its Read returns the end. Then net/http drops the connection,
// sometimes with the response.
type plainBody struct{ io.ReadCloser }

// body is the body of a response. Its last read fails unless the response is right.
type body struct {
	io.ReadCloser
	left        int64    // number of bytes that may follow
	object      bool     // it must be a JSON object
	head        [32]byte // the first bytes that were read
	heads       int
	first, last byte // of the bytes that were read, without white space
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
		err = noAnswer("its checksum does not match")
	case b.object && b.first == 0:
		err = noAnswer("it is empty")
	case b.object && (b.first != '{' || b.last != '}'):
		err = noAnswer("it is not a JSON object")
	}
	return n, err
}

// names reports whether a short body has a member with that name. The SDK leaves it out
// when it is null.
func (b *body) names(member string) bool {
	return bytes.Contains(b.head[:b.heads], []byte(`"`+member+`"`))
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }
