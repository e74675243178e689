package iamhttp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/hashicorp/go-retryablehttp"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/iamtest"
)

// The blocks of code in README.md are pieces of this file; a test compares them.

// newIAM starts a service that throttles the first request, knows alice, and
// refuses all that is not a GET.
func newIAM() *httptest.Server {
	s := new(iamtest.Server)
	s.Next(iamtest.Throttled(0))
	s.On("GET /v3/users/alice", iamtest.Answer{Body: `{"user":{"name":"alice"}}`})
	s.On("GET /", iamtest.Keystone(404, "Could not find user.").With("X-Openstack-Request-Id", "req-42"))
	s.On("/", iamtest.Keystone(403, "You are not authorized to perform the requested action.").With("X-Openstack-Request-Id", "req-42"))
	return httptest.NewServer(s)
}

// quick makes the examples finish at once.
func quick() backoff.BackOff { return &backoff.ZeroBackOff{} }

func Example() {
	// Your own client: what the documentation does not let it repeat comes
	// back as a typed error.
	own := &http.Client{Transport: &iamhttp.Transport{}}

	// Inside an SDK: it goes on seeing responses, repeated by the same rules.
	sdk := &http.Client{Transport: &iamhttp.Transport{PassThrough: true}}

	fmt.Println(own != sdk)
	// Output: true
}

