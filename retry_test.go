package iamhttp_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
)

// intervals is a schedule of fixed intervals that counts the calls to NextBackOff.
type intervals struct {
	list  []time.Duration
	asked int
}

func (s *intervals) NextBackOff() time.Duration {
	s.asked++
	return s.list[min(s.asked, len(s.list))-1]
}

func (s *intervals) Reset() {}

func TestWithoutAUsableRetryAfterTheScheduleDecidesTheWait(t *testing.T) {
	for _, header := range []string{"", "0", "-5", "soon", "1.5", "5, 10", "Wed, 21 Oct 2015 07:28:00 GMT"} {
		t.Run(fmt.Sprintf("Retry-After %q", header), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(time.Until(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)))
				schedule := &intervals{list: []time.Duration{time.Second, 3 * time.Second, 7 * time.Second}}
				base := script(answer(429, "", "Retry-After: "+header), answer(408, "", "Retry-After: "+header), answer(429, "", "Retry-After: "+header), answer(200, ""))
				tr := &iamhttp.Transport{Base: base, Backoff: func() backoff.BackOff { return schedule }}
				_, err := tr.RoundTrip(newRequest(t, "GET", ""))
				require.NoError(t, err)
				assert.Equal(t, schedule.list, base.gaps())
				assert.Equal(t, 3, schedule.asked)
			})
		})
	}
}

func TestWaitIsRetryAfterPlusJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		schedule := &intervals{list: []time.Duration{time.Second, 10 * time.Second, 0, 5 * time.Minute}}
		limits := []time.Duration{time.Second, 10 * time.Second, 0, 2 * time.Minute} // the last interval is cut to MaxWait
		var sums [4]time.Duration
		const rounds = 200
		for range rounds {
			schedule.asked = 0
			base := script(answer(429, "", "Retry-After: 5"), answer(408, "", "Retry-After: 5"), answer(429, "", "Retry-After: 5"), answer(429, "", "Retry-After: 5"), answer(200, ""))
			tr := &iamhttp.Transport{Base: base, Backoff: func() backoff.BackOff { return schedule }}
			_, err := tr.RoundTrip(newRequest(t, "GET", ""))
			require.NoError(t, err)
			assert.Equal(t, 4, schedule.asked, "NextBackOff must be called once per retry, even with Retry-After")
			for i, gap := range base.gaps() {
				require.GreaterOrEqual(t, gap, 5*time.Second)
				require.LessOrEqual(t, gap, 5*time.Second+limits[i])
				sums[i] += gap - 5*time.Second
			}
		}
		for i, sum := range sums {
			assert.InDelta(t, float64(limits[i])/2, float64(sum/rounds), float64(limits[i])*0.15, "the average jitter must be about half of its upper bound")
		}
	})
}

func TestJitterIsDrawnFromTheTimeLeftBeforeTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var early, late int
		for range 300 {
			ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
			base := script(answer(429, "", "Retry-After: 5"), answer(200, ""))
			_, err := (&iamhttp.Transport{Base: base, Backoff: constant(time.Minute)}).RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
			cancel()
			require.NoError(t, err)
			gap := base.gaps()[0]
			require.Less(t, gap, 6*time.Second)
			if gap < 5500*time.Millisecond {
				early++
			} else {
				late++
			}
		}
		assert.InDelta(t, early, late, 100)
	})
}

func TestWaitCountsFromTheArrivalOfTheHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := script(answerWith(429, stalling("x")), answer(200, ""))
		_, err := (&iamhttp.Transport{Base: base, Backoff: constant(10 * time.Second)}).RoundTrip(newRequest(t, "GET", ""))
		require.NoError(t, err)
		assert.Equal(t, []time.Duration{10 * time.Second}, base.gaps(), "the second that is spent reading the body must count as part of the wait")
	})
}

func TestDefaultScheduleIsExponentialAndBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		want := []time.Duration{1, 2, 4, 8, 16, 30, 30}
		var reached, shorter, longer bool
		for range 100 {
			base := script(answer(429, ""))
			_, err := (&iamhttp.Transport{Base: base}).RoundTrip(newRequest(t, "GET", ""))
			require.Equal(t, 8, statusError(t, err).Attempts)
			for i, gap := range base.gaps() {
				require.GreaterOrEqual(t, gap, want[i]*time.Second/2)
				require.LessOrEqual(t, gap, min(want[i]*time.Second*3/2+1, 30*time.Second))
				reached = reached || gap == 30*time.Second
				shorter = shorter || gap < want[i]*time.Second*9/10
				longer = longer || gap > want[i]*time.Second*11/10
			}
		}
		assert.True(t, shorter && longer, "some intervals must be shorter than their nominal length, and some longer")
		assert.True(t, reached, "some intervals must be exactly 30 s, because the bound applies after the random draw")
	})
}

func TestEachRetriedRequestGetsItsOwnSchedule(t *testing.T) {
	made := 0
	tr := &iamhttp.Transport{Base: script(answer(200, ""), answer(404, ""), answer(429, ""), answer(408, ""), answer(200, ""), answer(429, ""), answer(200, "")),
		Backoff: func() backoff.BackOff { made++; return &backoff.ZeroBackOff{} }}
	for i, want := range []int{0, 0, 1, 2} {
		_, _ = tr.RoundTrip(newRequest(t, "GET", ""))
		assert.Equal(t, want, made, "wrong number of schedules created after request %d", i)
	}
}

func TestNilScheduleMeansTheDefaultSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := script(answer(429, ""), answer(200, ""))
		_, err := (&iamhttp.Transport{Base: base, Backoff: func() backoff.BackOff { return nil }}).RoundTrip(newRequest(t, "GET", ""))
		require.NoError(t, err)
		assert.GreaterOrEqual(t, base.gaps()[0], 500*time.Millisecond)
	})
}

func TestScheduleIntervalIsCutToMaxWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := script(answer(429, ""), answer(200, ""))
		_, err := (&iamhttp.Transport{Base: base, Backoff: constant(math.MaxInt64), MaxWait: 7 * time.Second}).RoundTrip(newRequest(t, "GET", ""))
		require.NoError(t, err)
		assert.Equal(t, []time.Duration{7 * time.Second}, base.gaps())
	})
}

