package iamsdk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/iamhttp/iamhttp/iamsdk"
)

// A standIn uses its http.Client and handles status codes as the SDKs of the gophercloud
// family do: the client is a struct value, a failing response becomes an error value
// without the header, and the SDK logs in again in the middle of a call, under a lock.
type standIn struct {
	HTTPClient http.Client
	Context    context.Context // the context of all requests; set for the kind golangsdk, and by the RoundTripper asking

	// The SDK's own settings for retries on a 429: either a counter and a delay, or a
	// function. The counter lasts as long as the client, and no lock guards it.
	MaxBackoffRetries   *int
	BackoffRetryTimeout time.Duration
	RetryBackoffFunc    func(retries int) error

	habits
	asks   func() error // what the SDK does before it logs in; may be nil
	steps  []string     // the requests of a login; nil means a single POST. A step that begins with "try" may fail
	token  atomic.Pointer[string]
	renews atomic.Bool   // whether the SDK can log in again: true once a login has returned a token
	lock   chan struct{} // a lock that is held while the SDK is logging in again
	again  atomic.Bool   // whether the SDK is logging in again
	logins atomic.Int32
}

// habits are behaviors of an SDK that cannot be switched off.
type habits struct {
	endless bool // the SDK logs in again after each 401, instead of only once per call
	resends bool // the SDK sends a request once more after a 502 or 504
	closes  bool // the SDK opens a new connection for each request
	// retriesErrors is the number of times that the client's RoundTripper, which also signs,
	// retries after an error. 0 means that there is no such RoundTripper.
	retriesErrors int
}

// A kind describes an SDK that a stand-in imitates, and how to set up the stand-in.
type kind struct {
	name    string
	habits  habits
	usual   func(*standIn) // sets the fields for the context and the SDK's own retries to the SDK's defaults
	advised func(*standIn) // sets these fields as Install needs them: with the SDK's own retries switched off
	options iamsdk.Options
}

var kinds = []kind{
	{
		name: "gophertelekomcloud", habits: habits{endless: true, resends: true, closes: true}, options: iamsdk.GopherTelekomCloud(),
		usual:   func(s *standIn) { s.MaxBackoffRetries, s.BackoffRetryTimeout = ptr(20), time.Minute },
		advised: func(s *standIn) { s.MaxBackoffRetries = new(int) },
	},
	{
		name: "terraform opentelekomcloud", habits: habits{endless: true, resends: true, closes: true, retriesErrors: 2}, options: iamsdk.ProviderOpenTelekomCloud(),
		usual:   func(s *standIn) { s.MaxBackoffRetries, s.BackoffRetryTimeout = ptr(5), time.Minute },
		advised: func(s *standIn) { s.MaxBackoffRetries = new(int) },
	},
	{
		name: "golangsdk", options: iamsdk.GolangSDK(),
		usual: func(s *standIn) { s.Context = context.Background() }, advised: func(s *standIn) { s.Context = context.Background() },
	},
	{
		name: "terraform huaweicloud", habits: habits{retriesErrors: 5}, options: iamsdk.ProviderHuaweiCloud(),
		usual: func(s *standIn) {
			s.RetryBackoffFunc = func(retries int) error { time.Sleep(time.Minute << retries); return nil }
		},
		advised: func(s *standIn) { s.RetryBackoffFunc = nil },
	},
}

func ptr(n int) *int { return &n }

// newStandIn returns a stand-in that sends its requests over wire.
func (k kind) newStandIn(wire http.RoundTripper) *standIn {
	s := &standIn{habits: k.habits, lock: make(chan struct{}, 1)}
	s.token.Store(new(string))
	s.HTTPClient.Transport = wire
	if k.habits.retriesErrors > 0 {
		s.HTTPClient.Transport = &signing{Rt: wire, MaxRetries: k.habits.retriesErrors}
	}
	return s
}

const endpoint = "https://iam.example/v3"

var (
	errHangs   = errors.New("the stand-in waits for a lock that it holds")
	errEndless = errors.New("the stand-in would log in without end")
)

// unexpected is the error for a response with an unexpected status. Like the errors of
// most real SDKs, it does not keep the header.
type unexpected struct {
	URL, Method string
	Expected    []int
	Actual      int
	Body        []byte
}

func (e unexpected) Error() string {
	return fmt.Sprintf("expected HTTP response code %v when accessing [%s %s], but got %d instead", e.Expected, e.Method, e.URL, e.Actual)
}

// Callers distinguish these errors by type assertions on values.
type (
	default401 struct{ unexpected }
	default403 struct{ unexpected }
	default404 struct{ unexpected }
	default408 struct{ unexpected }
	default409 struct{ unexpected }
	default429 struct{ unexpected }
	default503 struct{ unexpected }
)

// Neither of these errors has an Unwrap method. ErrUnableToReauthenticate does not
// contain the reason why the login failed. The types differ only in their names and texts.
type (
	ErrUnableToReauthenticate     struct{ ErrOriginal error }
	ErrErrorAfterReauthentication struct{ ErrOriginal error }
)

func (e *ErrUnableToReauthenticate) Error() string {
	return "unable to log in again: " + e.ErrOriginal.Error()
}

func (e *ErrErrorAfterReauthentication) Error() string {
	return "logged in again, and then: " + e.ErrOriginal.Error()
}

// A call is the state of one call to the SDK.
type call struct {
	loggedIn         bool
	resent, backoffs int
}

