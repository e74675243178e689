package iamhttp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/hashicorp/go-retryablehttp"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/iamtest"
)

// Many code blocks in README.md and docs are copied from this file; a test compares
// them.

// newIAM starts a service that throttles the first request, knows the user alice, and
// returns 403 for every method but GET and HEAD.
func newIAM() *httptest.Server {
	s := new(iamtest.Server)
	s.Next(iamtest.Throttled(0))
	s.On("GET /v3/users/alice", iamtest.Answer{Body: `{"user":{"name":"alice"}}`})
	s.On("GET /", iamtest.Keystone(404, "Could not find user.").With("X-Openstack-Request-Id", "req-42"))
	s.On("/", iamtest.Keystone(403, "You are not authorized to perform the requested action.").With("X-Openstack-Request-Id", "req-42"))
	return httptest.NewServer(s)
}

// quick returns a schedule without waits, so that the examples finish at once.
func quick() backoff.BackOff { return &backoff.ZeroBackOff{} }

func Example() {
	// In your own client, a failing response comes back as a typed error, after the
	// retries that the API allows.
	own := &http.Client{Transport: &iamhttp.Transport{}, Timeout: time.Minute}

	// Inside an SDK, the retries are the same, but the SDK still receives plain
	// responses. Follow two rules: make the Transport the outermost RoundTripper, and
	// switch off the SDK's own retries. If both retry, one throttled call can be sent 168
	// times.
	sdk := &http.Client{Transport: &iamhttp.Transport{PassThrough: true}, Timeout: time.Minute}

	fmt.Println(own != sdk)
	// Output: true
}

func ExampleStatusError() {
	service := newIAM()
	defer service.Close()
	client := &http.Client{Transport: &iamhttp.Transport{Backoff: quick}, Timeout: time.Minute}

	_, err := client.Get(service.URL + "/v3/users/bob")
	if errors.Is(err, iamhttp.ErrNotFound) {
		fmt.Println("no such user")
	}
	var e *iamhttp.StatusError
	if errors.As(err, &e) {
		fmt.Println(e.Code, "|", e.Message, "|", e.RequestID)
		fmt.Println("sent", e.Attempts, "times, then:", e.Stop)
	}
	var code iamhttp.Code
	if errors.As(err, &code) {
		fmt.Println(iamhttp.Classify(int(code)).Description)
	}
	// Output:
	// no such user
	// 404 NotFound | Could not find user. | req-42
	// sent 2 times, then: not retryable
	// The resource does not exist.
}