func TestCallThatStopsEarlyReturnsAtOnceWithTheStopReason(t *testing.T) {
	stop := func() backoff.BackOff { return &backoff.StopBackOff{} }
	tests := map[string]struct {
		tr         iamhttp.Transport
		deadline   time.Duration
		retryAfter string
		want       iamhttp.StopReason
	}{
		"Retry-After longer than the default MaxWait":         {iamhttp.Transport{}, 0, "121", iamhttp.StopWaitTooLong},
		"Retry-After longer than the MaxWait that is set":     {iamhttp.Transport{MaxWait: time.Second}, 0, "2", iamhttp.StopWaitTooLong},
		"Retry-After that overflows":                          {iamhttp.Transport{}, 0, "99999999999999999999", iamhttp.StopWaitTooLong},
		"Retry-After that ends after the deadline":            {iamhttp.Transport{}, 10 * time.Second, "11", iamhttp.StopDeadline},
		"Retry-After that ends at the deadline":               {iamhttp.Transport{}, 10 * time.Second, "10", iamhttp.StopDeadline},
		"an interval that ends after the deadline":            {iamhttp.Transport{Backoff: constant(20 * time.Second)}, 10 * time.Second, "", iamhttp.StopDeadline},
		"an interval that ends at the deadline":               {iamhttp.Transport{Backoff: constant(10 * time.Second)}, 10 * time.Second, "", iamhttp.StopDeadline},
		"a schedule that stops":                               {iamhttp.Transport{Backoff: stop}, 0, "", iamhttp.StopBackoff},
		"a schedule that stops, with Retry-After":             {iamhttp.Transport{Backoff: stop}, 0, "1", iamhttp.StopBackoff},
		"Retry-After that overflows, without a deadline":      {iamhttp.Transport{MaxWait: math.MaxInt64}, 0, "99999999999", iamhttp.StopWaitTooLong},
		"the longest interval, without a deadline":            {iamhttp.Transport{MaxWait: math.MaxInt64, Backoff: constant(math.MaxInt64)}, 0, "", iamhttp.StopWaitTooLong},
		"StopAttempts wins over StopBackoff and StopDeadline": {iamhttp.Transport{MaxAttempts: 1, Backoff: stop}, time.Second, "1000", iamhttp.StopAttempts},
		"StopBackoff wins over StopDeadline":                  {iamhttp.Transport{Backoff: stop}, time.Second, "1000", iamhttp.StopBackoff},
		"StopWaitTooLong wins over StopDeadline":              {iamhttp.Transport{MaxWait: time.Minute}, time.Second, "1000", iamhttp.StopWaitTooLong},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if tt.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.deadline)
					defer cancel()
				}
				base := script(answer(429, `{"error_code":"APIG.0308"}`, "Retry-After: "+tt.retryAfter))
				tr := &tt.tr
				tr.Base = base
				start := time.Now()
				_, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
				e := statusError(t, err)
				assert.Zero(t, time.Since(start), "the call must return at once")
				assert.Equal(t, tt.want, e.Stop)
				assert.Equal(t, 1, base.count())
				assert.Equal(t, "APIG.0308", e.ServiceCode)
				assert.NotErrorIs(t, err, context.DeadlineExceeded, "the error must not be DeadlineExceeded, because no deadline has passed")
				assert.False(t, e.Timeout())
			})
		})
	}
}

func TestFirstOfSeveralStopReasonsIsReported(t *testing.T) {
	req := newRequest(t, "POST", "x")
	req.GetBody = nil
	tr := &iamhttp.Transport{Base: script(answer(404, ""), answer(429, "")), MaxAttempts: 1}
	_, err := tr.RoundTrip(req)
	assert.Equal(t, iamhttp.StopNotRetryable, statusError(t, err).Stop)
	req = newRequest(t, "POST", "x")
	req.GetBody = nil
	_, err = tr.RoundTrip(req)
	assert.Equal(t, iamhttp.StopBodyNotReplayable, statusError(t, err).Stop)
}

func TestTypedErrorIsReturnedBeforeAClientTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &http.Client{Transport: &iamhttp.Transport{Base: script(answer(429, "", "Retry-After: 30"))}, Timeout: 2 * time.Second}
		start := time.Now()
		_, err := client.Get("https://iam.example/")
		assert.Zero(t, time.Since(start))
		e := statusError(t, err)
		assert.Equal(t, iamhttp.StopDeadline, e.Stop)
		assert.Equal(t, 30*time.Second, e.RetryAfter)
	})
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"0", "1", "120", "-5", "+5", "1.5", "1e3", " 7\t", "9223372036", "9223372037", "18446744080",
		"99999999999999999999999", "", "soon", "5, 10", "Sat, 01 Jan 2000 00:01:00 GMT", "Saturday, 01-Jan-00 00:01:00 GMT",
		"Sat Jan  1 00:01:00 2000", "Fri, 31 Dec 9999 23:59:59 GMT"} {
		f.Add(s, "7", "Sat, 01 Jan 2000 00:00:00 GMT")
	}
	f.Fuzz(func(t *testing.T, first, second, date string) {
		h := http.Header{"Retry-After": {first, second}, "Date": {date}}
		got := iamhttp.NewStatusError(429, h, nil).RetryAfter
		if got < 0 {
			t.Fatalf("RetryAfter is negative: %v", got)
		}
		want := big.NewInt(0) // in nanoseconds, without an upper bound
		for _, line := range []string{first, second} {
			line = strings.Trim(line, " \t")
			n := new(big.Int)
			if line != "" && strings.Trim(line, "0123456789") == "" {
				n.SetString(line, 10)
			} else if at, err := http.ParseTime(line); err == nil {
				origin, err := http.ParseTime(date)
				if err != nil || strings.Contains(line, "-") {
					return // other tests cover RFC 850 dates and dates relative to the local clock
				}
				n.SetInt64(at.Unix() - origin.Unix())
			}
			n.Mul(n, big.NewInt(1e9))
			if n.Cmp(want) > 0 {
				want = n
			}
		}
		if longest := big.NewInt(math.MaxInt64); want.Cmp(longest) > 0 {
			// A longer wait is cut to the longest possible duration, in nanoseconds or in
			// whole seconds.
			if got < math.MaxInt64/time.Second*time.Second {
				t.Fatalf("Retry-After %q and %q: got %v, want the longest possible duration", first, second, got)
			}
			return
		}
		if big.NewInt(int64(got)).Cmp(want) != 0 {
			t.Fatalf("Retry-After %q and %q, Date %q: got %d ns, want %v ns", first, second, date, got, want)
		}
	})
}

