package roundtriptest

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"
)

const payload = `{"user":{"name":"alice"}}`

// requestUnmodified: a RoundTripper must copy a request before it changes the body or
// the header for a retry.
func requestUnmodified(c *trial) error {
	codes := []int{0, 200, 401, 404, 500, 503} // 0: no response
	if c.Retries != 0 {
		codes = append(codes, c.Retries)
	}
	for _, code := range codes {
		if err := c.bubble(func() error {
			first := status(code)
			if code == 0 {
				first = failure(errors.New("connection reset"))
			}
			req := newRequest("POST", payload)
			req.Header.Set("X-Auth-Token", "secret")
			before := *req
			u := *req.URL
			before.Header, before.URL = req.Header.Clone(), &u
			o, err := do(c.wrap(replies(first, status(200))), req)
			o.close()
			if err != nil {
				return err
			}
			time.Sleep(time.Hour) // a goroutine that is left over must not modify the request, either
			synctest.Wait()
			return unmodified(&before, req)
		}); err != nil {
			return fmt.Errorf("a request that got a %d: %w", code, err)
		}
	}
	// This check comes last, because concurrent writes to a map crash the program.
	return c.bubble(func() error {
		rt, req := c.wrap(replies(status(200))), newRequest("GET", "")
		errs := make([]error, 8)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				o, err := do(rt, req)
				o.close()
				errs[i] = errors.Join(err, o.err)
			})
		}
		wg.Wait()
		return errors.Join(errs...)
	})
}

// unmodified returns an error if a call modified the request. before is a copy that was
// made before the call, with its own copies of the header and the URL. Functions,
// channels, the context and the body are compared by identity.
func unmodified(before, after *http.Request) error {
	if before.Context() != after.Context() {
		return errors.New("the request's context was modified")
	}
	was, is := reflect.ValueOf(before).Elem(), reflect.ValueOf(after).Elem()
	for _, f := range reflect.VisibleFields(was.Type()) {
		if !f.IsExported() {
			continue
		}
		a, b := was.FieldByIndex(f.Index), is.FieldByIndex(f.Index)
		switch f.Type.Kind() {
		case reflect.Func, reflect.Chan:
			if a.UnsafePointer() != b.UnsafePointer() {
				return fmt.Errorf("the request's %s was modified", f.Name)
			}
		default:
			if f.Name == "Body" && before.Body != after.Body || f.Name != "Body" && !reflect.DeepEqual(a.Interface(), b.Interface()) {
				return fmt.Errorf("the request's %s was modified", f.Name)
			}
		}
	}
	return nil
}

// bodyClosed: a body may be a file that must be closed, or a pipe whose writer blocks
// until the body is read or closed.
func bodyClosed(c *trial) error {
	tries := map[string]reply{
		"got a 200":                              status(200),
		"got a 404":                              status(404),
		"got no response":                        failure(errors.New("connection reset")),
		"was canceled before it was sent":        status(200),
		fmt.Sprintf("got a %d first", c.Retries): status(c.Retries),
	}
	for what, r := range tries {
		if err := c.bubble(func() error {
			var bodies []*body
			open := func() (io.ReadCloser, error) {
				b := newBody(payload)
				bodies = append(bodies, b)
				return b, nil
			}
			req := newRequest("POST", payload)
			req.Body, _ = open()
			req.GetBody = open
			if strings.HasPrefix(what, "was canceled") {
				ctx, cancel := context.WithCancel(req.Context())
				cancel()
				req = req.WithContext(ctx)
			}
			o, err := do(c.wrap(replies(r, status(200))), req)
			o.close()
			if err != nil {
				return err
			}
			time.Sleep(longest) // the body may be closed after RoundTrip has returned
			for i, b := range bodies {
				if _, closes := b.count(); closes == 0 {
					return fmt.Errorf("body %d of %d was never closed", i+1, len(bodies))
				}
			}
			return nil
		}); err != nil {
			return fmt.Errorf("a request that %s: %w", what, err)
		}
	}
	return nil
}