func ExampleStatusError() {
	service := newIAM()
	defer service.Close()
	client := &http.Client{Transport: &iamhttp.Transport{Backoff: quick}}

	_, err := client.Get(service.URL + "/v3/users/bob")
	if errors.Is(err, iamhttp.ErrNotFound) {
		fmt.Println("no such user")
	}
	if e, ok := errors.AsType[*iamhttp.StatusError](err); ok {
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
	// sent 2 times, then: not repeatable
	// The resource does not exist.
}

func ExampleWithRecorder() {
	service := newIAM()
	defer service.Close()
	client := &http.Client{Transport: &iamhttp.Transport{PassThrough: true, Backoff: quick}}

	// An SDK that makes its own error of a response, and hides what it said.
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
	// sdk: cannot delete alice: iam: 403 Forbidden: "You are not authorized to perform the requested action." (request req-42, sent 2 times: not repeatable)
}

func ExampleTransport() {
	client := &http.Client{Transport: &iamhttp.Transport{
		MaxAttempts: 4,                // instead of 8
		MaxWait:     30 * time.Second, // instead of 2 minutes
		// Against the advice of the documentation, for GET, PUT and DELETE only:
		AlsoRepeat: []iamhttp.Code{iamhttp.ErrBadGateway, iamhttp.ErrServiceUnavailable},
		Expected:   []iamhttp.Code{iamhttp.ErrNotFound}, // an answer here, not a failure
		OnFailure:  iamhttp.LogFailures(slog.Default()),
	}}
	fmt.Println(client.Timeout)
	// Output: 0s
}

func ExampleTransport_RoundTrip_incorrect() {
	service := newIAM()
	defer service.Close()
	var refused int
	counted := roundTripper(func(req *http.Request) (*http.Response, error) {
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err == nil && resp.StatusCode == http.StatusForbidden {
			refused++
		}
		return resp, err
	})

	// WRONG: something that repeats errors stands above the Transport. It takes
	// the 403 for a broken connection, and sends again what must not be.
	wrong := retryablehttp.NewClient()
	wrong.Logger = nil
	wrong.RetryMax, wrong.RetryWaitMin, wrong.RetryWaitMax = 3, 0, 0
	wrong.HTTPClient = &http.Client{Transport: &iamhttp.Transport{Base: counted, Backoff: quick}}
	_, err := wrong.Post(service.URL+"/v3/users", "application/json", []byte(`{}`))
	fmt.Println("wrong: refused", refused, "times,", errors.Is(err, iamhttp.ErrForbidden))

	// Right: that client follows the rules itself.
	refused = 0
	right := retryablehttp.NewClient()
	right.Logger = nil
	right.HTTPClient = &http.Client{Transport: counted}
	(&iamhttp.Transport{Backoff: quick}).ConfigureRetryable(right)
	_, err = right.Post(service.URL+"/v3/users", "application/json", []byte(`{}`))
	fmt.Println("right: refused", refused, "time,", errors.Is(err, iamhttp.ErrForbidden))
	// Output:
	// wrong: refused 4 times, true
	// right: refused 1 time, true
}

// The service has no time for anybody for a minute. That costs one request,
// not one for each caller.
func ExampleAdaptiveGate() {
	s := &iamtest.Server{}
	s.Next(iamtest.Throttled(time.Minute))
	service := httptest.NewServer(s)
	defer service.Close()

	gate := new(iamhttp.AdaptiveGate) // one for all clients of an account
	client := &http.Client{
		Transport: &iamhttp.Transport{Gate: gate},
		Timeout:   30 * time.Second,
	}
	for range 3 {
		_, err := client.Get(service.URL + "/v3/users")
		if e, ok := errors.AsType[*iamhttp.StatusError](err); ok {
			fmt.Println("sent", e.Attempts, "times, then:", e.Stop)
		}
	}
	fmt.Println("requests that arrived:", len(s.Requests()))
	// Output:
	// sent 1 times, then: deadline before end of wait
	// sent 0 times, then: refused by the gate
	// sent 0 times, then: refused by the gate
	// requests that arrived: 1
}

// A Code is a constant and an error: one question for a known code, one for
// any.
func ExampleCode() {
	var err error = fmt.Errorf("delete alice: %w", iamhttp.NewStatusError(404, nil, nil))
	fmt.Println(errors.Is(err, iamhttp.ErrNotFound))
	if code, ok := errors.AsType[iamhttp.Code](err); ok {
		fmt.Println(int(code), "|", code)
	}
	// Output:
	// true
	// 404 | 404 NotFound
}

// "Already exists" is a 400 at some services, and a 409 at others.
func ExampleReason() {
	err := iamhttp.NewStatusError(400, nil, []byte(`{"error_code":"1109","error_msg":"The username already exists."}`))
	fmt.Println(errors.Is(err, iamhttp.ErrConflict), errors.Is(err, iamhttp.ReasonAlreadyExists))
	// Output: false true
}

func ExampleStatusError_Reason() {
	err := iamhttp.NewStatusError(401, nil, []byte(`{"error_code":"IAM.0061","error_msg":"Account locked."}`))
	switch err.Reason() {
	case iamhttp.ReasonAccountLocked:
		fmt.Println("wait until it is unlocked")
	case iamhttp.ReasonTokenExpired:
		fmt.Println("log in again")
	}
	// Output: wait until it is unlocked
}

// The reason for stopping tells what could help: more time, more attempts, or
// nothing.
func ExampleStopReason() {
	var service iamtest.Server
	service.Next(iamtest.Throttled(time.Hour))
	client := &http.Client{Transport: &iamhttp.Transport{Base: &service}}
	_, err := client.Get("https://iam.example/v3/users")
	if e, ok := errors.AsType[*iamhttp.StatusError](err); ok {
		switch e.Stop {
		case iamhttp.StopWaitTooLong, iamhttp.StopDeadline, iamhttp.StopGate:
			fmt.Println("come back in", e.RetryAfter)
		case iamhttp.StopNotRepeatable:
			fmt.Println("change the request")
		}
	}
	// Output: come back in 1h0m0s
}

func ExampleRecorder() {
	var service iamtest.Server
	service.On("/", iamtest.Keystone(403, "You are not authorized."))
	client := &http.Client{Transport: &iamhttp.Transport{Base: &service, PassThrough: true}}

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

func ExampleRecorder_Last() {
	_, rec := iamhttp.WithRecorder(context.Background())
	_, failed := rec.Last()
	fmt.Println(failed) // nothing was sent yet
	// Output: false
}

func ExampleRecorder_Wrap() {
	var service iamtest.Server
	service.On("/", iamtest.Keystone(409, "Conflict."))
	client := &http.Client{Transport: &iamhttp.Transport{Base: &service, PassThrough: true}}

	ctx, rec := iamhttp.WithRecorder(context.Background())
	req, _ := http.NewRequestWithContext(ctx, "PUT", "https://iam.example/v3/users/1", nil)
	resp, err := client.Do(req)
	if err == nil {
		resp.Body.Close()
		err = errors.New("sdk: it failed") // all that the SDK says
	}
	err = rec.Wrap(err)
	fmt.Println(errors.Is(err, iamhttp.ErrConflict))
	// Output: true
}

func ExampleCheckProxyConnect() {
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.OnProxyConnectResponse = iamhttp.CheckProxyConnect
	client := &http.Client{Transport: &iamhttp.Transport{Base: base}}

	proxy := httptest.NewServer(iamtest.Page(407))
	defer proxy.Close()
	base.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse(proxy.URL) }
	_, err := client.Get("https://iam.example/v3/users")
	fmt.Println(errors.Is(err, iamhttp.ErrProxyAuthRequired))
	// Output: true
}

func ExampleSemantics() {
	s := iamhttp.Classify(418)
	fmt.Println(s.Documented, "|", s.Repeat)
	// Output: false | unstated
}

func ExampleRepeat() {
	fmt.Println(iamhttp.Classify(503).Repeat == iamhttp.RepeatDiscouraged)
	// Output: true
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
	body, _ := io.ReadAll(resp.Body) // still there
	fmt.Println(string(body))
	// Output:
	// true
	// {"error_msg":"The throttling threshold has been reached: policy ip over ratelimit,limit:5,time:1 second","error_code":"APIG.0308","request_id":"e2b44851-0991-411b-a6b7-9ac8518a4cd9"}
}

func ExampleNewStatusError() {
	header := http.Header{"X-Request-Id": {"71d53ba4"}}
	body := []byte(`{"error_code":"APIG.0101","error_msg":"The API does not exist."}`)
	fmt.Println(iamhttp.NewStatusError(404, header, body))
	// Output: iam: 404 NotFound: "The API does not exist." (APIG.0101, request 71d53ba4)
}

func ExampleClassify() {
	s := iamhttp.Classify(503)
	fmt.Println(s.Code, "|", s.Description, "|", s.Repeat)
	// Output: 503 ServiceUnavailable | The service is not available. | not without modifications
}

func ExampleCodes() {
	for code := range iamhttp.Codes() {
		if s := iamhttp.Classify(int(code)); s.Repeat == iamhttp.RepeatAnytime || s.Repeat == iamhttp.RepeatAfter {
			fmt.Println(code, "|", s.Repeat)
		}
	}
	// Output:
	// 408 Request Time-out | at any later time
	// 429 TooManyRequests | after Retry-After
}

func ExampleWithExpected() {
	service := newIAM()
	defer service.Close()
	client := &http.Client{Transport: &iamhttp.Transport{Backoff: quick}}

	// Does this user exist? Here a 404 is an answer.
	ctx := iamhttp.WithExpected(context.Background(), iamhttp.ErrNotFound)
	req, _ := http.NewRequestWithContext(ctx, "GET", service.URL+"/v3/users/bob", nil)
	resp, err := client.Do(req)
	fmt.Println(resp.StatusCode, err)
	// Output: 404 <nil>
}

func ExampleWithMaxAttempts() {
	service := newIAM()
	defer service.Close()
	client := &http.Client{Transport: &iamhttp.Transport{}}

	// A person waits for this one: rather fail at once.
	ctx := iamhttp.WithMaxAttempts(context.Background(), 1)
	req, _ := http.NewRequestWithContext(ctx, "GET", service.URL+"/v3/users/alice", nil)
	_, err := client.Do(req)
	if e, ok := errors.AsType[*iamhttp.StatusError](err); ok {
		fmt.Println(e.Code, "|", e.Stop)
	}
	// Output: 429 TooManyRequests | attempts used up
}

func ExampleResendCount() {
	service := newIAM()
	defer service.Close()

	// What stands below the Transport sees every send.
	log := roundTripper(func(req *http.Request) (*http.Response, error) {
		fmt.Println(req.Method, req.URL.Path, "resend", iamhttp.ResendCount(req.Context()))
		return http.DefaultTransport.RoundTrip(req)
	})
	client := &http.Client{Transport: &iamhttp.Transport{Base: log, Backoff: quick}}
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
	_, err := client.Get(service.URL + "/v3/users/bob")
	fmt.Println(err)
	// Output: iam: 404 NotFound: "Could not find user." (request req-42, sent 2 times: not repeatable)
}

func ExampleLogFailures() {
	var service iamtest.Server
	service.Next(iamtest.Throttled(0), iamtest.Keystone(404, "Could not find user."))
	client := &http.Client{Transport: &iamhttp.Transport{
		Base:      &service,
		Backoff:   quick,
		OnFailure: iamhttp.LogFailures(logger(os.Stdout, slog.LevelInfo)),
	}}
	_, err := client.Get("https://iam.example/v3/users/bob?secret=1")
	fmt.Println(errors.Is(err, iamhttp.ErrNotFound))
	// Output:
	// level=INFO msg="IAM request failed, to be repeated" wait=0s err.code=429 err.title=TooManyRequests err.service_code=APIG.0308 err.request_id=e2b44851-0991-411b-a6b7-9ac8518a4cd9 err.method=GET err.url=https://iam.example/v3/users/bob err.attempts=1
	// level=WARN msg="IAM request failed" err.code=404 err.title=NotFound err.request_id=req-0c43521d-00ed-4f5b-a31b-798560349fcd err.method=GET err.url=https://iam.example/v3/users/bob err.attempts=2 err.stop="not repeatable"
	// true
}

func ExampleStatusError_LogValue() {
	logger(os.Stdout, slog.LevelInfo).Error("cannot create user", "err", iamhttp.NewStatusError(409, nil, []byte(`{"error_code":"IAM.0005","error_msg":"exists"}`)))
	// Output: level=ERROR msg="cannot create user" err.code=409 err.title=Conflict err.service_code=IAM.0005 err.message=exists
}
