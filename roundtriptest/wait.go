package roundtriptest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// canceledWait: a canceled call must return at once, with an error that contains the
// cause.
func canceledWait(c *trial) error {
	if err := c.retries(); err != nil {
		return err
	}
	cause := errors.New("the user closed the window")
	for range 20 { // jitter may decide whether the call is still waiting when it is canceled
		for _, want := range []error{context.Canceled, cause} {
			if err := c.bubble(func() error {
				o, err := c.cancel(want)
				switch {
				case err != nil:
					return err
				case o.took < canceledAfter:
					return nil // the call returned before it was canceled
				case o.took > canceledAfter+100*time.Millisecond:
					return fmt.Errorf("the call was canceled after %v, but returned only after %v", canceledAfter, o.took)
				case !errors.Is(o.err, want):
					return fmt.Errorf("the call was canceled with the cause %q, but errors.Is does not find the cause in the error that it returned: %v", want, o.err)
				}
				return nil
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

const canceledAfter = 500 * time.Millisecond

// cancel makes a call to a server that asks for a wait of a minute before each retry, and
// cancels the call after canceledAfter. It returns an error if anything is sent after the
// cancellation.
func (c *trial) cancel(cause error) (outcome, error) {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	base := replies(status(c.Retries, "Retry-After: 60"))
	time.AfterFunc(canceledAfter, func() { cancel(cause) })
	start := time.Now()
	o, err := do(c.wrap(base), newRequest("GET", "").WithContext(ctx))
	o.close()
	for _, s := range base.sent() {
		if at := s.at.Sub(start); err == nil && at > canceledAfter {
			err = fmt.Errorf("the call was canceled after %v, but the request was sent again after %v", canceledAfter, at)
		}
	}
	return o, err
}

// cancelReachesAttempt: an attempt that does not have the caller's context goes on after
// the call was canceled, and the caller may wait until the server responds.
func cancelReachesAttempt(c *trial) error {
	for _, text := range []string{"", payload} {
		method := "GET"
		if text != "" {
			method = "POST"
		}
		if err := c.bubble(func() error {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			var attempts, ended atomic.Int32
			base := replies(func(req *http.Request) (*http.Response, error) {
				attempts.Add(1)
				select {
				case <-req.Context().Done():
					ended.Add(1)
					return nil, context.Cause(req.Context())
				case <-time.After(time.Hour): // the server takes its time
					return status(200)(req)
				}
			})
			time.AfterFunc(canceledAfter, cancel)
			o, err := do(c.wrap(base), newRequest(method, text).WithContext(ctx))
			o.close()
			time.Sleep(time.Minute) // an attempt may end after RoundTrip has returned
			switch n := attempts.Load() - ended.Load(); {
			case err != nil:
				return err
			case attempts.Load() == 0:
				return fmt.Errorf("the base received no request (error: %v)", o.err)
			case n > 0:
				return fmt.Errorf("the call was canceled after %v, but the attempt in flight went on", canceledAfter)
			case o.took > canceledAfter+100*time.Millisecond:
				return fmt.Errorf("the call was canceled after %v, and so was the attempt in flight, but the call returned only after %v", canceledAfter, o.took)
			}
			return nil
		}); err != nil {
			return fmt.Errorf("a %s: %w", method, err)
		}
	}
	if c.Retries == 0 {
		return nil
	}
	return c.bubble(func() error {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		var goesOn atomic.Bool
		base := replies(status(c.Retries), func(req *http.Request) (*http.Response, error) {
			cancel()
			select {
			case <-req.Context().Done():
				return nil, context.Cause(req.Context())
			case <-time.After(time.Hour):
				goesOn.Store(true)
				return status(200)(req)
			}
		})
		o, err := do(c.wrap(base), newRequest("GET", "").WithContext(ctx))
		o.close()
		time.Sleep(2 * time.Hour)
		if err == nil && goesOn.Load() {
			err = errors.New("the call was canceled, but the retry in flight went on")
		}
		return err
	})
}

// nothingLeft: a separate goroutine that waits, say in time.Sleep, can outlast the call.
func nothingLeft(c *trial) error {
	if err := c.retries(); err != nil {
		return err
	}
	return c.bubbleThatEnds(func() error {
		_, err := c.cancel(context.Canceled)
		return err
	})
}

// clientTimeoutEndsWait: http.Client.Timeout limits the context of the request that the
// RoundTripper receives, but not the context that the caller created.
func clientTimeoutEndsWait(c *trial) error {
	if err := c.retries(); err != nil {
		return err
	}
	return c.bubble(func() error {
		client := &http.Client{Transport: c.wrap(replies(status(c.Retries))), Timeout: 2 * time.Second}
		o, err := doFunc(func() (*http.Response, error) { return client.Get(address) })
		o.close()
		if err == nil && o.took > client.Timeout+100*time.Millisecond {
			err = fmt.Errorf("with a client timeout of %v, the call returned after %v", client.Timeout, o.took)
		}
		return err
	})
}

// retryAfterForms: servers still send the obsolete date formats, and a number that
// overflows must not cause an immediate retry.
func retryAfterForms(c *trial) error {
	if err := c.retries(); err != nil {
		return err
	}
	const never = -1
	asked := []struct {
		what   string
		values func(now time.Time) []string
		least  time.Duration // the minimum wait; never means that there must be no retry before the deadline
		orNone bool          // whether the RoundTripper may return the response without a retry, although least is not 0
	}{
		{"a number of seconds", literally("5"), 5 * time.Second, false},
		{"a number of seconds on each of two header lines", literally("5", "6"), 5 * time.Second, true}, // RFC 9110 §5.3 does not allow two lines
		{"a date in the current format", dated(http.TimeFormat), 10 * time.Second, false},
		{"a date in the RFC 850 format", dated(strings.Replace(time.RFC850, "MST", "GMT", 1)), 10 * time.Second, false},
		{"a date in the asctime format", dated(time.ANSIC), 10 * time.Second, false},
		{"a number of seconds that overflows as nanoseconds", literally("9223372037"), never, false},
		{"a number of seconds that overflows twice as nanoseconds", literally("18446744080"), never, false},
		{"a number of seconds that overflows every integer type", literally(strings.Repeat("9", 40)), never, false},
		{"a negative number", literally("-5"), 0, false},
		{"a fraction", literally("7.5"), 0, false},
		{"NaN", literally("NaN"), 0, false},
		{"empty", literally(""), 0, false},
	}
	var wrong []error
	for _, a := range asked {
		if err := c.bubble(func() error {
			base := replies(func(req *http.Request) (*http.Response, error) {
				now := time.Now().UTC()
				resp := newResponse(req, c.Retries, newBody(""), "Date: "+now.Format(http.TimeFormat))
				resp.Header["Retry-After"] = a.values(now)
				return resp, nil
			}, status(200))
			ctx, cancel := context.WithTimeout(context.Background(), longest-time.Hour)
			defer cancel()
			o, err := do(c.wrap(base), newRequest("GET", "").WithContext(ctx))
			o.close()
			if err != nil {
				return err
			}
			n := len(base.sent())
			switch {
			case a.least == never && n > 1:
				return fmt.Errorf("the request was sent again after %v", base.gap())
			case a.least == never:
				return nil
			case n == 0 || a.least > 0 && n == 1 && !a.orNone:
				return base.retried(c.Retries, o)
			case n == 1 && o.took < time.Hour:
				return nil // not retrying is also acceptable if Retry-After is invalid
			case n == 1 || base.gap() > time.Hour:
				return fmt.Errorf("the call waited too long: it took %v", o.took)
			case base.gap() < a.least:
				return fmt.Errorf("the request was sent again after %v instead of at least %v", base.gap(), a.least)
			}
			return nil
		}); err != nil {
			wrong = append(wrong, fmt.Errorf("Retry-After is %s (such as %q): %w", a.what, a.values(time.Unix(1e9, 0).UTC()), err))
		}
	}
	return errors.Join(wrong...)
}

func literally(values ...string) func(time.Time) []string {
	return func(time.Time) []string { return values }
}

// dated returns a function that formats the time ten seconds after now.
func dated(layout string) func(time.Time) []string {
	return func(now time.Time) []string { return []string{now.Add(10 * time.Second).Format(layout)} }
}

// wrongClock: a date in Retry-After must be compared with the Date of the same response.
func wrongClock(c *trial) error {
	if err := c.retries(); err != nil {
		return err
	}
	for _, skew := range []time.Duration{-time.Hour, time.Hour} {
		if err := c.bubble(func() error {
			base := replies(func(req *http.Request) (*http.Response, error) {
				now := time.Now().UTC().Add(skew)
				return newResponse(req, c.Retries, newBody(""), "Date: "+now.Format(http.TimeFormat), "Retry-After: "+dated(http.TimeFormat)(now)[0]), nil
			}, status(200))
			o, err := do(c.wrap(base), newRequest("GET", ""))
			o.close()
			if err = errors.Join(err, base.retried(c.Retries, o)); err != nil {
				return err
			}
			if gap := base.gap(); gap < 10*time.Second || gap > 5*time.Minute {
				return fmt.Errorf("the request was sent again after %v; want at least 10s and at most 5m", gap)
			}
			return nil
		}); err != nil {
			return fmt.Errorf("with a server whose clock is off by %v: %w", skew, err)
		}
	}
	return nil
}

// neverEarly: the retry comes too early if jitter is centered on the time that the
// server asked for, or if a maximum cuts that time short.
func neverEarly(c *trial) error {
	if err := c.retries(); err != nil {
		return err
	}
	for range 20 { // the outcome may depend on jitter
		for _, asked := range []time.Duration{5 * time.Second, 100 * time.Second} {
			if err := c.bubble(func() error {
				base := replies(status(c.Retries, fmt.Sprint("Retry-After: ", asked.Seconds())), status(200))
				o, err := do(c.wrap(base), newRequest("GET", ""))
				o.close()
				if err == nil && len(base.sent()) > 1 && base.gap() < asked {
					err = fmt.Errorf("the server asked for a wait of %v, but the request was sent again after %v", asked, base.gap())
				}
				return err
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// noStorm: 50 callers send requests to a server that throttles all of them for ten
// seconds.
func noStorm(c *trial) error {
	if err := c.retries(); err != nil {
		return err
	}
	const callers, closed = 50, 10 * time.Second
	return c.bubble(func() error {
		start := time.Now()
		base := replies(func(req *http.Request) (*http.Response, error) {
			if left := closed - time.Since(start); left > 0 {
				return newResponse(req, c.Retries, newBody(""), fmt.Sprint("Retry-After: ", int64((left+time.Second-1)/time.Second))), nil
			}
			return status(200)(req)
		})
		rt := c.wrap(base)
		var wg sync.WaitGroup
		var lost atomic.Int32
		call := func() {
			o, err := do(rt, newRequest("GET", ""))
			o.close()
			if err != nil || o.err != nil {
				lost.Add(1)
			}
		}
		told := callers // the number of callers that must each get a response before they wait
		if c.Shared {
			told = 1
			wg.Go(call)
			time.Sleep(time.Second)
		}
		for range callers - 1 {
			wg.Go(call)
		}
		if !c.Shared {
			wg.Go(call)
		}
		wg.Wait()
		early := 0
		for _, s := range base.sent() {
			if s.at.Sub(start) < closed {
				early++
			}
		}
		if early > told {
			return fmt.Errorf("%d callers sent %d requests within the %v that the server had asked them to wait; want at most %d", callers, early, closed, told)
		}
		if n := lost.Load(); n > 0 {
			return fmt.Errorf("%d of %d callers failed, although the server throttled them for only %v", n, callers, closed)
		}
		return nil
	})
}

func pauseWithoutHint(c *trial) error {
	if err := c.retries(); err != nil {
		return err
	}
	return c.bubble(func() error {
		base := replies(status(c.Retries))
		o, err := do(c.wrap(base), newRequest("GET", ""))
		o.close()
		if err = errors.Join(err, base.retried(c.Retries, o)); err != nil {
			return err
		}
		sent := base.sent()
		for i := 1; i < len(sent); i++ {
			if sent[i].at.Equal(sent[i-1].at) {
				return fmt.Errorf("after a %d without Retry-After, the request was sent again at once; it was sent %d times in all", c.Retries, len(sent))
			}
		}
		return nil
	})
}

// wrappedTwice: a library may use a RoundTripper that retries, and a program may wrap that
// RoundTripper in another one that also retries.
func wrappedTwice(c *trial) error {
	if err := c.retries(); err != nil {
		return err
	}
	var sends [2]int
	for i := range sends {
		if err := c.bubble(func() error {
			base := replies(status(c.Retries))
			rt := c.wrap(base)
			if i == 1 {
				rt = c.wrap(rt)
			}
			o, err := do(rt, newRequest("GET", ""))
			o.close()
			sends[i] = len(base.sent())
			return err
		}); err != nil {
			return err
		}
	}
	if sends[1] > sends[0] {
		return fmt.Errorf("a request that always gets a %d is sent %d times, but %d times if the base is wrapped twice", c.Retries, sends[0], sends[1])
	}
	return nil
}