func TestConnectionErrorsAreRetriedOnlyIfEnabledAndIdempotent(t *testing.T) {
	broken := &net.OpError{Op: "read", Err: errors.New("connection reset by peer")}
	key := http.Header{"Idempotency-Key": {"k"}}
	on := iamhttp.Transport{RetryConnectionErrors: true, Backoff: zero}
	tests := map[string]struct {
		tr     iamhttp.Transport
		method string
		header http.Header
		err    error
		want   int
	}{
		"off by default":                          {iamhttp.Transport{Backoff: zero}, "GET", nil, broken, 1},
		"a GET":                                   {on, "GET", nil, broken, 2},
		"a PUT":                                   {on, "PUT", nil, broken, 2},
		"a POST":                                  {on, "POST", nil, broken, 1},
		"a POST with Idempotency-Key":             {on, "POST", key, broken, 2},
		"attempts used up":                        {iamhttp.Transport{RetryConnectionErrors: true, Backoff: zero, MaxAttempts: 1}, "GET", nil, broken, 1},
		"a schedule that stops":                   {iamhttp.Transport{RetryConnectionErrors: true, Backoff: func() backoff.BackOff { return &backoff.StopBackOff{} }}, "GET", nil, broken, 1},
		"an unverified certificate":               {on, "GET", nil, &tls.CertificateVerificationError{Err: errors.New("x")}, 1},
		"an unverified certificate, wrapped":      {on, "GET", nil, fmt.Errorf("proxy: %w", &url.Error{Op: "x", Err: &tls.CertificateVerificationError{Err: errors.New("x")}}), 1},
		"an unknown authority, wrapped":           {on, "GET", nil, fmt.Errorf("proxy: %w", x509.UnknownAuthorityError{}), 1},
		"a certificate for another host, wrapped": {on, "GET", nil, fmt.Errorf("proxy: %w", x509.HostnameError{Certificate: &x509.Certificate{}, Host: "h"}), 1},
		"an invalid certificate":                  {on, "GET", nil, fmt.Errorf("proxy: %w", x509.CertificateInvalidError{Cert: &x509.Certificate{}}), 1},
		"an unsupported protocol scheme":          {on, "GET", nil, errors.New("unsupported protocol scheme \"x\""), 1},
		"EOF":                                     {on, "GET", nil, io.EOF, 2},
		"a StatusError from an inner Transport":   {on, "GET", nil, iamhttp.NewStatusError(503, nil, nil), 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			base := script(fail(tt.err), answer(200, ""))
			tr := &tt.tr
			tr.Base = base
			var failures []iamhttp.Failure
			tr.OnFailure = func(_ context.Context, f iamhttp.Failure) { failures = append(failures, f) }
			req := newRequest(t, tt.method, "x")
			if tt.header != nil {
				req.Header = tt.header
			}
			resp, err := tr.RoundTrip(req)
			assert.Equal(t, tt.want, base.count())
			if tt.want == 1 {
				assert.Nil(t, resp)
				assert.Same(t, tt.err, err, "RoundTrip must return Base's error unchanged")
				require.Len(t, failures, 1)
				assert.Equal(t, tt.err, failures[0].Err)
				assert.NotEqual(t, iamhttp.StopUnset, failures[0].Stop)
				assert.False(t, failures[0].Retry)
			} else {
				assert.NoError(t, err)
				assert.Equal(t, "x", base.sent[1].body)
				assert.Equal(t, 1, base.sent[1].resend)
				require.Len(t, failures, 1)
				assert.Equal(t, tt.err, failures[0].Err)
				assert.Equal(t, 1, failures[0].Attempt)
				assert.True(t, failures[0].Retry)
			}
		})
	}
}

