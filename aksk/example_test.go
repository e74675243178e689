package aksk_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/aksk"
	"github.com/iamhttp/iamhttp/gate"
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
	client := &http.Client{
		Transport: &iamhttp.Transport{Base: signing{http.DefaultTransport, func(*http.Request) error { return nil }}},
		Timeout:   time.Hour,
	}
	_ = client
}

// If you send a request without a Transport, sign it yourself, shortly before you send it.
func ExampleSign() {
	req, err := http.NewRequest("GET", "https://iam.example/v3/users", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC) // usually time.Now()
	if err := aksk.Sign(req, aksk.Credentials{AccessKey: "ak", SecretKey: "sk"}, at); err != nil {
		fmt.Println(err)
		return
	}
	algorithm, _, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	fmt.Println(algorithm, req.Header.Get("X-Sdk-Date"))
	// Output: SDK-HMAC-SHA256 20261125T120000Z
}

// If an SDK signs requests, their access key tells you which account they belong to, for
// example in a GateKey function.
func ExampleAccessKey() {
	shared := new(gate.Adaptive)
	client := &http.Client{
		Transport: &iamhttp.Transport{
			Gate:    shared,
			GateKey: func(r *http.Request) string { return gate.KeyByHostAndMethod(r) + " " + aksk.AccessKey(r) },
		},
		Timeout: time.Minute,
	}
	_ = client // pass this client to the SDK
}

// Credentials do not reveal the keys when they are printed.
func ExampleCredentials() {
	c := aksk.Credentials{AccessKey: "ak", SecretKey: "sk"}
	fmt.Printf("%v %+v\n", c, &c)
	// Output: aksk.Credentials aksk.Credentials
}
