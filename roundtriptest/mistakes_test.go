package roundtriptest_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/roundtriptest"
)

// again sends a copy of a request whose body can be sent again.
func again(base http.RoundTripper, req *http.Request) (*http.Response, error) {
	c := req.Clone(req.Context())
	if req.GetBody != nil {
		c.Body, _ = req.GetBody()
	}
	return base.RoundTrip(c)
}

func replayable(req *http.Request) bool { return req.Body == nil || req.GetBody != nil }

// answered returns a RoundTripper that calls f with each response.
func answered(f func(base http.RoundTripper, req *http.Request, resp *http.Response) (*http.Response, error)) func(http.RoundTripper, *http.Request) (*http.Response, error) {
	return func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
		resp, err := base.RoundTrip(req)
		if err != nil || resp == nil || resp.Body == nil {
			return resp, err
		}
		return f(base, req, resp)
	}
}

// replaced replaces a response's body, but keeps it writable.
func replaced(resp *http.Response, body io.ReadCloser) {
	if w, ok := resp.Body.(io.Writer); ok {
		body = struct {
			io.ReadCloser
			io.Writer
		}{body, w}
	}
	resp.Body = body
}

// Each of these RoundTrippers makes one mistake that is common in real ones, and declares
// no retries.
func TestCommonMistakesAreFound(t *testing.T) {
	jar, err := cookiejar.New(nil)
	assert.NoError(t, err)
	for name, f := range map[string]func(http.RoundTripper, *http.Request) (*http.Response, error){
		"it cancels the context of the attempt before the body is read": func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			ctx, cancel := context.WithTimeout(req.Context(), 48*time.Hour)
			defer cancel()
			return base.RoundTrip(req.WithContext(ctx))
		},
		"closing the body does not reach the base": answered(func(_ http.RoundTripper, _ *http.Request, resp *http.Response) (*http.Response, error) {
			replaced(resp, io.NopCloser(resp.Body))
			return resp, nil
		}),
		"it cuts bodies off": answered(func(_ http.RoundTripper, _ *http.Request, resp *http.Response) (*http.Response, error) {
			replaced(resp, struct {
				io.Reader
				io.Closer
			}{io.LimitReader(resp.Body, 1024), resp.Body})
			return resp, nil
		}),
		"it closes the bodies of failures": answered(func(_ http.RoundTripper, _ *http.Request, resp *http.Response) (*http.Response, error) {
			if resp.StatusCode >= 400 {
				resp.Body.Close()
			}
			return resp, nil
		}),
		"it cuts off the bodies of failures": answered(func(_ http.RoundTripper, _ *http.Request, resp *http.Response) (*http.Response, error) {
			if resp.StatusCode >= 400 {
				b, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
				resp.Body.Close()
				resp.Body = io.NopCloser(bytes.NewReader(b))
				return resp, err
			}
			return resp, nil
		}),
		"it drops the response's header": answered(func(_ http.RoundTripper, _ *http.Request, resp *http.Response) (*http.Response, error) {
			if resp.StatusCode/100 != 3 {
				resp.Header = http.Header{}
			}
			return resp, nil
		}),
		"it returns an error for a 401": answered(func(_ http.RoundTripper, _ *http.Request, resp *http.Response) (*http.Response, error) {
			if resp.StatusCode == 401 {
				resp.Body.Close()
				return nil, errors.New("refused")
			}
			return resp, nil
		}),
		"it keeps cookies": func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			if req.URL == nil {
				return base.RoundTrip(req)
			}
			sent := req.Clone(req.Context())
			for _, c := range jar.Cookies(req.URL) {
				sent.AddCookie(c)
			}
			resp, err := base.RoundTrip(sent)
			if err == nil && resp != nil {
				jar.SetCookies(req.URL, resp.Cookies())
			}
			return resp, err
		},
		"it logs in on a 401 and sends the request again": answered(func(base http.RoundTripper, req *http.Request, resp *http.Response) (*http.Response, error) {
			if resp.StatusCode != 401 || !replayable(req) {
				return resp, nil
			}
			resp.Body.Close()
			return again(base, req)
		}),
		"it modifies the request after a 500": answered(func(_ http.RoundTripper, req *http.Request, resp *http.Response) (*http.Response, error) {
			if resp.StatusCode == 500 {
				req.Header.Set("X-Failed", "1")
			}
			return resp, nil
		}),
		"it modifies the request after an error": func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			resp, err := base.RoundTrip(req)
			if err != nil && req.Header != nil {
				req.Header.Set("X-Failed", "1")
			}
			return resp, err
		},
		"it modifies the request after it has returned": func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			if req.Header.Get("X-Auth-Token") != "" && req.Host != "virtual.example" { // not for other traps' requests, where the race detector would find it first
				time.AfterFunc(time.Second, func() { req.Header.Set("X-Late", "1") })
			}
			return base.RoundTrip(req)
		},
		"it retries a POST after a 502": answered(func(base http.RoundTripper, req *http.Request, resp *http.Response) (*http.Response, error) {
			if resp.StatusCode != 502 || !replayable(req) {
				return resp, nil
			}
			resp.Body.Close()
			return again(base, req)
		}),
		"it retries a POST whose connection broke": func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			resp, err := base.RoundTrip(req)
			if err == nil || req.Context().Err() != nil || !replayable(req) {
				return resp, err
			}
			return again(base, req)
		},
	} {
		t.Run(name, func(t *testing.T) {
			assert.NotEmpty(t, found(t, func(base http.RoundTripper) http.RoundTripper { return below{base, f} }, roundtriptest.Options{}))
		})
	}
}

