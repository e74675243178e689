package neterr_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/internal/neterr"
)

// request returns a request whose body reads from the reader that open returns.
func request(t *testing.T, length int64, open func() io.Reader) *http.Request {
	req := (&http.Request{ContentLength: length}).WithContext(t.Context())
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(open()), nil }
	req.Body, _ = req.GetBody()
	return req
}

func TestABodyFailsIfItCannotBeReadOrHasAnotherLength(t *testing.T) {
	text := func(s string) func() io.Reader { return func() io.Reader { return strings.NewReader(s) } }
	failing := func(err error) func() io.Reader {
		return func() io.Reader {
			return io.MultiReader(strings.NewReader(strings.Repeat("x", 100<<10)), iotest.ErrReader(err))
		}
	}
	unknown := errors.New("unknown")
	for name, tt := range map[string]struct {
		err    error
		body   func() io.Reader
		length int64
		want   bool
	}{
		"a body with the announced length":       {unknown, text("text"), 4, false},
		"a body of unknown length":               {unknown, text("text"), -1, false},
		"a body shorter than announced":          {unknown, text("text"), 5, true},
		"a body longer than announced":           {unknown, text("text"), 3, true},
		"an empty body":                          {unknown, text(""), 0, false},
		"a body that fails late":                 {unknown, failing(errors.New("disk full")), 1 << 20, true},
		"a body that is a directory":             {&net.OpError{Op: "readfrom", Err: &os.PathError{Op: "read", Err: syscall.EISDIR}}, failing(syscall.EISDIR), 1 << 20, true},
		"a body whose source lost a connection":  {errors.New("vault: lost connection"), failing(errors.New("vault: lost connection")), -1, true},
		"a body from another response":           {errors.New("http2: client connection lost"), failing(errors.New("http2: client connection lost")), -1, true},
		"a body that breaks off":                 {io.ErrUnexpectedEOF, failing(io.ErrUnexpectedEOF), -1, true},
		"a connection that was reset":            {fmt.Errorf("write: %w", syscall.ECONNRESET), failing(unknown), -1, false},
		"a connection that was closed":           {io.EOF, failing(unknown), -1, false},
		"a connection that could not be made":    {&net.OpError{Op: "dial", Err: unknown}, failing(unknown), -1, false},
		"a body that ends too early after 9 MiB": {unknown, text(strings.Repeat("x", 9<<20)), 20 << 20, false},
		"a body whose Read panics":               {unknown, func() io.Reader { return nil }, -1, false},
	} {
		assert.Equal(t, tt.want, neterr.BodyFailed(request(t, tt.length, tt.body), tt.err), name)
	}
	assert.False(t, neterr.BodyFailed(new(http.Request), unknown), "a request without a body")
}

// unclosable is a body whose Close panics, and whose Read, if slow is not nil, waits for
// Close.
type unclosable struct {
	io.Reader
	slow chan struct{}
	once sync.Once
}

func (u *unclosable) Read(p []byte) (int, error) {
	if u.slow != nil {
		<-u.slow
	}
	return u.Reader.Read(p)
}

func (u *unclosable) Close() error {
	if u.slow != nil {
		u.once.Do(func() { close(u.slow) })
	}
	panic("no")
}

func TestAPanicInCloseDoesNotEndTheProcess(t *testing.T) {
	for name, slow := range map[string]bool{"a body that is read": false, "a body that is too slow": true} {
		synctest.Test(t, func(t *testing.T) {
			req := request(t, 4, func() io.Reader { return nil })
			req.GetBody = func() (io.ReadCloser, error) {
				body := &unclosable{Reader: strings.NewReader("text")}
				if slow {
					body.slow = make(chan struct{})
				}
				return body, nil
			}
			assert.False(t, neterr.BodyFailed(req, errors.New("unknown")), name)
			synctest.Wait()
		})
	}
}

// slow is a body whose Reads take a while, and are not ended by Close.
type slow struct{ every time.Duration }

func (s slow) Read(p []byte) (int, error) {
	time.Sleep(s.every)
	return len(p), nil
}

func TestBodyFailedNeverReturnsFalseWhileItsReadIsStillRunning(t *testing.T) {
	for name, tt := range map[string]struct {
		every, took time.Duration
		want        bool
	}{
		"no Read ends at 50 ms":            {3 * time.Millisecond, 51 * time.Millisecond, false},
		"the first Read takes most of 1 s": {900 * time.Millisecond, 900 * time.Millisecond, false},
		"the first Read takes an hour":     {time.Hour, time.Second, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			got := neterr.BodyFailed(request(t, -1, func() io.Reader { return slow{tt.every} }), errors.New("unknown"))
			assert.Equal(t, tt.want, got, name)
			assert.Equal(t, tt.took, time.Since(start), name)
			time.Sleep(2 * time.Hour) // wait until the last Read has ended
		})
	}
}

func TestBodyFailedReturnsWhenTheRequestIsCanceled(t *testing.T) {
	over := make(chan struct{})
	close(over)
	ended, end := context.WithCancel(t.Context())
	end()
	for name, change := range map[string]func(*http.Request) *http.Request{
		"the context ends": func(req *http.Request) *http.Request { return req.WithContext(ended) },
		"Cancel is closed": func(req *http.Request) *http.Request { req.Cancel = over; return req },
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			req := change(request(t, -1, func() io.Reader { return slow{time.Hour} }))
			assert.True(t, neterr.BodyFailed(req, errors.New("unknown")), name)
			assert.Zero(t, time.Since(start), name)
			time.Sleep(2 * time.Hour)
		})
	}
}