func TestRetriesAfterConnectionErrorsFollowTheRulesForAllRetries(t *testing.T) {
	broken := errors.New("connection reset by peer")
	t.Run("no GetBody", func(t *testing.T) {
		base := script(fail(broken))
		req := newRequest(t, "PUT", "x")
		req.GetBody = nil
		_, err := (&iamhttp.Transport{Base: base, RetryConnectionErrors: true}).RoundTrip(req)
		assert.Same(t, broken, err)
		assert.Equal(t, 1, base.count())
	})
	t.Run("GetBody fails", func(t *testing.T) {
		base := script(fail(broken))
		req := newRequest(t, "PUT", "x")
		req.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("gone") }
		_, err := (&iamhttp.Transport{Base: base, RetryConnectionErrors: true}).RoundTrip(req)
		assert.Same(t, broken, err)
	})
	t.Run("the wait would end at the deadline", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			start := time.Now()
			_, err := (&iamhttp.Transport{Base: script(fail(broken)), RetryConnectionErrors: true, Backoff: constant(time.Second)}).
				RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
			assert.Same(t, broken, err)
			assert.Zero(t, time.Since(start))
		})
	})
	t.Run("the request is canceled during the attempt", func(t *testing.T) {
		for name, end := range map[string]func(*http.Request) (*http.Request, func()){
			"through its context": func(req *http.Request) (*http.Request, func()) {
				ctx, cancel := context.WithCancel(req.Context())
				return req.WithContext(ctx), cancel
			},
			"through its Cancel channel": func(req *http.Request) (*http.Request, func()) {
				over := make(chan struct{})
				// http.Client still sets the deprecated Cancel field for its Timeout.
				req.Cancel = over
				return req, func() { close(over) }
			},
		} {
			t.Run(name, func(t *testing.T) {
				req, cancel := end(newRequest(t, "PUT", "x"))
				req.GetBody = func() (io.ReadCloser, error) {
					t.Error("GetBody was called although there is no retry")
					return http.NoBody, nil
				}
				schedule := &intervals{list: []time.Duration{0}}
				var reported failures
				tr := &iamhttp.Transport{
					Base: script(func(*http.Request) (*http.Response, error) {
						cancel()
						return nil, broken
					}),
					RetryConnectionErrors: true,
					Backoff:               func() backoff.BackOff { return schedule },
					OnFailure:             reported.add,
				}
				_, err := tr.RoundTrip(req)
				assert.Equal(t, broken, err)
				assert.Zero(t, schedule.asked, "NextBackOff was called although there is no retry")
				require.Len(t, reported, 1)
				assert.Equal(t, iamhttp.StopCanceled, reported[0].Stop)
				assert.Equal(t, 1, reported[0].Attempt)
			})
		}
	})
	t.Run("the wait is canceled", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			cause := errors.New("shut down")
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Second, func() { cancel(cause) })
			req := newRequest(t, "PUT", "x").WithContext(ctx)
			fresh := watch(strings.NewReader("x"))
			req.GetBody = func() (io.ReadCloser, error) { return fresh, nil }
			start := time.Now()
			_, err := (&iamhttp.Transport{Base: script(fail(broken)), RetryConnectionErrors: true, Backoff: constant(time.Minute)}).RoundTrip(req)
			assert.Equal(t, time.Second, time.Since(start))
			assert.ErrorIs(t, err, broken)
			assert.ErrorIs(t, err, context.Canceled)
			assert.ErrorIs(t, err, cause)
			isStatus := errors.As(err, new(*iamhttp.StatusError))
			assert.False(t, isStatus, "without a response there must not be a StatusError")
			_, closes := fresh.counts()
			assert.Equal(t, 1, closes)
		})
	})
	t.Run("a deadline set by an inner RoundTripper does not end the call", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			base := script(hang, hang, answer(200, ""))
			below := roundTripper(func(req *http.Request) (*http.Response, error) {
				ctx, cancel := context.WithTimeout(req.Context(), 10*time.Second)
				defer cancel() // the body can still be read: it is in memory
				return base.RoundTrip(req.WithContext(ctx))
			})
			resp, err := (&iamhttp.Transport{Base: below, RetryConnectionErrors: true, Backoff: zero}).RoundTrip(newRequest(t, "GET", ""))
			require.NoError(t, err)
			assert.Equal(t, 200, resp.StatusCode)
			assert.Equal(t, []time.Duration{10 * time.Second, 10 * time.Second}, base.gaps())
		})
	})
	t.Run("the wait is cut to MaxWait, and MaxAttempts counts attempts with and without a response", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			base := script(fail(broken), answer(429, "", "Retry-After: 1"), fail(broken), answer(200, ""))
			tr := &iamhttp.Transport{Base: base, RetryConnectionErrors: true, MaxAttempts: 3, MaxWait: 2 * time.Second, Backoff: constant(time.Hour)}
			_, err := tr.RoundTrip(newRequest(t, "GET", ""))
			assert.Same(t, broken, err)
			assert.Equal(t, 3, base.count())
			assert.Equal(t, 2*time.Second, base.gaps()[0])
		})
	})
}