// Each of these RoundTrippers sends another request than the caller's, or sends it twice, and
// declares no retries.
func TestASentRequestThatIsNotTheCallersIsFound(t *testing.T) {
	for name, change := range map[string]func(*http.Request){
		"it becomes a GET":       func(r *http.Request) { r.Method = "GET" },
		"it loses the query":     func(r *http.Request) { r.URL.RawQuery = "" },
		"it loses one of values": func(r *http.Request) { r.URL.RawQuery = "name=alice&limit=2" },
		"it loses the path":      func(r *http.Request) { r.URL.Path = "/" },
		"it loses the Host":      func(r *http.Request) { r.Host = "" },
		"it loses the token":     func(r *http.Request) { r.Header.Del("X-Auth-Token") },
		"it loses the header":    func(r *http.Request) { r.Header = http.Header{"X-Auth-Token": r.Header["X-Auth-Token"]} },
		"it loses the body":      func(r *http.Request) { r.Body = http.NoBody },
		"it changes the body": func(r *http.Request) {
			if r.Body != nil {
				r.Body = sent{strings.NewReader("another text"), r.Body}
			}
		},
		"it compresses another body":          func(r *http.Request) { compress(r, func(string) string { return "another text" }) },
		"it compresses half of a body":        func(r *http.Request) { compress(r, func(s string) string { return s[:len(s)/2] }) },
		"it only claims to compress":          func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") },
		"it loses a body in another encoding": func(r *http.Request) { r.Header.Set("Content-Encoding", "zstd"); r.Body = http.NoBody },
		"it compresses nothing":               func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip"); r.Body = http.NoBody },
		"it swaps values":                     func(r *http.Request) { r.URL.RawQuery = "name=bob&name=alice&limit=2" },
		"it replaces a value":                 func(r *http.Request) { r.URL.RawQuery = "name=alice&name=bob&limit=100" },
		"it overrides the method":             func(r *http.Request) { r.Method = "POST"; r.Header.Set("X-HTTP-Method-Override", "PATCH") },
		"it names the method in a GET":        func(r *http.Request) { r.Header.Set("X-HTTP-Method-Override", r.Method); r.Method = "GET" },
		"it has an empty Authorization":       func(r *http.Request) { r.Header.Del("X-Auth-Token"); r.Header.Set("Authorization", "") },
		"it replaces the token by a key":      func(r *http.Request) { r.Header.Del("X-Auth-Token"); r.Header.Set("Idempotency-Key", "1") },
	} {
		t.Run(name, func(t *testing.T) {
			assert.Contains(t, found(t, changing(change), roundtriptest.Options{}), "a request is sent once")
		})
	}
	for _, method := range []string{"PUT", "DELETE"} {
		t.Run("it sends a "+method+" again after an error", func(t *testing.T) {
			assert.Equal(t, []string{"a request is sent once"}, found(t, func(base http.RoundTripper) http.RoundTripper {
				return below{base, func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
					resp, err := base.RoundTrip(req)
					if err == nil || req.Method != method || req.Context().Err() != nil || !replayable(req) {
						return resp, err
					}
					return again(base, req)
				}}
			}, roundtriptest.Options{}))
		})
	}
}