// bodyNotReused: a response may arrive while the request is still being sent. If the
// retry then uses the same body, both attempts may read it at the same time.
func bodyNotReused(c *trial) error {
	if err := c.retries(); err != nil {
		return err
	}
	if err := c.bubble(func() error {
		req := newRequest("PUT", payload)
		base := &lateReader{code: c.Retries, second: make(chan struct{}), first: make(chan struct{})}
		o, err := do(c.wrap(base), req)
		o.close()
		if err != nil {
			return err
		}
		time.Sleep(longest)
		base.mu.Lock()
		defer base.mu.Unlock()
		if len(base.bodies) < 2 {
			return fmt.Errorf("a %d was to be retried, but the base received only %d request(s) (error: %v)", c.Retries, len(base.bodies), o.err)
		}
		if got := base.bodies[1].String(); got != payload {
			return fmt.Errorf("the retry, which may be sent while the body of the first attempt is still being read, had the body %q instead of %q", got, payload)
		}
		if got := base.bodies[0].String(); !strings.HasPrefix(payload, got) {
			return fmt.Errorf("the first attempt, which may still be reading its body when the retry begins, read %q, which is not the beginning of %q", got, payload)
		}
		return nil
	}); err != nil {
		return err
	}
	return c.bubble(func() error {
		upload := make([]byte, 1<<20)
		for i := range upload {
			upload[i] = byte(i >> 8 * 31)
		}
		var mu sync.Mutex
		var asked int
		var got []byte
		w := serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			if asked++; asked == 1 {
				w.WriteHeader(c.Retries) // respond without reading the body
				return
			}
			got, _ = io.ReadAll(r.Body)
		}))
		defer w.stop()
		req := newRequest("PUT", "x")
		body := bytes.NewReader(upload)
		req.ContentLength = body.Size()
		req.Body = io.NopCloser(body)
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(upload)), nil }
		o, err := do(c.wrap(w), req)
		o.close()
		if err = errors.Join(err, o.err); err != nil {
			return fmt.Errorf("an upload that got a %d before its body was read: %w", c.Retries, err)
		}
		if !bytes.Equal(got, upload) {
			return fmt.Errorf("an upload that got a %d before its body was read: the retry arrived with a different body", c.Retries)
		}
		return nil
	})
}

// A lateReader responds to the first attempt after reading a few bytes of its body, and
// reads the rest of that body when the second attempt has begun or an hour has passed.
type lateReader struct {
	code int
	// second is closed when the second attempt has begun, and first when the body of
	// the first attempt has been read.
	second, first chan struct{}

	mu     sync.Mutex
	bodies []*bytes.Buffer
}

func (l *lateReader) RoundTrip(req *http.Request) (*http.Response, error) {
	got := new(bytes.Buffer)
	l.mu.Lock()
	l.bodies = append(l.bodies, got)
	n := len(l.bodies)
	l.mu.Unlock()
	if req.Body == nil {
		return status(200)(req)
	}
	io.CopyN(got, req.Body, 4)
	switch n {
	case 1:
		go func() {
			defer close(l.first)
			defer req.Body.Close()
			select {
			case <-l.second:
			case <-time.After(time.Hour): // the RoundTripper does not retry, or waits until the body is closed
			}
			io.Copy(got, req.Body)
		}()
		return status(l.code)(req)
	case 2:
		close(l.second)
		<-l.first
	}
	io.Copy(got, req.Body)
	req.Body.Close()
	return status(200)(req)
}

// sentOnce: a RoundTripper may retry an idempotent request after a 500 or a 503, but a POST
// that is retried may be executed twice. A RoundTripper that declares no retries must send
// each request once. The request that is sent must be the caller's.
func sentOnce(c *trial) error {
	codes := []int{200}
	if c.Retries < 500 { // otherwise, the RoundTripper declares that it retries such a status
		codes = append(codes, 0, 401, 500, 502, 503, 504) // 0: no response
	}
	for _, code := range codes {
		for _, r := range calls {
			if r.method != "POST" && c.Retries != 0 && code != 200 { // the other methods are idempotent
				continue
			}
			if err := c.bubble(func() error {
				base := replies(status(code))
				if code == 0 {
					base = replies(failure(errors.New("connection reset")))
				}
				o, err := do(c.wrap(base), newRequest(r.method, r.text))
				o.close()
				if n := len(base.sent()); err == nil && n != 1 {
					err = fmt.Errorf("was sent %d times", n)
				}
				return err
			}); err != nil {
				return fmt.Errorf("a %s with %d bytes of content that got a %d: %w", r.method, len(r.text), code, err)
			}
		}
	}
	for _, r := range calls {
		if err := c.sameAsGiven(r.method, r.text); err != nil {
			return fmt.Errorf("a %s with %d bytes of content: %w", r.method, len(r.text), err)
		}
	}
	return nil
}