func TestEmptyRetryAfterCountsAsMissing(t *testing.T) {
	base := script(answer(413, "", "Retry-After: "))
	tr := &iamhttp.Transport{Base: base, Backoff: zero, AlsoRetry: []iamhttp.Code{iamhttp.ErrRequestEntityTooLarge}}
	_, err := tr.RoundTrip(newRequest(t, "GET", ""))
	assert.Equal(t, iamhttp.StopNotRetryable, statusError(t, err).Stop)
	assert.Equal(t, 1, base.count())
}

func TestRetryAfterDateIsRoundedUpToWholeSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := time.Now().Add(6 * time.Second).UTC().Format(http.TimeFormat)
		time.Sleep(time.Second - 1)
		assert.Equal(t, 6*time.Second, iamhttp.NewStatusError(429, http.Header{"Retry-After": {at}}, nil).RetryAfter)
	})
}

// The bound is 7 waits of 2 minutes (the default MaxWait) plus the jitter, at most 106.5 s
// in all. README.md and SECURITY.md state this bound for calls without a deadline.
func TestCallThatIsAlwaysThrottledWaitsAtMostSixteenMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, start := script(answer(429, "", "Retry-After: 120")), time.Now()
		_, err := (&iamhttp.Transport{Base: base}).RoundTrip(newRequest(t, "GET", ""))
		assert.Equal(t, iamhttp.StopAttempts, statusError(t, err).Stop)
		assert.Len(t, base.sent, 8)
		assert.GreaterOrEqual(t, time.Since(start), 14*time.Minute)
		assert.LessOrEqual(t, time.Since(start), 14*time.Minute+106*time.Second+500*time.Millisecond)
	})
}