func TestARoundTripperMaySignLogAndSendRequestsToAMirror(t *testing.T) {
	for name, change := range map[string]func(*http.Request){
		"it adds header fields": func(r *http.Request) { r.Header.Set("Traceparent", "00"); r.Header.Set("User-Agent", "x") },
		"it adds credentials":   func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") },
		"it replaces the token": func(r *http.Request) { r.Header.Set("X-Auth-Token", "fresh") },
		"it signs the URL":      func(r *http.Request) { r.URL.RawQuery += "&X-Amz-Signature=x" },
		"it uses a mirror":      func(r *http.Request) { r.URL.Host, r.Host, r.URL.Path = "mirror.example", "", "/iam"+r.URL.Path },
	} {
		t.Run(name, func(t *testing.T) {
			assert.Empty(t, found(t, changing(change), roundtriptest.Options{}))
		})
	}
}

func TestARoundTripperMaySendTheCallersRequestInAnotherForm(t *testing.T) {
	override := func(name string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, r.Method); r.Method = "POST" }
	}
	credential := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Del("X-Auth-Token"); r.Header.Set(name, value) }
	}
	for name, change := range map[string]func(*http.Request){
		"it replaces the token by Authorization": credential("Authorization", "Bearer secret"),
		"it replaces the token by a cookie":      credential("Cookie", "session=secret"),
		"it replaces the token by an API key":    credential("X-Api-Key", "secret"),
		"it replaces the token by a signature in the URL": func(r *http.Request) {
			r.Header.Del("X-Auth-Token")
			r.URL.RawQuery += "&X-Amz-Signature=x"
		},
		"it adds a value to a parameter": func(r *http.Request) { r.URL.RawQuery += "&limit=100" },
		"it adds values before and between the given ones": func(r *http.Request) {
			r.URL.RawQuery = "limit=100&name=carol&name=alice&name=dave&name=bob&limit=2"
		},
		"it compresses the body": func(r *http.Request) { compress(r, func(s string) string { return s }) },
		"it compresses the body in an encoding that is not known here": func(r *http.Request) {
			if r.Body != nil {
				r.Header.Set("Content-Encoding", "zstd")
				r.Body = sent{strings.NewReader("compressed"), r.Body}
			}
		},
		"it says that an empty body is compressed": func(r *http.Request) {
			if r.Body == nil {
				r.Header.Set("Content-Encoding", "gzip")
			}
		},
		"it sends a POST with X-HTTP-Method-Override": override("X-HTTP-Method-Override"),
		"it sends a POST with X-HTTP-Method":          override("X-HTTP-Method"),
		"it sends a POST with X-Method-Override":      override("X-Method-Override"),
	} {
		t.Run(name, func(t *testing.T) {
			assert.NotContains(t, found(t, changing(change), roundtriptest.Options{}), "a request is sent once")
		})
	}
}

// A sent body has another text than the caller's body, which it closes.
type sent struct {
	io.Reader
	io.Closer
}

