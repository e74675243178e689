package aksk_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/aksk"
	"github.com/iamhttp/iamhttp/iamtest"
)

// If the client does not sign its requests, set SignUnsigned. The Transport then signs
// each attempt.
func Example() {
	service := &iamtest.Server{Keys: func(accessKey, _ string) (string, bool) { return "sk", accessKey == "ak" }}
	service.Next(iamtest.Throttled(time.Second))
	server := httptest.NewServer(service)
	defer server.Close()

	signer := &aksk.Transport{
		SignUnsigned: true, // not needed if an SDK already signs
		Credentials: func(*http.Request) (aksk.Credentials, error) {
			return aksk.Credentials{AccessKey: "ak", SecretKey: "sk"}, nil
		},
	}
	client := &http.Client{Transport: &iamhttp.Transport{Base: signer}, Timeout: time.Hour}
	resp, err := client.Post(server.URL+"/v3/users", "application/json", strings.NewReader(`{"user":{"name":"bob"}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	resp.Body.Close()
	fmt.Println(resp.Status, "after", len(service.Requests()), "attempts")
	// Output: 200 OK after 2 attempts
}

// If an SDK signs each call once, above the Transport, set PassThrough and put the
// signer below. The signer re-signs retries, and requests that were signed more than a
// minute ago.
func ExampleTransport() {
	keys := func(req *http.Request) (aksk.Credentials, error) {
		if aksk.AccessKey(req) != "ak" { // signed by another account that shares this Transport
			return aksk.Credentials{}, nil
		}
		return aksk.Credentials{AccessKey: "ak", SecretKey: "sk"}, nil
	}
	sdk := &http.Client{
		Transport: &iamhttp.Transport{Base: &aksk.Transport{Credentials: keys}, PassThrough: true},
		Timeout:   time.Hour,
	}
	_ = sdk // pass this client to the SDK
}

// signing signs each attempt with the function that an SDK exports.
type signing struct {
	base http.RoundTripper
	sign func(*http.Request) error
}

func (s signing) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	if err := s.sign(req); err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	return s.base.RoundTrip(req)
}

func (signing) SignsEachAttempt(*http.Request) bool { return true }

// If an SDK signs with a scheme that this package does not know, and exports its signing
// function, call that function for each attempt.
func ExampleTransport_SignsEachAttempt() {
	client := &http.Client{Transport: &iamhttp.Transport{
		Base: signing{http.DefaultTransport, func(*http.Request) error { return nil }},
	}}
	_ = client
}