func TestWithoutADeadlineTheTransportWaitsADayForAResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const day = 24 * time.Hour
		base := roundTripper(func(req *http.Request) (*http.Response, error) {
			time.Sleep(day)
			return response(req, 404, http.NoBody, 0), nil
		})
		start := time.Now()
		_, err := (&iamhttp.Transport{Base: base}).RoundTrip(newRequest(t, "GET", ""))
		assert.ErrorIs(t, err, iamhttp.ErrNotFound)
		assert.Equal(t, day, time.Since(start))
	})
}

// slowly returns a step that waits two seconds before it calls then. The step fails if
// the context ends first.
func slowly(then step) step {
	return func(req *http.Request) (*http.Response, error) {
		select {
		case <-time.After(2 * time.Second):
			return then(req)
		case <-req.Context().Done():
			return nil, req.Context().Err()
		}
	}
}

func TestRetryWhoseResponseWouldBeTooLateIsNotSent(t *testing.T) {
	for name, tt := range map[string]struct {
		first, second step
		deadline      time.Duration
		want          iamhttp.StopReason
		took          time.Duration
	}{
		"Retry-After 9, responses take 2 s, deadline in 12 s":     {slowly(answer(429, "", "Retry-After: 9")), slowly(answer(404, "")), 12 * time.Second, iamhttp.StopDeadline, 2 * time.Second},
		"Retry-After 9, responses take 2 s, deadline in 14 s":     {slowly(answer(429, "", "Retry-After: 9")), slowly(answer(404, "")), 14 * time.Second, iamhttp.StopNotRetryable, 14 * time.Second},
		"408, wait 1 s, responses take 2 s, deadline in 4 s":      {slowly(answer(408, "")), slowly(answer(404, "")), 4 * time.Second, iamhttp.StopDeadline, 2 * time.Second},
		"Retry-After that overflows":                              {slowly(answer(429, "", "Retry-After: 99999999999999999999")), slowly(answer(404, "")), 3 * time.Second, iamhttp.StopDeadline, 2 * time.Second},
		"Retry-After 9, responses take no time, deadline in 10 s": {answer(429, "", "Retry-After: 9"), answer(404, ""), 10 * time.Second, iamhttp.StopNotRetryable, 10 * time.Second},
	} {
		modes(t, func(t *testing.T, passThrough bool) {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), tt.deadline)
					defer cancel()
					var last iamhttp.Failure
					tr := &iamhttp.Transport{Base: script(tt.first, tt.second), PassThrough: passThrough, Backoff: constant(time.Second),
						OnFailure: func(_ context.Context, f iamhttp.Failure) { last = f }}
					start := time.Now()
					_, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
					if passThrough {
						require.NoError(t, err)
					} else {
						statusError(t, err)
					}
					assert.Equal(t, tt.want, last.Stop)
					assert.LessOrEqual(t, time.Since(start), tt.took)
					assert.NoError(t, ctx.Err())
				})
			})
		})
	}
}

func TestFastestResponseOfTheCallDecidesWhetherARetryIsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 11*time.Second)
		defer cancel()
		base := script(answer(408, ""), slowly(answer(429, "", "Retry-After: 7")), answer(404, ""))
		_, err := (&iamhttp.Transport{Base: base, Backoff: constant(time.Second)}).RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
		assert.ErrorIs(t, err, iamhttp.ErrNotFound, "the retry must be sent, because 8 s were left after the 429 and the fastest response took no time")
	})
}

func TestResponseTimeIsStillKnownAfterAnAttemptWithoutAResponse(t *testing.T) {
	for deadline, want := range map[time.Duration]error{
		8900 * time.Millisecond: syscall.ECONNRESET, // the third response would arrive after 9 s
		9100 * time.Millisecond: iamhttp.ErrNotFound,
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			base := script(slowly(answer(408, "")), slowly(fail(syscall.ECONNRESET)), slowly(answer(404, "")))
			tr := &iamhttp.Transport{Base: base, RetryConnectionErrors: true, Backoff: constant(1500 * time.Millisecond)}
			_, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
			assert.ErrorIs(t, err, want, deadline)
			assert.NoError(t, ctx.Err(), "the call must end before its deadline")
		})
	}
}

