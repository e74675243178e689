package aksk_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/aksk"
	"github.com/iamhttp/iamhttp/iamtest"
)

// Caches and RoundTrippers written for tests sometimes leave Response.Request unset.
func TestARedirectToAnotherHostIsNotSignedEvenIfResponseRequestIsNil(t *testing.T) {
	var got []http.Header
	tr := over(roundTripper(func(req *http.Request) (*http.Response, error) {
		got = append(got, req.Header)
		resp := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody}
		if len(got) == 1 {
			resp.StatusCode = http.StatusFound
			resp.Header.Set("Location", "https://other.example/")
		}
		return resp, nil
	}))
	resp, err := (&http.Client{Transport: tr}).Get(users)
	require.NoError(t, err)
	resp.Body.Close()
	require.Len(t, got, 2)
	assert.NotEmpty(t, got[0].Get("Authorization"))
	assert.Empty(t, got[1].Get("Authorization"))
	assert.Empty(t, got[1].Get("X-Security-Token"))
}

func TestADateThatContradictsAnAcceptedSignatureIsIgnored(t *testing.T) {
	for name, ahead := range map[string]time.Duration{"a Date three hours in the past": -3 * time.Hour, "a Date three hours in the future": 3 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &iamtest.Server{Keys: keys}
				date := time.Now().Add(ahead).UTC().Format(http.TimeFormat) // as from a cache, or from a tenant's own server
				s.Next(iamtest.Answer{Body: "{}"}.With("Date", date))
				tr := over(s)
				status, _ := send(t, tr, signedAt(t, "GET", "", time.Now()))
				require.Equal(t, 200, status)
				once := newRequest(t, "PUT", users, "body")
				once.Header.Set("X-Sdk-Content-Sha256", "UNSIGNED-PAYLOAD")
				require.NoError(t, aksk.Sign(once, permanent, time.Now()))
				once.GetBody = nil
				status, _ = send(t, tr, once)
				assert.Equal(t, 200, status)
				assert.Len(t, s.Requests(), 2)
			})
		})
	}
}

// A 401 for a HEAD has no body that could state the reason.
func TestAHEADIsSentAgainIfTheClockWasOffBy20MinutesButNotIfItWasRight(t *testing.T) {
	for ahead, want := range map[time.Duration]int{20 * time.Minute: 200, -20 * time.Minute: 200} {
		synctest.Test(t, func(t *testing.T) {
			s := &iamtest.Server{Keys: keys, Ahead: ahead}
			status, _ := send(t, over(s), signedAt(t, "HEAD", "", time.Now()))
			assert.Equal(t, want, status)
			assert.Len(t, s.Requests(), 2)
		})
	}
	synctest.Test(t, func(t *testing.T) {
		s := &iamtest.Server{Keys: func(string, string) (string, bool) { return "", false }}
		status, _ := send(t, over(s), signedAt(t, "HEAD", "", time.Now()))
		assert.Equal(t, 401, status)
		assert.Len(t, s.Requests(), 1, "a 401 for an unknown key must not be retried")
	})
}

// behindProxy returns a RoundTripper to a service behind a proxy that replaces the Date. The
// proxy's clock is ahead of the service's by the duration that ahead points to.
func behindProxy(s *iamtest.Server, ahead *time.Duration) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		resp, err := s.RoundTrip(req)
		if err == nil {
			resp.Header.Set("Date", time.Now().Add(*ahead).UTC().Format(http.TimeFormat))
		}
		return resp, err
	})
}

func TestA401ForAnotherReasonDoesNotMoveTheClockToTheDateOfAProxy(t *testing.T) {
	denied := iamtest.Gateway(401, "IAM.0064", "The token does not allow the request.")
	for method, sent := range map[string]int{"GET": 1, "HEAD": 2} { // a HEAD has no body that could state the reason
		for _, ahead := range []time.Duration{-2 * time.Hour, 2 * time.Hour} {
			synctest.Test(t, func(t *testing.T) {
				s := &iamtest.Server{Keys: keys}
				s.Next(denied)
				tr := over(behindProxy(s, &ahead))
				status, _ := send(t, tr, newRequest(t, method, users, ""))
				assert.Equal(t, 401, status)
				s.AssertCount(t, sent)
				for range 3 {
					status, body := send(t, tr, newRequest(t, method, users, ""))
					assert.Equal(t, 200, status, body)
				}
				s.AssertCount(t, sent+3)
			})
		}
	}
}