// Request makes a call.
func (s *standIn) Request(method, path, body string) (*http.Response, error) {
	return s.send(method, path, body, new(call))
}

// LogIn logs in at the program's request, not because of a 401.
func (s *standIn) LogIn() error { return s.logIn() }

func (s *standIn) logIn() error {
	if s.logins.Add(1) > 200 {
		return errEndless
	}
	if s.asks != nil {
		if err := s.asks(); err != nil {
			return err
		}
	}
	steps := s.steps
	if steps == nil {
		steps = []string{"POST /auth/tokens"}
	}
	for _, step := range steps {
		step, optional := strings.CutPrefix(step, "try ")
		method, path, _ := strings.Cut(step, " ")
		body := ""
		if method == "POST" {
			body = `{"auth":{}}`
		}
		resp, err := s.Request(method, path, body)
		if optional && err != nil && !errors.Is(err, errHangs) && !errors.Is(err, errEndless) {
			continue
		}
		if err != nil {
			return err
		}
		if token := resp.Header.Get("X-Subject-Token"); token != "" {
			s.token.Store(&token)
			s.renews.Store(true)
		}
	}
	return nil
}

func (s *standIn) send(method, path, body string, c *call) (*http.Response, error) {
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequest(method, endpoint+path, reader)
	if err != nil {
		return nil, err
	}
	if s.Context != nil {
		req = req.WithContext(s.Context)
	}
	used := ""
	if !s.again.Load() {
		if used = *s.token.Load(); used != "" {
			req.Header.Set("X-Auth-Token", used)
		}
	}
	req.Close = s.closes
	resp, err := s.HTTPClient.Do(req)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	e := unexpected{endpoint + path, method, []int{200, 201}, resp.StatusCode, data}
	switch resp.StatusCode {
	case 401:
		if !s.renews.Load() || c.loggedIn && !s.endless {
			return nil, default401{e}
		}
		if err := s.logInAgain(used); err != nil {
			if errors.Is(err, errHangs) || errors.Is(err, errEndless) {
				return nil, err
			}
			return nil, &ErrUnableToReauthenticate{e}
		}
		c.loggedIn = true
		resp, err := s.send(method, path, body, c)
		if err != nil && !errors.Is(err, errEndless) {
			return nil, &ErrErrorAfterReauthentication{err}
		}
		return resp, err
	case 403:
		return nil, default403{e}
	case 404:
		return nil, default404{e}
	case 408:
		return nil, default408{e}
	case 409:
		return nil, default409{e}
	case 429:
		if s.MaxBackoffRetries != nil && *s.MaxBackoffRetries > 0 {
			*s.MaxBackoffRetries--
			time.Sleep(s.BackoffRetryTimeout)
			return s.send(method, path, body, c)
		}
		if s.RetryBackoffFunc != nil && c.backoffs < 5 {
			if err := s.RetryBackoffFunc(c.backoffs); err != nil {
				return nil, err
			}
			c.backoffs++
			return s.send(method, path, body, c)
		}
		return nil, default429{e}
	case 502, 504:
		if s.resends && c.resent < 1 {
			c.resent++
			time.Sleep(500 * time.Millisecond)
			return s.send(method, path, body, c)
		}
	case 503:
		return nil, default503{e}
	}
	return nil, e
}

// logInAgain renews the token under the lock, unless it sees that another caller has done
// so. If used is empty, only an endless SDK can see that.
func (s *standIn) logInAgain(used string) error {
	select {
	case s.lock <- struct{}{}:
	case <-time.After(24 * time.Hour): // the SDK would wait forever
		return errHangs
	}
	s.again.Store(true)
	defer func() {
		s.again.Store(false)
		<-s.lock
	}()
	if (used != "" || s.endless) && *s.token.Load() != used {
		return nil
	}
	s.token.Store(new(string)) // a login that fails leaves no token
	return s.logIn()
}

// signing is a provider's RoundTripper. It signs each request that it is given, and
// resends one that got no response, whatever the method, with the same signature.
type signing struct {
	Rt         http.RoundTripper
	MaxRetries int
}

func (s *signing) RoundTrip(req *http.Request) (*http.Response, error) {
	signed := req.Clone(req.Context())
	signed.Header.Set("X-Sdk-Date", time.Now().UTC().Format("20060102T150405Z"))
	resp, err := s.Rt.RoundTrip(signed)
	for retry := 1; resp == nil; retry++ {
		if retry > s.MaxRetries {
			return nil, fmt.Errorf("connection error, retries exhausted: %s", err) // the provider keeps only the error's text
		}
		time.Sleep(time.Second << retry)
		resp, err = s.Rt.RoundTrip(signed)
	}
	return resp, err
}

// A wire wraps a RoundTripper. Like net/http, it fails a request whose body length
// differs from its ContentLength. It counts the requests that have Close set.
type wire struct {
	http.RoundTripper
	closing atomic.Int32
}

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Close {
		w.closing.Add(1)
	}
	if req.Body == nil {
		return w.RoundTripper.RoundTrip(req)
	}
	body, err := io.ReadAll(req.Body)
	req.Body.Close()
	if err == nil && int64(len(body)) != req.ContentLength {
		err = fmt.Errorf("http: ContentLength=%d with Body length %d", req.ContentLength, len(body))
	}
	if err != nil {
		return nil, err
	}
	sent := req.Clone(req.Context())
	sent.Body = io.NopCloser(bytes.NewReader(body))
	return w.RoundTripper.RoundTrip(sent)
}