// calls are the requests of sentOnce.
var calls = []struct{ method, text string }{{"GET", ""}, {"DELETE", ""}, {"PUT", payload}, {"POST", ""}, {"POST", payload}}

// sameAsGiven returns an error if the request that is sent differs from the caller's. A
// RoundTripper may add header fields and query parameters, as one that signs does, replace
// credentials by others, compress the body, name the method in a header field of a POST, or
// send the request to a mirror: another host, or a path with a prefix.
func (c *trial) sameAsGiven(method, text string) error {
	const own, token = "X-Roundtriptest", "X-Auth-Token" //nolint:gosec // these are names of header fields
	return c.bubble(func() error {
		req := newRequest(method, text)
		req.URL.RawQuery, req.Host = "name=alice&name=bob&limit=2", "virtual.example"
		req.Header.Set(own, "kept")
		req.Header.Set(token, "secret")
		base := replies(status(200))
		o, err := do(c.wrap(base), req)
		o.close()
		if err != nil || len(base.sent()) == 0 { // other traps report that nothing is sent
			return err
		}
		is := base.sent()[0]
		switch {
		case methodOf(is.req) != method:
			return fmt.Errorf("it was sent as a %s", methodOf(is.req))
		case !strings.HasSuffix(is.req.URL.Path, req.URL.Path):
			return fmt.Errorf("its path was %q instead of %q", is.req.URL.Path, req.URL.Path)
		case !hasQuery(is.req.URL.Query(), req.URL.Query()):
			return fmt.Errorf("its query was %q instead of %q", is.req.URL.RawQuery, req.URL.RawQuery)
		case is.req.URL.Host == req.URL.Host && is.req.Host != req.Host:
			return fmt.Errorf("its Host was %q instead of %q", is.req.Host, req.Host)
		case is.req.Header.Get(own) != req.Header.Get(own):
			return fmt.Errorf("its header field %s was %q instead of %q", own, is.req.Header.Get(own), req.Header.Get(own))
		case !hasCredentials(is.req):
			return fmt.Errorf("its header field %s was missing, and it had no other credentials", token)
		case !is.hasText(text):
			return fmt.Errorf("its body was %q instead of %q", is.body, text)
		}
		return nil
	})
}

// methodOf returns the method that the server executes: some networks let only GET and POST
// through, so a header field of a POST may name another one.
func methodOf(req *http.Request) string {
	if req.Method == "POST" {
		for _, name := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"} {
			if m := req.Header.Get(name); m != "" {
				return m
			}
		}
	}
	return req.Method
}

// hasQuery reports whether each parameter of a query still has the given values, in their
// order, perhaps among others.
func hasQuery(query, given url.Values) bool {
	for name, values := range given {
		for _, v := range query[name] {
			if len(values) > 0 && v == values[0] {
				values = values[1:]
			}
		}
		if len(values) > 0 {
			return false
		}
	}
	return true
}

// hasCredentials reports whether a header field or a query parameter of the request is, by
// its name, a credential.
func hasCredentials(req *http.Request) bool {
	for _, fields := range []map[string][]string{req.Header, req.URL.Query()} {
		for name, values := range fields {
			name = strings.ToLower(name)
			if strings.Join(values, "") != "" && slices.ContainsFunc(credentials, func(s string) bool { return strings.Contains(name, s) }) {
				return true
			}
		}
	}
	return false
}

// credentials are parts of the names of header fields and query parameters for credentials.
var credentials = []string{"auth", "token", "cookie", "signature", "credential", "api-key", "apikey", "api_key"}