func ExampleWithRecorder() {
	service := newIAM()
	defer service.Close()
	client := &http.Client{Transport: &iamhttp.Transport{PassThrough: true, Backoff: quick}, Timeout: time.Minute}

	// deleteUser stands for an SDK whose own error omits the service's message.
	deleteUser := func(ctx context.Context, name string) error {
		req, err := http.NewRequestWithContext(ctx, "DELETE", service.URL+"/v3/users/"+name, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusNoContent {
			return errors.New("sdk: cannot delete " + name)
		}
		return nil
	}

	ctx, rec := iamhttp.WithRecorder(context.Background())
	err := rec.Wrap(deleteUser(ctx, "alice"))
	fmt.Println(errors.Is(err, iamhttp.ErrForbidden))
	fmt.Println(err)
	// Output:
	// true
	// sdk: cannot delete alice: iamhttp: 403 Forbidden: "You are not authorized to perform the requested action." (request req-42, sent 2 times: not retryable)
}

func ExampleTransport() {
	client := &http.Client{
		Transport: &iamhttp.Transport{
			MaxAttempts: 4,                // default: as many as fit before the deadline
			MaxWait:     30 * time.Second, // default: until the deadline
			// The documentation does not allow these retries. They apply only to
			// idempotent requests:
			AlsoRetry: []iamhttp.Code{iamhttp.ErrBadGateway, iamhttp.ErrServiceUnavailable},
			Expected:  []iamhttp.Code{iamhttp.ErrNotFound}, // returned as a response, not as a failure
			OnFailure: iamhttp.LogFailures(slog.Default()),
		},
		Timeout: 2 * time.Minute, // for the whole call, including retries and waits
	}
	fmt.Println(client.Timeout)
	// Output: 2m0s
}

// With a timeout per attempt, an attempt that gets no response does not use up the time
// of the whole call.
func ExampleTransport_attemptTimeout() {
	s := new(iamtest.Server)
	s.Next(iamtest.Answer{Fault: iamtest.Stall})
	service := httptest.NewServer(s)
	defer service.Close()

	base := http.DefaultTransport.(*http.Transport).Clone()
	base.ResponseHeaderTimeout = 100 * time.Millisecond // per attempt; in a real program, use about 10 seconds
	client := &http.Client{
		Transport: &iamhttp.Transport{Base: base, RetryConnectionErrors: true, Backoff: quick},
		Timeout:   time.Minute, // for the whole call
	}
	resp, err := client.Get(service.URL + "/v3/users")
	if err == nil {
		resp.Body.Close()
		fmt.Println(resp.Status, "after", len(s.Requests()), "attempts")
	}
	// Output: 200 OK after 2 attempts
}

// If a login is carried out twice, a second token is issued. If a second token does no
// harm, the login may be retried like a GET.
func ExampleTransport_login() {
	s := new(iamtest.Server)
	s.Next(
		iamtest.Answer{Fault: iamtest.Reset},
		iamtest.Page(503),
		iamtest.Answer{Status: 201}.With("X-Subject-Token", "gAAAA"),
	)
	service := httptest.NewServer(s)
	defer service.Close()
	client := &http.Client{
		Transport: &iamhttp.Transport{
			AlsoRetry:             []iamhttp.Code{iamhttp.ErrServiceUnavailable},
			RetryConnectionErrors: true,
			Backoff:               quick,
		},
		Timeout: time.Minute,
	}

	req, err := http.NewRequest("POST", service.URL+"/v3/auth/tokens", strings.NewReader(`{"auth":{}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	req.Header["Idempotency-Key"] = []string{} // without a value, the header is not sent
	resp, err := client.Do(req)
	if err == nil {
		resp.Body.Close()
		fmt.Println(resp.Header.Get("X-Subject-Token"))
	}
	for _, r := range s.Requests() {
		_, key := r.Header["Idempotency-Key"]
		fmt.Println(r, r.Body, key)
	}
	// Output:
	// gAAAA
	// POST /v3/auth/tokens {"auth":{}} false
	// POST /v3/auth/tokens {"auth":{}} false
	// POST /v3/auth/tokens {"auth":{}} false
}

// An http.Client passes to its Jar only cookies from responses, and by default, a
// Transport returns a failure as an error, without a response. OnFailure sees every
// failing response, including those that are retried.
func ExampleTransport_cookies() {
	var service iamtest.Server
	service.Next(
		iamtest.Throttled(0).With("Set-Cookie", "node=a"),
		iamtest.Keystone(403, "No.").With("Set-Cookie", "session=b"),
	)

	jar, err := cookiejar.New(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	keepCookies := func(_ context.Context, f iamhttp.Failure) {
		if e, ok := f.Status(); ok && e.Method != http.MethodConnect { // a proxy refuses a CONNECT
			if u, err := url.Parse(e.URL); err == nil {
				jar.SetCookies(u, (&http.Response{Header: e.Header()}).Cookies())
			}
		}
	}
	client := &http.Client{
		Transport: &iamhttp.Transport{Base: &service, Backoff: quick, OnFailure: keepCookies},
		Jar:       jar,
		Timeout:   time.Minute,
	}
	_, err = client.Get("https://iam.example/v3/users")
	fmt.Println(errors.Is(err, iamhttp.ErrForbidden))
	_, _ = client.Get("https://iam.example/v3/users")
	for _, r := range service.Requests() {
		fmt.Printf("%q\n", r.Header.Get("Cookie"))
	}
	// Output:
	// true
	// ""
	// ""
	// "node=a; session=b"
}

func ExampleTransport_RoundTrip_incorrect() {
	service := newIAM()
	defer service.Close()
	var forbidden int
	counted := roundTripper(func(req *http.Request) (*http.Response, error) {
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err == nil && resp.StatusCode == http.StatusForbidden {
			forbidden++
		}
		return resp, err
	})

	// WRONG: a client above the Transport retries errors. It mistakes the 403 for a
	// broken connection and retries it.
	wrong := retryablehttp.NewClient()
	wrong.Logger = nil
	wrong.RetryMax, wrong.RetryWaitMin, wrong.RetryWaitMax = 3, 0, 0
	wrong.HTTPClient = &http.Client{Transport: &iamhttp.Transport{Base: counted, Backoff: quick}, Timeout: time.Minute}
	_, err := wrong.Post(service.URL+"/v3/users", "application/json", []byte(`{}`))
	fmt.Println("wrong: sent", forbidden, "times,", errors.Is(err, iamhttp.ErrForbidden))

	// Right: ConfigureRetryable makes the outer client follow the rules.
	forbidden = 0
	right := retryablehttp.NewClient()
	right.Logger = nil
	right.HTTPClient = &http.Client{Transport: counted, Timeout: time.Minute}
	(&iamhttp.Transport{Backoff: quick}).ConfigureRetryable(right)
	_, err = right.Post(service.URL+"/v3/users", "application/json", []byte(`{}`))
	fmt.Println("right: sent", forbidden, "time,", errors.Is(err, iamhttp.ErrForbidden))
	// Output:
	// wrong: sent 4 times, true
	// right: sent 1 time, true
}

// A Code is an error: use errors.Is to test for a specific code, and errors.As to find
// out which code it is.
func ExampleCode() {
	err := fmt.Errorf("delete alice: %w", iamhttp.NewStatusError(404, nil, nil))
	fmt.Println(errors.Is(err, iamhttp.ErrNotFound))
	var code iamhttp.Code
	if errors.As(err, &code) {
		fmt.Println(int(code), "|", code)
	}
	// Output:
	// true
	// 404 | 404 NotFound
}

// Some services report "already exists" as a 400 with a service-specific code, others as
// a 409. The two checks together find both, and any other conflict reported as a 409.
func ExampleReason() {
	for _, err := range []error{
		iamhttp.NewStatusError(400, nil, []byte(`{"error_code":"1109","error_msg":"The username already exists."}`)),
		iamhttp.NewStatusError(409, nil, []byte(`{"error":{"code":409,"message":"Conflict occurred attempting to store user - Duplicate entry found with name bob."}}`)),
		iamhttp.NewStatusError(409, nil, []byte(`{"error":{"code":409,"message":"Another update came first."}}`)),
	} {
		conflict := errors.Is(err, iamhttp.ErrConflict) || errors.Is(err, iamhttp.ReasonAlreadyExists)
		fmt.Println(conflict, errors.Is(err, iamhttp.ReasonAlreadyExists))
	}
	// Output:
	// true true
	// true true
	// true false
}

func ExampleStatusError_Reason() {
	err := iamhttp.NewStatusError(401, nil, []byte(`{"error_code":"IAM.0061","error_msg":"Account locked."}`))
	switch err.Reason() {
	case iamhttp.ReasonAccountLocked:
		fmt.Println("wait until the account is unlocked")
	case iamhttp.ReasonTokenExpired:
		fmt.Println("log in again")
	}
	// Output: wait until the account is unlocked
}

// The StopReason tells you what could help: more time, more attempts, or a different
// request.
func ExampleStopReason() {
	var service iamtest.Server
	service.Next(iamtest.Throttled(time.Hour))
	client := &http.Client{Transport: &iamhttp.Transport{Base: &service}, Timeout: time.Minute}
	_, err := client.Get("https://iam.example/v3/users")
	var e *iamhttp.StatusError
	if errors.As(err, &e) {
		switch e.Stop {
		case iamhttp.StopWaitTooLong, iamhttp.StopDeadline, iamhttp.StopGate:
			fmt.Println("try again in", e.RetryAfter)
		case iamhttp.StopNotRetryable:
			fmt.Println("change the request")
		}
	}
	// Output: try again in 1h0m0s
}

func ExampleRecorder() {
	var service iamtest.Server
	service.On("/", iamtest.Keystone(403, "You are not authorized."))
	client := &http.Client{Transport: &iamhttp.Transport{Base: &service, PassThrough: true}, Timeout: time.Minute}

	ctx, rec := iamhttp.WithRecorder(context.Background())
	req, _ := http.NewRequestWithContext(ctx, "GET", "https://iam.example/v3/users", nil)
	resp, err := client.Do(req)
	if err == nil {
		resp.Body.Close()
	}
	fmt.Println(resp.StatusCode, err)
	if e, failed := rec.Last(); failed {
		fmt.Println(e.Message)
	}
	// Output:
	// 403 <nil>
	// You are not authorized.
}

// A Recorder holds only the error of the latest request, and a success clears it. So use
// one Recorder per call: if two calls share a Recorder and the second one succeeds, the
// Recorder forgets the failure of the first.
func ExampleRecorder_twoRequests() {
	var service iamtest.Server
	service.On("GET /v3/users/{id}", iamtest.Keystone(404, "Could not find user."))
	client := &http.Client{Transport: &iamhttp.Transport{Base: &service, PassThrough: true}, Timeout: time.Minute}
	get := func(ctx context.Context, path string) error { // stands for a method of an SDK
		req, _ := http.NewRequestWithContext(ctx, "GET", "https://iam.example"+path, nil)
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode >= 400 {
			return errors.New("sdk: call failed")
		}
		return nil
	}
	service.On("GET /v3/groups", iamtest.Answer{Body: `{"groups":[]}`})

	// Wrong: one Recorder for both calls, read after the second call.
	ctx, rec := iamhttp.WithRecorder(context.Background())
	failed := get(ctx, "/v3/users/bob")
	_ = get(ctx, "/v3/groups") // succeeds
	fmt.Println("read late:", errors.Is(rec.Wrap(failed), iamhttp.ErrNotFound))

	// Right: a Recorder for only one call, read before the next call.
	ctx, rec = iamhttp.WithRecorder(context.Background())
	failed = rec.Wrap(get(ctx, "/v3/users/bob"))
	_ = get(context.Background(), "/v3/groups")
	fmt.Println("read at once:", errors.Is(failed, iamhttp.ErrNotFound))
	// Output:
	// read late: false
	// read at once: true
}

func ExampleRecorder_Last() {
	_, rec := iamhttp.WithRecorder(context.Background())
	_, failed := rec.Last()
	fmt.Println(failed) // nothing has been sent yet
	// Output: false
}

func ExampleRecorder_Wrap() {
	var service iamtest.Server
	service.On("/", iamtest.Keystone(409, "Conflict."))
	client := &http.Client{Transport: &iamhttp.Transport{Base: &service, PassThrough: true}, Timeout: time.Minute}

	ctx, rec := iamhttp.WithRecorder(context.Background())
	req, _ := http.NewRequestWithContext(ctx, "PUT", "https://iam.example/v3/users/1", nil)
	resp, err := client.Do(req)
	if err == nil {
		resp.Body.Close()
		err = errors.New("sdk: request failed") // does not mention the 409
	}
	err = rec.Wrap(err)
	fmt.Println(errors.Is(err, iamhttp.ErrConflict))
	// Output: true
}

func ExampleCheckProxyConnect() {
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.OnProxyConnectResponse = iamhttp.CheckProxyConnect
	client := &http.Client{Transport: &iamhttp.Transport{Base: base}, Timeout: time.Minute}

	proxy := httptest.NewServer(iamtest.Page(407))
	defer proxy.Close()
	base.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse(proxy.URL) }
	_, err := client.Get("https://iam.example/v3/users")
	fmt.Println(errors.Is(err, iamhttp.ErrProxyAuthRequired))
	// Output: true
}

func ExampleSemantics() {
	s := iamhttp.Classify(418)
	fmt.Println(s.Documented, "|", s.Retry)
	// Output: false | unstated
}

func ExampleRetryRule() {
	rule := iamhttp.Classify(503).Retry
	fmt.Println(rule == iamhttp.RetryDiscouraged, "|", rule)
	// Output: true | not without modifications
}

func ExampleCheckResponse() {
	service := newIAM()
	defer service.Close()

	resp, err := http.Get(service.URL + "/v3/users/bob")
	if err == nil {
		defer resp.Body.Close()
		err = iamhttp.CheckResponse(resp)
	}
	fmt.Println(errors.Is(err, iamhttp.ErrTooManyRequests))
	body, _ := io.ReadAll(resp.Body) // CheckResponse leaves the body readable
	fmt.Println(string(body))
	// Output:
	// true
	// {"error_msg":"The throttling threshold has been reached","error_code":"APIG.0308","request_id":"e2b44851-0991-411b-a6b7-9ac8518a4cd9"}
}

func ExampleNewStatusError() {
	header := http.Header{"X-Request-Id": {"71d53ba4"}}
	body := []byte(`{"error_code":"APIG.0101","error_msg":"The API does not exist."}`)
	fmt.Println(iamhttp.NewStatusError(404, header, body))
	// Output: iamhttp: 404 NotFound: "The API does not exist." (APIG.0101, request 71d53ba4)
}

func ExampleClassify() {
	s := iamhttp.Classify(503)
	fmt.Println(s.Code, "|", s.Description, "|", s.Retry)
	// Output: 503 ServiceUnavailable | The service is not available. | not without modifications
}

func ExampleCodes() {
	for code := range iamhttp.Codes() {
		if s := iamhttp.Classify(int(code)); s.Retry == iamhttp.RetryAnytime || s.Retry == iamhttp.RetryAfterDelay {
			fmt.Println(code, "|", s.Retry)
		}
	}
	// Output:
	// 408 Request Time-out | at any later time
	// 429 TooManyRequests | after Retry-After
}

func ExampleWithExpected() {
	service := newIAM()
	defer service.Close()
	client := &http.Client{Transport: &iamhttp.Transport{Backoff: quick}, Timeout: time.Minute}

	// Does this user exist? Here, a 404 is not a failure.
	ctx := iamhttp.WithExpected(context.Background(), iamhttp.ErrNotFound)
	req, _ := http.NewRequestWithContext(ctx, "GET", service.URL+"/v3/users/bob", nil)
	resp, err := client.Do(req)
	fmt.Println(resp.StatusCode, err)
	// Output: 404 <nil>
}

// A 429 on a login can mean that the account is locked. An expected 429 is not retried,
// so the password is not sent again and the gate does not delay other callers.
func ExampleWithExpected_login() {
	var service iamtest.Server
	service.On("POST /v3/auth/tokens", iamtest.Keystone(429, "The account is locked after too many wrong passwords."))
	client := &http.Client{Transport: &iamhttp.Transport{Base: &service, Gate: new(gate.Adaptive)}, Timeout: time.Minute}

	logIn := func(ctx context.Context, auth string) (token string, err error) {
		ctx = iamhttp.WithExpected(ctx, iamhttp.ErrTooManyRequests)
		req, err := http.NewRequestWithContext(ctx, "POST", "https://iam.example/v3/auth/tokens", strings.NewReader(auth))
		if err != nil {
			return "", err
		}
		resp, err := client.Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		if err := iamhttp.CheckResponse(resp); err != nil { // a 429; Do has returned any other failure as an error
			return "", err
		}
		return resp.Header.Get("X-Subject-Token"), nil
	}
	_, err := logIn(context.Background(), `{"auth":{}}`)
	if errors.Is(err, iamhttp.ReasonAccountLocked) {
		fmt.Println("wait until the account is unlocked; requests sent:", len(service.Requests()))
	}
	// Output: wait until the account is unlocked; requests sent: 1
}

func ExampleWithMaxAttempts() {
	service := newIAM()
	defer service.Close()
	client := &http.Client{Transport: &iamhttp.Transport{}, Timeout: time.Minute}

	// A person is waiting for this call: fail at once instead of retrying.
	ctx := iamhttp.WithMaxAttempts(context.Background(), 1)
	req, _ := http.NewRequestWithContext(ctx, "GET", service.URL+"/v3/users/alice", nil)
	_, err := client.Do(req)
	var e *iamhttp.StatusError
	if errors.As(err, &e) {
		fmt.Println(e.Code, "|", e.Stop)
	}
	// Output: 429 TooManyRequests | attempts used up
}

func ExampleResendCount() {
	service := newIAM()
	defer service.Close()

	// A RoundTripper below the Transport sees every attempt.
	log := roundTripper(func(req *http.Request) (*http.Response, error) {
		fmt.Println(req.Method, req.URL.Path, "resend", iamhttp.ResendCount(req.Context()))
		return http.DefaultTransport.RoundTrip(req)
	})
	client := &http.Client{Transport: &iamhttp.Transport{Base: log, Backoff: quick}, Timeout: time.Minute}
	resp, err := client.Get(service.URL + "/v3/users/alice")
	if err != nil {
		fmt.Println(err)
		return
	}
	resp.Body.Close()
	// Output:
	// GET /v3/users/alice resend 0
	// GET /v3/users/alice resend 1
}

func ExampleTransport_ConfigureRetryable() {
	service := newIAM()
	defer service.Close()

	client := retryablehttp.NewClient()
	client.Logger = nil
	(&iamhttp.Transport{Backoff: quick}).ConfigureRetryable(client)

	// In this client, HTTPClient.Timeout limits a single attempt; use a context to limit
	// the call.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	req, err := retryablehttp.NewRequestWithContext(ctx, "GET", service.URL+"/v3/users/bob", nil)
	if err == nil {
		_, err = client.Do(req)
	}
	fmt.Println(err)
	// Output: iamhttp: 404 NotFound: "Could not find user." (request req-42, sent 2 times: not retryable)
}

func ExampleLogFailures() {
	var service iamtest.Server
	service.Next(iamtest.Throttled(0), iamtest.Keystone(404, "Could not find user."))
	client := &http.Client{
		Transport: &iamhttp.Transport{
			Base:      &service,
			Backoff:   quick,
			OnFailure: iamhttp.LogFailures(logger(os.Stdout, slog.LevelInfo)),
		},
		Timeout: time.Minute,
	}
	_, err := client.Get("https://iam.example/v3/users/bob?secret=1")
	fmt.Println(errors.Is(err, iamhttp.ErrNotFound))
	// Output:
	// level=INFO msg="IAM request failed, will be retried" wait=0s err.code=429 err.title=TooManyRequests err.service_code=APIG.0308 err.request_id=e2b44851-0991-411b-a6b7-9ac8518a4cd9 err.method=GET err.url=https://iam.example/v3/users/bob err.attempts=1
	// level=WARN msg="IAM request failed" err.code=404 err.title=NotFound err.request_id=req-0c43521d-00ed-4f5b-a31b-798560349fcd err.method=GET err.url=https://iam.example/v3/users/bob err.attempts=2 err.stop="not retryable"
	// true
}

// OnFailure is called for each failed attempt.
func ExampleFailure() {
	var service iamtest.Server
	service.Next(iamtest.Throttled(0), iamtest.Keystone(404, "Could not find user."))
	client := &http.Client{
		Transport: &iamhttp.Transport{
			Base:    &service,
			Backoff: quick,
			OnFailure: func(_ context.Context, f iamhttp.Failure) {
				if f.Retry {
					fmt.Println(f.Method, "attempt", f.Attempt, "failed, retry in", f.Wait)
				} else {
					fmt.Println(f.Method, "attempt", f.Attempt, "failed:", f.Stop)
				}
			},
		},
		Timeout: time.Minute,
	}
	_, err := client.Get("https://iam.example/v3/users/bob")
	fmt.Println(errors.Is(err, iamhttp.ErrNotFound))
	// Output:
	// GET attempt 1 failed, retry in 0s
	// GET attempt 2 failed: not retryable
	// true
}

// Failures with a response have a status code; failures without a response do not.
func ExampleFailure_Status() {
	var service iamtest.Server
	service.Next(iamtest.Throttled(0), iamtest.Answer{Fault: iamtest.Reset})
	client := &http.Client{
		Transport: &iamhttp.Transport{
			Base:    &service,
			Backoff: quick,
			OnFailure: func(_ context.Context, f iamhttp.Failure) {
				if e, ok := f.Status(); ok {
					fmt.Println("status", e.Code)
				} else {
					fmt.Println("no response")
				}
			},
		},
		Timeout: time.Minute,
	}
	_, err := client.Get("https://iam.example/v3/users/bob")
	fmt.Println(errors.As(err, new(*iamhttp.StatusError)))
	// Output:
	// status 429 TooManyRequests
	// no response
	// false
}

func ExampleTee() {
	var service iamtest.Server
	service.Next(iamtest.Throttled(0), iamtest.Keystone(404, "Could not find user."))
	retries := 0
	count := func(_ context.Context, f iamhttp.Failure) {
		if f.Retry {
			retries++
		}
	}
	client := &http.Client{
		Transport: &iamhttp.Transport{
			Base:      &service,
			Backoff:   quick,
			OnFailure: iamhttp.Tee(iamhttp.LogFailures(logger(os.Stdout, slog.LevelWarn)), count),
		},
		Timeout: time.Minute,
	}
	_, err := client.Get("https://iam.example/v3/users/bob")
	fmt.Println(errors.Is(err, iamhttp.ErrNotFound), "| retries:", retries)
	// Output:
	// level=WARN msg="IAM request failed" err.code=404 err.title=NotFound err.request_id=req-0c43521d-00ed-4f5b-a31b-798560349fcd err.method=GET err.url=https://iam.example/v3/users/bob err.attempts=2 err.stop="not retryable"
	// true | retries: 1
}

func ExampleWithMaxWait() {
	var service iamtest.Server
	service.Next(iamtest.Throttled(time.Minute))
	client := &http.Client{Transport: &iamhttp.Transport{Base: &service}, Timeout: 5 * time.Minute}

	// A person is waiting for this call: fail at once instead of waiting more than 10
	// seconds for a retry.
	ctx := iamhttp.WithMaxWait(context.Background(), 10*time.Second)
	req, _ := http.NewRequestWithContext(ctx, "GET", "https://iam.example/v3/users", nil)
	_, err := client.Do(req)
	var e *iamhttp.StatusError
	if errors.As(err, &e) {
		fmt.Println(e.Code, "|", e.Stop, "|", e.RetryAfter)
	}
	// Output: 429 TooManyRequests | wait longer than allowed | 1m0s
}

// The service asks for a wait of one minute, and the deadline is in 30 seconds. The
// first call learns of the wait from the response, the second from the gate. RetryAfter
// works for both errors.
func ExampleRetryAfter() {
	s := new(iamtest.Server)
	s.Next(iamtest.Throttled(time.Minute))
	service := httptest.NewServer(s)
	defer service.Close()

	shared := new(gate.Adaptive) // shared by all clients of the account
	client := &http.Client{
		Transport: &iamhttp.Transport{Gate: shared},
		Timeout:   30 * time.Second,
	}
	for range 2 {
		_, err := client.Get(service.URL + "/v3/users")
		if wait, ok := iamhttp.RetryAfter(err); ok {
			fmt.Println("try again in", wait.Round(time.Minute))
		}
	}
	// Output:
	// try again in 1m0s
	// try again in 1m0s
}

func ExampleNotSentError_LogValue() {
	err := &iamhttp.NotSentError{
		Method:     "GET",
		URL:        "https://iam.example/v3/users",
		RetryAfter: 5 * time.Second,
		Err:        gate.ErrDeadline,
	}
	logger(os.Stdout, slog.LevelInfo).Error("cannot list users", "err", err)
	// Output: level=ERROR msg="cannot list users" err.error="iamhttp: gate: request cannot be sent before its deadline" err.method=GET err.url=https://iam.example/v3/users err.retry_after=5s
}

// The WWW-Authenticate header says where to log in.
func ExampleStatusError_Header() {
	var service iamtest.Server
	service.Next(iamtest.Keystone(401, "The request you have made requires authentication."))
	client := &http.Client{Transport: &iamhttp.Transport{Base: &service}, Timeout: time.Minute}
	_, err := client.Get("https://iam.example/v3/users")
	var e *iamhttp.StatusError
	if errors.As(err, &e) {
		fmt.Println(e.Header().Get("WWW-Authenticate"))
	}
	// Output: Keystone uri="http://iam.example/v3"
}

// The body may contain more details than Message.
func ExampleStatusError_Body() {
	var service iamtest.Server
	service.Next(iamtest.Answer{Status: 409, Body: `{"error":{"message":"The name is taken.","existing_id":"42"}}`})
	client := &http.Client{Transport: &iamhttp.Transport{Base: &service}, Timeout: time.Minute}
	_, err := client.Get("https://iam.example/v3/users")
	var e *iamhttp.StatusError
	if errors.As(err, &e) {
		var body struct {
			Error struct {
				ExistingID string `json:"existing_id"`
			}
		}
		if json.Unmarshal(e.Body(), &body) == nil {
			fmt.Println(e.Message, body.Error.ExistingID)
		}
	}
	// Output: The name is taken. 42
}

func ExampleStatusError_LogValue() {
	logger(os.Stdout, slog.LevelInfo).Error("cannot create user", "err", iamhttp.NewStatusError(409, nil, []byte(`{"error_code":"IAM.0005","error_msg":"exists"}`)))
	// Output: level=ERROR msg="cannot create user" err.code=409 err.title=Conflict err.service_code=IAM.0005 err.message=exists
}