func TestAClockOffsetThatMakesSignaturesExpireIsDropped(t *testing.T) {
	for name, tt := range map[string]struct {
		method, body string
		failed, sent int // number of calls that end in a 401, and of requests for all five calls
	}{
		"a GET":                             {"GET", "", 0, 6},
		"a HEAD":                            {"HEAD", "", 0, 6},
		"a body that can be read only once": {"PUT", "body", 1, 5},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &iamtest.Server{Keys: keys}
				var ahead time.Duration
				tr := over(behindProxy(s, &ahead))
				failed := 0
				for range 5 {
					ahead = min(ahead+14*time.Minute, 28*time.Minute) // in two steps, each of which could be a correction of the clock
					req := newRequest(t, tt.method, users, tt.body)
					if tt.body != "" {
						req.Header.Set("X-Sdk-Content-Sha256", "UNSIGNED-PAYLOAD")
						once(req)
					}
					if status, _ := send(t, tr, req); status != 200 {
						failed++
					}
					time.Sleep(2 * time.Second)
				}
				assert.Equal(t, tt.failed, failed)
				s.AssertCount(t, tt.sent)
			})
		})
	}
}

func TestAClockOffsetIsDroppedIfNeitherItNorTheDateIsRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &iamtest.Server{Keys: keys, Ahead: 20 * time.Minute}
		ahead := s.Ahead
		tr := over(roundTripper(func(req *http.Request) (*http.Response, error) { return behindProxy(s, &ahead).RoundTrip(req) }))
		status, _ := send(t, tr, newRequest(t, "GET", users, ""))
		require.Equal(t, 200, status)
		s, ahead = &iamtest.Server{Keys: keys}, -3*time.Hour
		status, _ = send(t, tr, newRequest(t, "GET", users, ""))
		assert.Equal(t, 401, status)
		status, body := send(t, tr, newRequest(t, "GET", users, ""))
		assert.Equal(t, 200, status, body)
		s.AssertCount(t, 3) // the first request is sent twice
	})
}

// slow is a body whose Read blocks until the body is closed.
type slow chan struct{}

func (b slow) Read([]byte) (int, error) { <-b; return 0, io.ErrClosedPipe }
func (b slow) Close() error {
	select {
	case <-b:
	default:
		close(b)
	}
	return nil
}

func TestSigningEndsAtTheDeadlineIfTheBodyIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		req := signedAt(t, "PUT", "body", time.Now().Add(-time.Hour)).WithContext(ctx)
		req.GetBody = func() (io.ReadCloser, error) { return make(slow), nil }
		start := time.Now()
		_, err := over(&iamtest.Server{}).RoundTrip(req)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(start))
	})
}

// unclosable is a slow body whose Close panics.
type unclosable struct{ slow }

func (b unclosable) Close() error { b.slow.Close(); panic("no") }

// A panic in another goroutine would end the process.
func TestAPanicInCloseOfASlowBodyReachesTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		req := newRequest(t, "PUT", users, "body").WithContext(ctx)
		req.GetBody = func() (io.ReadCloser, error) { return unclosable{make(slow)}, nil }
		assert.PanicsWithValue(t, "no", func() { _ = aksk.Sign(req, permanent, time.Now()) })
	})
}

// idle is a body whose Read always returns 0 and nil.
type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }
func (idle) Close() error             { return nil }

func TestSigningFailsIfTheBodyNeverReturnsData(t *testing.T) {
	req := newRequest(t, "PUT", users, "body")
	req.GetBody = func() (io.ReadCloser, error) { return idle{}, nil }
	assert.ErrorIs(t, aksk.Sign(req, permanent, time.Now()), io.ErrNoProgress)
}

func TestWithoutCredentialsNoCallWaitsPastTheExpiryOfItsSignature(t *testing.T) {
	for name, keys := range map[string]func(*http.Request) (aksk.Credentials, error){
		"Credentials is nil":                 nil,
		"Credentials returns the zero value": func(*http.Request) (aksk.Credentials, error) { return aksk.Credentials{}, nil },
		"Credentials returns an error":       func(*http.Request) (aksk.Credentials, error) { return aksk.Credentials{}, io.EOF },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if name == "Credentials returns an error" {
					assert.False(t, (&aksk.Transport{Credentials: keys}).SignsEachAttempt(signedAt(t, "GET", "", time.Now())))
					return
				}
				s := new(iamtest.Server)
				s.Next(iamtest.Throttled(10*time.Minute), iamtest.Throttled(10*time.Minute))
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				_, err := (&iamhttp.Transport{Base: &aksk.Transport{Base: s, Credentials: keys}}).RoundTrip(signedAt(t, "GET", "", time.Now()).WithContext(ctx))
				var e *iamhttp.StatusError
				require.ErrorAs(t, err, &e)
				assert.Equal(t, iamhttp.StopSignature, e.Stop)
				assert.Len(t, s.Requests(), 2)
			})
		})
	}
}
