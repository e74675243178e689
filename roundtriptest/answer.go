package roundtriptest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// failing reports whether the RoundTripper returns a response with this code as an error.
func (c *trial) failing(code int) bool { return c.StatusErrors && code >= 400 }

// oneOf returns an error unless a call returned either a response or an error.
func (o outcome) oneOf() error {
	switch {
	case o.resp != nil && o.err != nil:
		return fmt.Errorf("RoundTrip returned both a response (%d) and an error (%v)", o.resp.StatusCode, o.err)
	case o.resp == nil && o.err == nil:
		return errors.New("RoundTrip returned neither a response nor an error")
	}
	return nil
}

// eitherOr: when some RoundTrippers stop retrying, they return their own error, or even
// both the last response and an error, in which case nobody closes the body.
func eitherOr(c *trial) error {
	codes := []int{200, 400, 401, 403, 404, 409, 429, 500, 502, 503, 504}
	if c.Retries != 0 {
		codes = append(codes, c.Retries) // every attempt gets this status
	}
	for _, code := range codes {
		err := c.bubble(func() error {
			base := replies(status(code))
			o, err := do(c.wrap(base), newRequest("GET", ""))
			if err = errors.Join(err, o.oneOf()); err != nil {
				return err
			}
			defer o.close()
			switch {
			case !c.failing(code) && o.err != nil:
				return fmt.Errorf("RoundTrip returned an error, although there was a response: %w", o.err)
			case !c.failing(code) && o.resp.StatusCode != code:
				return fmt.Errorf("RoundTrip returned a response with the code %d instead", o.resp.StatusCode)
			case c.failing(code) && o.err == nil:
				return errors.New("RoundTrip returned a response, although Options.StatusErrors is set")
			case c.failing(code):
				for i, b := range base.bodies {
					if _, closes := b.count(); closes == 0 {
						return fmt.Errorf("RoundTrip returned an error, but did not close the body of response %d", i+1)
					}
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("a request that got a %d: %w", code, err)
		}
	}
	return nil
}

// errorStays: a response that the RoundTripper made up, such as a 502, looks as if the
// server had received the request.
func errorStays(c *trial) error {
	for _, failed := range []error{
		errors.New("connection reset"),
		&net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED},
		io.ErrUnexpectedEOF,
		context.DeadlineExceeded, // of the base's own timeout
	} {
		for _, text := range []string{"", payload} {
			method := "GET"
			if text != "" {
				method = "POST"
			}
			if err := c.bubble(func() error {
				o, err := do(c.wrap(replies(failure(failed))), newRequest(method, text))
				o.close()
				if err = errors.Join(err, o.oneOf()); err == nil && o.err == nil {
					err = fmt.Errorf("RoundTrip returned a response with the code %d, although the base returned an error", o.resp.StatusCode)
				}
				return err
			}); err != nil {
				return fmt.Errorf("a %s that got no response (%w): %w", method, failed, err)
			}
		}
	}
	return nil
}

// clientTimeoutKeepsAnswer: there is no point in starting a wait that cannot end before
// the client's timeout.
func clientTimeoutKeepsAnswer(c *trial) error {
	if err := c.retries(); err != nil {
		return err
	}
	for range 20 { // the wait may depend on jitter
		if err := c.bubble(func() error {
			client := &http.Client{Transport: c.wrap(replies(status(c.Retries, "Retry-After: 30"))), Timeout: 2 * time.Second}
			o, err := doFunc(func() (*http.Response, error) { return client.Get(address) })
			if err != nil {
				return err
			}
			defer o.close()
			var t interface{ Timeout() bool }
			isTimeout := errors.As(o.err, &t)
			if o.took >= client.Timeout && isTimeout && t.Timeout() || !c.StatusErrors && o.err != nil {
				return fmt.Errorf("after a %d with a Retry-After beyond the client's timeout, all that the caller got, after %v, was this error: %w", c.Retries, o.took, o.err)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// redirectsLeft: an http.Client inside the RoundTripper would follow redirects without
// calling the outer client's CheckRedirect, and would send tokens that only the outer
// client knows to remove.
func redirectsLeft(c *trial) error {
	if err := c.bubble(func() error {
		base := replies(status(200, "Set-Cookie: session=1"))
		rt := c.wrap(base)
		for range 2 {
			o, err := do(rt, newRequest("GET", ""))
			o.close()
			if err != nil {
				return err
			}
		}
		for _, s := range base.sent() {
			if len(s.req.Header["Cookie"]) > 0 {
				return errors.New("a cookie from a response was sent with the next request")
			}
		}
		return nil
	}); err != nil {
		return err
	}
	return c.bubble(func() error {
		asked, base := 0, replies(status(302, "Location: http://elsewhere.example/"), status(200))
		client := &http.Client{Transport: c.wrap(base), CheckRedirect: func(*http.Request, []*http.Request) error {
			asked++
			return http.ErrUseLastResponse
		}}
		req := newRequest("GET", "")
		req.Header.Set("X-Auth-Token", "secret")
		o, err := doFunc(func() (*http.Response, error) { return client.Do(req) })
		if err != nil {
			return err
		}
		defer o.close()
		if n := len(base.sent()); n != 1 || asked != 1 {
			return fmt.Errorf("the client did not get to decide about a redirect: %d requests were sent, and CheckRedirect was called %d times", n, asked)
		}
		if o.err != nil || o.resp.StatusCode != 302 {
			return fmt.Errorf("a redirect was not returned as a response: %w", errors.Join(o.err, o.oneOf()))
		}
		return nil
	})
}

// bodyUntouched: wrapping every body makes a 101's body read-only, and a code other
// than 200 is not always a failure.
func bodyUntouched(c *trial) error {
	codes := []int{101, 200, 201, 204, 206, 299, 300, 304, 399}
	if !c.StatusErrors {
		codes = append(codes, 401, 404, 500, 503)
	}
	for _, code := range codes {
		err := c.bubble(func() error {
			text := strings.Repeat("a text that is the caller's to read ", 4000)
			var b *body // the latest attempt's; a failure may be retried
			o, err := do(c.wrap(replies(func(req *http.Request) (*http.Response, error) {
				b = newBody(text)
				if code == http.StatusSwitchingProtocols {
					return newResponse(req, code, connection{b, io.Discard}, "X-Subject-Token: token"), nil
				}
				return newResponse(req, code, b, "X-Subject-Token: token"), nil
			})), newRequest("GET", ""))
			switch err = errors.Join(err, o.err); {
			case code >= 400 && (err != nil || o.resp != nil && o.resp.StatusCode != code):
				o.close()
				return nil // eitherOr reports this
			case err != nil:
				return fmt.Errorf("RoundTrip did not return the response: %w", err)
			case o.resp == nil:
				return errors.New("RoundTrip returned neither a response nor an error")
			}
			defer o.close()
			switch {
			case o.resp.StatusCode != code:
				return fmt.Errorf("RoundTrip returned a response with the code %d instead", o.resp.StatusCode)
			case o.resp.Body == nil:
				return errors.New("RoundTrip returned the response without its body")
			}
			if o.resp.Header.Get("X-Subject-Token") != "token" {
				return errors.New("a field of the response's header is missing")
			}
			if _, ok := o.resp.Body.(io.Writer); !ok && code == http.StatusSwitchingProtocols {
				return errors.New("the response's body is no longer an io.Writer")
			}
			if read, closes := b.count(); code < 400 && (read > 0 || closes > 0) { // a failure's body may be read ahead and put back
				return fmt.Errorf("RoundTrip read %d bytes of the response's body and closed the body %d times", read, closes)
			}
			if got, err := io.ReadAll(o.resp.Body); err != nil || string(got) != text {
				return fmt.Errorf("the response's body is %.50q, %d bytes (error: %v), instead of %.50q, %d bytes", got, len(got), err, text, len(text))
			}
			o.close()
			if _, closes := b.count(); closes == 0 {
				return errors.New("closing the response's body did not close the base's: its connection stays open")
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("a response with the code %d: %w", code, err)
		}
	}
	// A body that arrives later is lost if RoundTrip cancels the attempt's context when it
	// returns.
	return c.bubble(func() error {
		w := serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			time.Sleep(time.Second)
			io.WriteString(w, "late")
		}))
		defer w.stop()
		o, err := do(c.wrap(w), newRequest("GET", ""))
		if err = errors.Join(err, o.err, o.oneOf()); err != nil {
			return err
		}
		defer o.close()
		if o.resp.Body == nil {
			return errors.New("RoundTrip returned the response without its body")
		}
		if got, err := io.ReadAll(o.resp.Body); err != nil || string(got) != "late" {
			return fmt.Errorf("a body that arrived after RoundTrip had returned is %q (error: %v) instead of \"late\"", got, err)
		}
		return nil
	})
}

// A connection is the body of a 101.
type connection struct {
	io.ReadCloser
	io.Writer
}

func closeIdle(c *trial) error {
	base := replies(status(200))
	(&http.Client{Transport: c.wrap(base)}).CloseIdleConnections()
	if base.closed == 0 {
		return errors.New("the client's CloseIdleConnections did not reach the base: its connections stay open")
	}
	return nil
}

// interimReleased: a response's connection cannot be reused while the body is open.
// Before Go 1.27, the connection is closed if the body is closed unread.
func interimReleased(c *trial) error {
	if err := c.retries(); err != nil {
		return err
	}
	if err := c.bubble(func() error {
		base := replies(status(c.Retries), status(200))
		o, err := do(c.wrap(base), newRequest("GET", ""))
		if err = errors.Join(err, base.retried(c.Retries, o)); err != nil {
			return err
		}
		o.close()
		if _, closes := base.bodies[0].count(); closes == 0 {
			return fmt.Errorf("the body of a %d that was retried was never closed", c.Retries)
		}
		return nil
	}); err != nil || c.Retries == http.StatusRequestTimeout {
		return err // a server that sends 408 is about to close the connection (RFC 9110 §15.5.9)
	}
	return c.bubble(func() error {
		const calls = 5
		var asked atomic.Int32
		w := serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if asked.Add(1)%2 == 1 {
				w.WriteHeader(c.Retries)
			}
			for range 4 { // flushing the body in parts avoids a Content-Length
				io.WriteString(w, strings.Repeat("x", 512))
				w.(http.Flusher).Flush()
			}
		}))
		defer w.stop()
		rt := c.wrap(w)
		for range calls {
			o, err := do(rt, newRequest("GET", ""))
			switch err = errors.Join(err, o.err); {
			case err != nil:
				return err
			case o.resp == nil:
				return errors.New("RoundTrip returned neither a response nor an error")
			case o.resp.Body != nil:
				io.Copy(io.Discard, o.resp.Body)
			}
			o.close()
		}
		if n := w.connections(); n > 1 {
			return fmt.Errorf("%d consecutive calls, each of which got a %d with a body of 2 KiB before the final response, opened %d connections instead of 1", calls, c.Retries, n)
		}
		return nil
	})
}

// readingBounded: a RoundTripper reads a body so that the connection can be reused, or to
// put the body's text into an error. Neither reason justifies reading without a limit.
func readingBounded(c *trial) error {
	const (
		most      = 1 << 20
		endless   = 16 << 20
		patience  = time.Minute
		beginning = "the beginning"
	)
	var codes []int
	if c.Retries != 0 {
		codes = append(codes, c.Retries)
	}
	if c.StatusErrors {
		codes = append(codes, 404)
	}
	if len(codes) == 0 {
		return fmt.Errorf("%w: the RoundTripper has no reason to read a body", ErrNotApplicable)
	}
	for _, code := range codes {
		if err := c.bubble(func() error {
			b := newBody(beginning)
			b.stall = true
			base := replies(replyWith(code, b), status(200))
			start := time.Now()
			o, err := do(c.wrap(base), newRequest("GET", ""))
			b.Close()
			o.close()
			if err == errHangs || time.Since(start) > patience {
				return fmt.Errorf("the call hung because the server stopped sending in the middle of the body of a %d", code)
			}
			return err
		}); err != nil {
			return err
		}
		if err := c.bubble(func() error {
			b := bodyOf(io.LimitReader(zeros{}, endless))
			o, err := do(c.wrap(replies(replyWith(code, b), status(200))), newRequest("GET", ""))
			o.close()
			if read, _ := b.count(); read > most {
				return fmt.Errorf("the body of a %d does not end, but RoundTrip read %d KiB of it", code, read>>10)
			}
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

func replyWith(code int, b *body) reply {
	return func(req *http.Request) (*http.Response, error) { return newResponse(req, code, b), nil }
}

// zeros is an endless reader of zero bytes.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func brokenBase(c *trial) error {
	codes := []int{200, 404}
	if c.Retries != 0 {
		codes = append(codes, c.Retries)
	}
	tries := map[string]reply{
		"neither response nor error": failure(nil),
		"both response and error": func(req *http.Request) (*http.Response, error) {
			return newResponse(req, 200, newBody("text")), errors.New("broken")
		},
	}
	for _, code := range codes {
		tries[fmt.Sprintf("a %d without a body", code)] = func(req *http.Request) (*http.Response, error) {
			return newResponse(req, code, nil), nil
		}
	}
	for what, r := range tries {
		if err := c.bubble(func() error {
			o, err := do(c.wrap(replies(r)), newRequest("GET", ""))
			o.close()
			return err
		}); err != nil {
			return fmt.Errorf("the base returned %s: %w", what, err)
		}
	}
	return nil
}

func oddAnswer(c *trial) error {
	for _, code := range []int{-1, 0, 99, 600, 999} {
		if err := c.bubble(func() error {
			o, err := do(c.wrap(replies(func(req *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: code, Body: newBody("text")}, nil
			})), newRequest("GET", ""))
			o.close()
			return errors.Join(err, o.oneOf())
		}); err != nil {
			return fmt.Errorf("a response with the code %d and no header: %w", code, err)
		}
	}
	return nil
}

// noSecrets: errors end up in logs and bug reports, so an error must not contain a secret
// from the request or the response. The error may contain the service's message.
func noSecrets(c *trial) error {
	const secret = "s3cr3t"
	tries := map[string]reply{"a request without a response": failure(errors.New("connection reset"))}
	answer := func(code int) reply {
		return func(req *http.Request) (*http.Response, error) {
			b := newBody(`{"error":{"message":"No."},"password":"` + secret + `"}`)
			return newResponse(req, code, b, "X-Subject-Token: "+secret, "Set-Cookie: session="+secret), nil
		}
	}
	if c.StatusErrors {
		tries["a request that got a 401"] = answer(401)
	}
	if c.Retries != 0 {
		tries[fmt.Sprintf("a request that always gets a %d", c.Retries)] = answer(c.Retries)
	}
	for what, r := range tries {
		if err := c.bubble(func() error {
			req := newRequest("POST", secret)
			req.URL.RawQuery = "token=" + secret
			req.Header.Set("X-Auth-Token", secret)
			req.Header.Set("Authorization", "Bearer "+secret)
			o, err := do(c.wrap(replies(r)), req)
			o.close()
			if err != nil || o.err == nil {
				return err
			}
			for _, format := range []string{"%v", "%+v", "%#v"} {
				if text := fmt.Sprintf(format, o.err); strings.Contains(text, secret) {
					return fmt.Errorf("its text reveals a secret if it is printed with %s: %s", format, text)
				}
			}
			return nil
		}); err != nil {
			return fmt.Errorf("the error for %s: %w", what, err)
		}
	}
	return nil
}

// pointerErrors: errors.As with a pointer type does not find a value, and errors.As with
// a value type does not find a pointer. errors.Is matches a value that is not
// comparable only through an Is method.
func pointerErrors(c *trial) error {
	if !c.StatusErrors {
		return fmt.Errorf("%w: no response is returned as an error", ErrNotApplicable)
	}
	codes := []int{404, 500}
	if c.Retries != 0 {
		codes = append(codes, c.Retries)
	}
	var first reflect.Type
	for _, code := range codes {
		if err := c.bubble(func() error {
			o, err := do(c.wrap(replies(status(code))), newRequest("GET", ""))
			o.close()
			if err != nil || o.err == nil {
				return err
			}
			typ := reflect.TypeOf(o.err)
			if first == nil {
				first = typ
			}
			switch {
			case typ.Kind() != reflect.Pointer:
				return fmt.Errorf("its type is %v, which is not a pointer", typ)
			case typ != first:
				return fmt.Errorf("its type is %v, but the error for a %d has the type %v", typ, codes[0], first)
			case !errors.Is(o.err, o.err):
				return errors.New("errors.Is(err, err) is false")
			}
			return nil
		}); err != nil {
			return fmt.Errorf("the error for a %d: %w", code, err)
		}
	}
	return nil
}