// compress replaces the body of r, if it has one, by a compressed form of change(its text).
func compress(r *http.Request, change func(string) string) {
	if r.Body == nil {
		return
	}
	text, err := io.ReadAll(r.Body)
	if err != nil {
		text = nil
	}
	z := new(bytes.Buffer)
	w := gzip.NewWriter(z)
	w.Write([]byte(change(string(text))))
	w.Close()
	r.Header.Set("Content-Encoding", "gzip")
	r.Body, r.ContentLength = sent{z, r.Body}, int64(z.Len())
}

// changing returns a RoundTripper that changes a copy of each request.
func changing(change func(*http.Request)) func(http.RoundTripper) http.RoundTripper {
	return func(base http.RoundTripper) http.RoundTripper {
		return below{base, func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			if req.URL == nil {
				return base.RoundTrip(req)
			}
			sent := req.Clone(req.Context())
			if sent.Header == nil {
				sent.Header = http.Header{}
			}
			change(sent)
			return base.RoundTrip(sent)
		}}
	}
}

// A correct RoundTripper may treat two lines as no valid Retry-After at all.
func TestAResponseWithTwoRetryAfterLinesNeedNotBeRetried(t *testing.T) {
	const trap = "Retry-After is understood in all its forms"
	retrying := func(change func(*http.Response)) func(http.RoundTripper) http.RoundTripper {
		return func(base http.RoundTripper) http.RoundTripper {
			return &iamhttp.Transport{PassThrough: true, Base: below{base, answered(func(_ http.RoundTripper, _ *http.Request, resp *http.Response) (*http.Response, error) {
				if len(resp.Header["Retry-After"]) == 2 {
					change(resp)
				}
				return resp, nil
			})}}
		}
	}
	assert.NotContains(t, found(t, func(base http.RoundTripper) http.RoundTripper {
		return below{base, func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
			two := false
			resp, err := retrying(func(resp *http.Response) { two, resp.StatusCode = true, 418 })(base).RoundTrip(req)
			if two && err == nil {
				resp.StatusCode = 429
			}
			return resp, err
		}}
	}, passThrough), trap)
	assert.Contains(t, found(t, retrying(func(resp *http.Response) { resp.Header.Set("Retry-After", "1") }), passThrough), trap, "a retry before the shorter wait is a mistake")
}

// Each of these RoundTrippers sends a retry that is not the same request as the first
// attempt.
func TestRetriesOfAnotherRequestAreFound(t *testing.T) {
	for name, change := range map[string]func(*http.Request) *http.Request{
		"it loses the header": func(r *http.Request) *http.Request { r.Header = http.Header{}; return r },
		"it loses the query":  func(r *http.Request) *http.Request { r.URL.RawQuery = ""; return r },
		"it becomes a GET":    func(r *http.Request) *http.Request { r.Method = "GET"; return r },
		"it loses the Host":   func(r *http.Request) *http.Request { r.Host = ""; return r },
		"it loses the context": func(r *http.Request) *http.Request {
			return r.WithContext(context.WithoutCancel(r.Context()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			assert.NotEmpty(t, found(t, func(base http.RoundTripper) http.RoundTripper {
				return &iamhttp.Transport{PassThrough: true, Base: below{base, func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
					if iamhttp.ResendCount(req.Context()) > 0 {
						req = change(req.Clone(req.Context()))
					}
					return base.RoundTrip(req)
				}}}
			}, passThrough))
		})
	}
}

// found returns the names of the traps that find a mistake.
func found(t *testing.T, wrap func(http.RoundTripper) http.RoundTripper, o roundtriptest.Options) (names []string) {
	for trap := range roundtriptest.Traps() {
		if err := trap.Check(t, wrap, o); err != nil && !errors.Is(err, roundtriptest.ErrNotApplicable) {
			names = append(names, trap.Name)
			t.Log(strings.Join([]string{trap.Name, err.Error()}, ": "))
		}
	}
	return names
}