// hasText reports whether the body has the given text, perhaps compressed. In an encoding
// other than gzip, any body that is not empty counts.
func (s send) hasText(text string) bool {
	encoding := strings.ToLower(s.req.Header.Get("Content-Encoding"))
	switch {
	case encoding == "" || s.body == "":
		return s.body == text
	case encoding != "gzip" && encoding != "x-gzip":
		return true
	}
	z, err := gzip.NewReader(strings.NewReader(s.body))
	if err != nil {
		return false
	}
	got, err := io.ReadAll(z)
	return err == nil && string(got) == text
}

// noEmptyRetry: once the body has been read, a request without GetBody cannot be sent
// again, unless the RoundTripper has kept a copy of the body.
func noEmptyRetry(c *trial) error {
	if err := c.retries(); err != nil {
		return err
	}
	if err := c.sameRequest(); err != nil {
		return err
	}
	return c.bubble(func() error {
		req := newRequest("POST", payload)
		req.Body, req.GetBody = newBody(payload), nil
		base := replies(status(c.Retries), status(200))
		o, err := do(c.wrap(base), req)
		o.close()
		for i, s := range base.sent() {
			if s.body != payload {
				return fmt.Errorf("attempt %d of a request with a body but without GetBody had the body %q instead of %q", i+1, s.body, payload)
			}
		}
		return err
	})
}

// sameRequest returns an error if a retry differs from the first attempt.
func (c *trial) sameRequest() error {
	return c.bubble(func() error {
		req := newRequest("POST", payload)
		req.URL.RawQuery, req.Host = "name=alice", "virtual.example"
		req.Header.Set("X-Auth-Token", "secret")
		base := replies(status(c.Retries), status(200))
		o, err := do(c.wrap(base), req)
		o.close()
		if err != nil || len(base.sent()) < 2 { // other traps report that a request is not retried
			return err
		}
		first, again := base.sent()[0], base.sent()[1]
		for _, f := range []struct{ name, was, is string }{
			{"method", first.req.Method, again.req.Method},
			{"URL", first.req.URL.String(), again.req.URL.String()},
			{"Host", first.req.Host, again.req.Host},
			{"X-Auth-Token", first.req.Header.Get("X-Auth-Token"), again.req.Header.Get("X-Auth-Token")},
			{"body", first.body, again.body},
		} {
			if f.was != f.is {
				return fmt.Errorf("the retry is a different request: its %s is %q instead of %q", f.name, f.is, f.was)
			}
		}
		return nil
	})
}

func contentLengthStays(c *trial) error {
	return c.bubble(func() error {
		req := newRequest("POST", payload)
		base := replies(status(max(c.Retries, 200)), status(200))
		o, err := do(c.wrap(base), req)
		o.close()
		for i, s := range base.sent() {
			if s.req.ContentLength != int64(len(payload)) || len(s.req.TransferEncoding) > 0 || s.body != payload {
				return fmt.Errorf("attempt %d had ContentLength %d, TransferEncoding %q and the body %q instead of %d, none and %q",
					i+1, s.req.ContentLength, s.req.TransferEncoding, s.body, len(payload), payload)
			}
		}
		return err
	})
}

func getBodyKept(c *trial) error {
	return c.bubble(func() error {
		req := newRequest("POST", payload)
		base := replies(status(max(c.Retries, 200)), status(200))
		o, err := do(c.wrap(base), req)
		o.close()
		if err != nil {
			return err
		}
		for i, s := range base.sent() {
			if s.req.GetBody == nil {
				return fmt.Errorf("attempt %d had no GetBody, although the caller's request has one", i+1)
			}
			b, err := s.req.GetBody()
			switch {
			case err != nil:
				return fmt.Errorf("GetBody of attempt %d: %w", i+1, err)
			case b == nil:
				return fmt.Errorf("GetBody of attempt %d returned neither a body nor an error", i+1)
			}
			got, err := io.ReadAll(b)
			b.Close()
			if err != nil || string(got) != payload {
				return fmt.Errorf("GetBody of attempt %d returned a body with the text %q (error: %v) instead of %q", i+1, got, err, payload)
			}
		}
		return nil
	})
}