// A cache can return a response to a request other than the one that obtained it. Retries
// that an inner Transport made for that other request do not count.
func TestRequestIsRetriedAfterACachedResponseToAnotherRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := script(answer(408, ""), answer(429, ""), answer(429, ""), answer(200, ""))
		below := &iamhttp.Transport{Base: base, Backoff: constant(time.Second), MaxAttempts: 2, PassThrough: true}
		cache := func(next http.RoundTripper) http.RoundTripper {
			var cached *http.Response
			return roundTripper(func(req *http.Request) (*http.Response, error) {
				if cached != nil {
					copied := *cached
					cached = nil
					return &copied, nil
				}
				resp, err := next.RoundTrip(req)
				cached = resp
				return resp, err
			})
		}(below)
		tr := &iamhttp.Transport{Base: cache, Backoff: zero, MaxAttempts: 5}
		_, err := tr.RoundTrip(newRequest(t, "GET", ""))
		e := statusError(t, err)
		assert.Equal(t, 2, e.Attempts)
		assert.Equal(t, iamhttp.StopAttempts, e.Stop, "the inner Transport has retried the request, so the outer one must not retry it")
		time.Sleep(time.Second)
		resp, err := tr.RoundTrip(newRequest(t, "GET", ""))
		require.NoError(t, err, "the cached 429 is the first response to this request, so the request must be retried")
		resp.Body.Close()
		assert.Equal(t, 4, base.count())
	})
}

// A layer below can also share one response among concurrent requests.
func TestRequestIsRetriedAfterAResponseToARequestThatBeganEarlier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := script(answer(408, ""), answer(408, ""), answer(429, ""))
		below := &iamhttp.Transport{Base: base, Backoff: constant(10 * time.Second), MaxAttempts: 3, PassThrough: true}
		shared := make(chan *http.Response, 1)
		go func() {
			resp, err := below.RoundTrip(newRequest(t, "GET", "")) // sent after 0 s, 10 s and 20 s
			assert.NoError(t, err)
			shared <- resp
		}()
		time.Sleep(5 * time.Second)
		own := script(func(*http.Request) (*http.Response, error) { return <-shared, nil }, answer(200, ""))
		resp, err := (&iamhttp.Transport{Base: own, Backoff: zero, MaxAttempts: 5}).RoundTrip(newRequest(t, "GET", ""))
		require.NoError(t, err, "the shared 429 is the first response to this request, so the request must be retried")
		resp.Body.Close()
		assert.Equal(t, 2, own.count())
	})
}

func TestStackedTransportsWithWrappersInBetweenSendNoMoreRequestsThanOneTransport(t *testing.T) {
	for name, between := range map[string]func(http.RoundTripper) http.RoundTripper{
		"a RoundTripper that clones the request": func(rt http.RoundTripper) http.RoundTripper {
			return roundTripper(func(req *http.Request) (*http.Response, error) { return rt.RoundTrip(req.Clone(req.Context())) })
		},
		"a RoundTripper that derives a context": func(rt http.RoundTripper) http.RoundTripper {
			return roundTripper(func(req *http.Request) (*http.Response, error) {
				return rt.RoundTrip(req.WithContext(context.WithValue(req.Context(), traceKey{}, "t")))
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			base := script(answer(429, ""))
			inner := &iamhttp.Transport{Base: base, Backoff: zero, MaxAttempts: 3, PassThrough: true}
			_, err := (&iamhttp.Transport{Base: between(inner), Backoff: zero, MaxAttempts: 4}).RoundTrip(newRequest(t, "POST", "x"))
			assert.Equal(t, 3, statusError(t, err).Attempts)
			assert.Equal(t, 3, base.count())
		})
	}
}
