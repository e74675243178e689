package iamtest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/iamtest"
)

// show sends a GET and prints the response's status and body and the error from reading
// it, or only an error if there is no response.
func show(c *http.Client, url string) {
	resp, err := c.Get(url)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	fmt.Println(resp.StatusCode, string(body), err)
}

// printer stands in for a *testing.T and prints its errors.
type printer struct{ testing.TB }

func (printer) Helper()                        {}
func (printer) Errorf(format string, a ...any) { fmt.Printf(format+"\n", a...) }

var t printer

func Example() {
	var service iamtest.Server
	service.On("DELETE /v3/users/{id}", iamtest.Keystone(403, "You are not authorized."))
	client := &http.Client{Transport: &iamhttp.Transport{Base: &service}, Timeout: time.Minute}

	req, err := http.NewRequest("DELETE", "https://iam.example/v3/users/alice", nil)
	if err == nil {
		_, err = client.Do(req)
	}
	fmt.Println(errors.Is(err, iamhttp.ErrForbidden))
	service.AssertCount(t, 1) // a 403 is not retried
	// Output: true
}

func ExampleServer() {
	service := iamtest.Server{Limit: 1, Window: time.Hour}
	client := &http.Client{Transport: &service, Timeout: time.Minute}
	show(client, "https://iam.example/v3/users")
	show(client, "https://iam.example/v3/users")
	// Output:
	// 200 {} <nil>
	// 429 {"error_msg":"The throttling threshold has been reached: policy user over ratelimit,limit:1,time:1 hour","error_code":"APIG.0308","request_id":"e2b44851-0991-411b-a6b7-9ac8518a4cd9"} <nil>
}

func ExampleServer_Next() {
	var service iamtest.Server
	service.Next(iamtest.Throttled(0), iamtest.Page(408))
	client := &http.Client{Transport: &service, Timeout: time.Minute}
	for range 3 {
		resp, err := client.Get("https://iam.example/v3/users")
		if err != nil {
			fmt.Println(err)
			return
		}
		resp.Body.Close()
		fmt.Println(resp.StatusCode)
	}
	// Output:
	// 429
	// 408
	// 200
}

func ExampleServer_On() {
	var service iamtest.Server
	service.On("GET /v3/users/{id}",
		iamtest.Keystone(404, "Could not find user."),
		iamtest.Answer{Body: `{"user":{"name":"alice"}}`}) // for the second request and all later ones
	client := &http.Client{Transport: &service, Timeout: time.Minute}
	for range 3 {
		show(client, "https://iam.example/v3/users/alice")
	}
	// Output:
	// 404 {"error":{"code":404,"message":"Could not find user.","title":"Not Found"}} <nil>
	// 200 {"user":{"name":"alice"}} <nil>
	// 200 {"user":{"name":"alice"}} <nil>
}

func ExampleServer_Requests() {
	var service iamtest.Server
	client := &http.Client{Transport: &service, Timeout: time.Minute}
	resp, err := client.Post("https://iam.example/v3/users?dry=1", "application/json", strings.NewReader(`{"user":{}}`))
	if err == nil {
		resp.Body.Close()
	}
	for _, r := range service.Requests() {
		fmt.Println(r, r.Header.Get("Content-Type"), r.Body)
	}
	// Output: POST /v3/users?dry=1 application/json {"user":{}}
}

func ExampleServer_ServeHTTP() {
	var service iamtest.Server
	srv := httptest.NewServer(&service) // use a real server for code that needs a socket
	defer srv.Close()
	show(http.DefaultClient, srv.URL+"/v3/users")
	service.AssertRequests(t, "GET /v3/users")
	// Output: 200 {} <nil>
}

func ExampleServer_RoundTrip() {
	var service iamtest.Server
	service.Next(iamtest.Answer{Fault: iamtest.Stall})
	client := &http.Client{Transport: &service, Timeout: time.Millisecond} // under testing/synctest, even a timeout of an hour takes no time
	_, err := client.Get("https://iam.example/v3/users")
	fmt.Println(errors.Is(err, context.DeadlineExceeded))
	// Output: true
}

func ExampleServer_AssertCount() {
	var service iamtest.Server
	service.AssertCount(t, 1)
	// Output: iamtest: got 0 requests, want 1:
}

func ExampleServer_AssertRequests() {
	var service iamtest.Server
	show(&http.Client{Transport: &service, Timeout: time.Minute}, "https://iam.example/v3/users")
	service.AssertRequests(t, "GET /v3/users")
	// Output: 200 {} <nil>
}

func ExampleServer_AssertBodies() {
	var service iamtest.Server
	client := &http.Client{Transport: &service, Timeout: time.Minute}
	resp, err := client.Post("https://iam.example/v3/users", "text/plain", strings.NewReader("hello"))
	if err == nil {
		resp.Body.Close()
	}
	service.AssertBodies(t, "bye")
	// Output: iamtest: got the bodies ["hello"], want ["bye"]
}

func ExampleServer_AssertSpacing() {
	var service iamtest.Server
	service.Next(iamtest.Throttled(0))
	every10ms := func() backoff.BackOff { return backoff.NewConstantBackOff(10 * time.Millisecond) }
	client := &http.Client{Transport: &iamhttp.Transport{Base: &service, Backoff: every10ms}, Timeout: time.Minute}
	show(client, "https://iam.example/v3/users")
	service.AssertSpacing(t, 10*time.Millisecond)
	// Output: 200 {} <nil>
}

