package roundtriptest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"time"
)

// failing reports whether a response comes as an error.
func (c *trial) failing(code int) bool { return c.StatusErrors && code >= 400 }

// oneOf checks that a call returned either a response or an error.
func (o outcome) oneOf() error {
	switch {
	case o.resp != nil && o.err != nil:
		return fmt.Errorf("it returned both a response (%d) and an error (%v)", o.resp.StatusCode, o.err)
	case o.resp == nil && o.err == nil:
		return errors.New("it returned neither response nor error")
	}
	return nil
}

// eitherOr: a retryer that gives up returns an error of its own, or the last
// response beside one, whose body nobody closes then.
func eitherOr(c *trial) error {
	codes := []int{200, 404, 500, 503}
	if c.Retries != 0 {
		codes = append(codes, c.Retries) // until it gives up
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
				return fmt.Errorf("it returned an error, though there was a response: %w", o.err)
			case !c.failing(code) && o.resp.StatusCode != code:
				return fmt.Errorf("it returned a %d", o.resp.StatusCode)
			case c.failing(code) && o.err == nil:
				return errors.New("Options.StatusErrors says that it comes as an error, and it came as a response")
			case c.failing(code):
				for i, b := range base.bodies {
					if _, closes := b.count(); closes == 0 {
						return fmt.Errorf("it returned an error, and left the body of answer %d open", i+1)
					}
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("of a %d: %w", code, err)
		}
	}
	return nil
}

// clientTimeoutKeepsAnswer: a wait that cannot end before the client's timeout
// is not worth beginning.
func clientTimeoutKeepsAnswer(c *trial) error {
	if err := c.retries(); err != nil {
		return err
	}
	for range 20 { // how long it waits may be up to jitter
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
				return fmt.Errorf("of a %d with a Retry-After beyond the client's timeout nothing but this was left, after %v: %w", c.Retries, o.took, o.err)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// redirectsLeft: an http.Client inside the RoundTripper would follow them without
// asking the CheckRedirect of the outer client, and would send tokens that only the
// outer client knows to remove.
func redirectsLeft(c *trial) error {
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
			return fmt.Errorf("a redirect was followed inside: %d requests were sent, and CheckRedirect was called %d times", n, asked)
		}
		if o.err != nil || o.resp.StatusCode != 302 {
			return fmt.Errorf("a redirect did not come back as a response: %w", errors.Join(o.err, o.oneOf()))
		}
		return nil
	})
}

// bodyUntouched: a wrapper around each body breaks the connection of a 101, and a
// code other than 200 is not always a failure.
func bodyUntouched(c *trial) error {
	for _, code := range []int{101, 200, 201, 204, 206, 299, 300, 304, 399} {
		err := c.bubble(func() error {
			text := "a text that is the caller's to read"
			b := newBody(text)
			o, err := do(c.wrap(replies(func(req *http.Request) (*http.Response, error) {
				if code == http.StatusSwitchingProtocols {
					return newResponse(req, code, connection{b, io.Discard}), nil
				}
				return newResponse(req, code, b), nil
			})), newRequest("GET", ""))
			switch err = errors.Join(err, o.err); {
			case err != nil:
				return fmt.Errorf("it did not come back as a response: %w", err)
			case o.resp == nil:
				return errors.New("it came back neither as a response nor as an error")
			}
			defer o.close()
			if o.resp.StatusCode != code {
				return fmt.Errorf("it came back as a %d", o.resp.StatusCode)
			}
			if _, ok := o.resp.Body.(io.Writer); !ok && code == http.StatusSwitchingProtocols {
				return errors.New("its body can no longer be written to")
			}
			if read, closes := b.count(); read > 0 || closes > 0 {
				return fmt.Errorf("of its body %d bytes were read, and it was closed %d times", read, closes)
			}
			if got, err := io.ReadAll(o.resp.Body); err != nil || string(got) != text {
				return fmt.Errorf("its body is %q (%v) instead of %q", got, err, text)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("of a %d: %w", code, err)
		}
	}
	return nil
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
		return errors.New("CloseIdleConnections of a client did not reach the base: its connections stay open")
	}
	return nil
}

// interimReleased: a body that is left open keeps its connection busy, and one that
// is closed unread loses it.
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
		return err // a server that sent 408 has given its connection up (RFC 9110 §15.5.9)
	}
	return c.bubble(func() error {
		const calls = 5
		var asked atomic.Int32
		w := serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if asked.Add(1)%2 == 1 {
				w.WriteHeader(c.Retries)
			}
			for range 4 { // without a Content-Length
				io.WriteString(w, strings.Repeat("x", 512))
				w.(http.Flusher).Flush()
			}
		}))
		defer w.stop()
		rt := c.wrap(w)
		for range calls {
			o, err := do(rt, newRequest("GET", ""))
			if err = errors.Join(err, o.err); err != nil {
				return err
			}
			io.Copy(io.Discard, o.resp.Body)
			o.close()
		}
		if n := w.connections(); n > 1 {
			return fmt.Errorf("%d calls one after the other, each with a %d of 2 KiB before its answer, opened %d connections instead of 1", calls, c.Retries, n)
		}
		return nil
	})
}

// readingBounded: a body is read so that its connection can be used again, or to put
// it into an error. Neither is worth reading a body that does not end.
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
		return fmt.Errorf("%w: no body has to be read", ErrNotApplicable)
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
				return fmt.Errorf("a server that stopped sending in the body of a %d held the call up", code)
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
				return fmt.Errorf("of the body of a %d that does not end %d KiB were read", code, read>>10)
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

// zeros is an endless text.
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
			return fmt.Errorf("a base returned %s: %w", what, err)
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
			return fmt.Errorf("of an answer with the code %d and no header: %w", code, err)
		}
	}
	return nil
}

// noSecrets: errors end up in logs and bug reports. They may contain the response's
// own message.
func noSecrets(c *trial) error {
	const secret = "s3cr3t"
	tries := map[string]reply{"a connection that failed": failure(errors.New("connection reset"))}
	answer := func(code int) reply {
		return func(req *http.Request) (*http.Response, error) {
			b := newBody(`{"error":{"message":"No."},"password":"` + secret + `"}`)
			return newResponse(req, code, b, "X-Subject-Token: "+secret, "Set-Cookie: session="+secret), nil
		}
	}
	if c.StatusErrors {
		tries["a 401"] = answer(401)
	}
	if c.Retries != 0 {
		tries[fmt.Sprintf("a %d without end", c.Retries)] = answer(c.Retries)
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
					return fmt.Errorf("printed with %s it tells what is secret: %s", format, text)
				}
			}
			return nil
		}); err != nil {
			return fmt.Errorf("the error of %s: %w", what, err)
		}
	}
	return nil
}

// pointerErrors: errors.As with a pointer type does not find a value, nor the other
// way round, and errors.Is never matches a value that cannot be compared.
func pointerErrors(c *trial) error {
	if !c.StatusErrors {
		return fmt.Errorf("%w: answers come as responses", ErrNotApplicable)
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
				return fmt.Errorf("it is a %v, no pointer", typ)
			case typ != first:
				return fmt.Errorf("it is a %v, and that of a %d is a %v", typ, codes[0], first)
			case !errors.Is(o.err, o.err):
				return errors.New("errors.Is does not know it again")
			}
			return nil
		}); err != nil {
			return fmt.Errorf("the error of a %d: %w", code, err)
		}
	}
	return nil
}