func ExampleRequest() {
	var service iamtest.Server
	show(&http.Client{Transport: &service, Timeout: time.Minute}, "https://iam.example/v3/users?name=alice")
	r := service.Requests()[0]
	fmt.Println(r.Method, r.Target, time.Since(r.At) < time.Minute)
	// Output:
	// 200 {} <nil>
	// GET /v3/users?name=alice true
}

func ExampleRequest_String() {
	fmt.Println(iamtest.Request{Method: "GET", Target: "/v3/users?name=alice", Body: "not shown"})
	// Output: GET /v3/users?name=alice
}

func ExampleAnswer() {
	var service iamtest.Server
	service.Next(iamtest.Answer{Status: 201, Body: `{"user":{"id":"1"}}`, Delay: time.Millisecond})
	show(&http.Client{Transport: &service, Timeout: time.Minute}, "https://iam.example/v3/users")
	// Output: 201 {"user":{"id":"1"}} <nil>
}

func ExampleAnswer_With() {
	a := iamtest.Page(503).With("Retry-After", "120")
	fmt.Println(a.Status, a.Header["Retry-After"])
	// Output: 503 [120]
}

func ExampleAnswer_ServeHTTP() {
	// Your own handler can send an Answer. The Server's script takes precedence over the
	// handler.
	service := iamtest.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Auth-Token") == "" {
			iamtest.Keystone(401, "The request you have made requires authentication.").ServeHTTP(w, r)
			return
		}
		fmt.Fprint(w, "welcome")
	})}
	show(&http.Client{Transport: &service, Timeout: time.Minute}, "https://iam.example/v3/users")
	// Output: 401 {"error":{"code":401,"message":"The request you have made requires authentication.","title":"Unauthorized"}} <nil>
}

func ExampleFault() {
	var service iamtest.Server
	service.Next(
		iamtest.Answer{Fault: iamtest.Reset},
		iamtest.Answer{Status: 200, Body: `{"users":[`, Fault: iamtest.Reset},
	)
	client := &http.Client{Transport: &service, Timeout: time.Minute}
	_, err := client.Get("https://iam.example/v3/users")
	fmt.Println(errors.Is(err, syscall.ECONNRESET))
	show(client, "https://iam.example/v3/users")
	// Output:
	// true
	// 200 {"users":[ unexpected EOF
}

func ExampleKeystone() {
	fmt.Println(iamtest.Keystone(409, "Conflict occurred attempting to store user.").Body)
	// Output: {"error":{"code":409,"message":"Conflict occurred attempting to store user.","title":"Conflict"}}
}

func ExampleIAM() {
	fmt.Println(iamtest.IAM(400, "1109", "The username already exists.").Body)
	// Output: {"error_msg":"The username already exists.","error_code":"1109"}
}

func ExampleGateway() {
	fmt.Println(iamtest.Gateway(404, "APIG.0101", "The API does not exist.").Body)
	// Output: {"error_msg":"The API does not exist.","error_code":"APIG.0101","request_id":"e2b44851-0991-411b-a6b7-9ac8518a4cd9"}
}

func ExampleThrottled() {
	a := iamtest.Throttled(30 * time.Second)
	fmt.Println(a.Status, a.Header.Get("Retry-After"))
	// Output: 429 30
}

func ExampleThrottledGateway() {
	synctest.Test(new(testing.T), func(*testing.T) {
		var service iamtest.Server
		service.Next(iamtest.ThrottledGateway(200, 5*time.Minute))
		client := &http.Client{Transport: &iamhttp.Transport{Base: &service}, Timeout: 15 * time.Minute}
		start := time.Now()
		show(client, "https://iam.example/v3/users")
		fmt.Println("waited", time.Since(start).Truncate(10*time.Second)) // a third of the 5-minute window
	})
	// Output:
	// 200 {} <nil>
	// waited 1m40s
}

func ExampleThrottledSAP() {
	a := iamtest.ThrottledSAP(60, time.Minute, 58*time.Second)
	err := iamhttp.NewStatusError(a.Status, a.Header, []byte(a.Body))
	fmt.Println(a.Header.Get("X-RateLimit-Limit"), a.Header.Get("X-Retry-After"))
	fmt.Println(err.Message, "|", err.Limit)
	// Output:
	// 60r/m 58
	// Too Many Requests | 60 per 1m0s new in 58s
}

func ExampleThrottledEnvoy() {
	a := iamtest.ThrottledEnvoy(10, time.Minute, 41*time.Second)
	fmt.Println(a.Header.Get("X-Ratelimit-Limit"), "|", a.Header.Get("X-Ratelimit-Reset"))
	fmt.Println(iamhttp.NewStatusError(a.Status, a.Header, nil).Limit)
	// Output:
	// 10, 10;w=60 | 41
	// 10 per 1m0s new in 41s
}

func ExampleThrottledIETF() {
	a := iamtest.ThrottledIETF(50, time.Minute, 30*time.Second)
	fmt.Println(a.Header.Get("RateLimit"), "|", a.Header.Get("RateLimit-Policy"))
	fmt.Println(iamhttp.NewStatusError(a.Status, a.Header, nil).Limit)
	// Output:
	// "default";r=0;t=30 | "default";q=50;w=60
	// 50 per 1m0s (default) new in 30s
}

func ExamplePage() {
	fmt.Println(strings.ReplaceAll(iamtest.Page(502).Body, "\r\n", ""))
	// Output: <html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center><hr><center>nginx</center></body></html>
}
