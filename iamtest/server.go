// Package iamtest provides a fake IAM service for testing your IAM client. The service
// responds according to a script, with the error bodies of Keystone, Open Telekom Cloud
// and the gateways in front of them, and records the requests.
//
//	func TestClientWaitsForRetryAfter(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) {
//			var service iamtest.Server
//			service.Next(iamtest.Throttled(30 * time.Second)) // then 200
//			client := &http.Client{Transport: &iamhttp.Transport{Base: &service}, Timeout: time.Minute}
//			resp, err := client.Post("https://iam.example/v3/users", "application/json", strings.NewReader(`{}`))
//			if err != nil {
//				t.Fatal(err)
//			}
//			resp.Body.Close()
//			service.AssertBodies(t, `{}`, `{}`)
//			service.AssertSpacing(t, 30*time.Second)
//		})
//	}
//
// A [Server] is an [http.RoundTripper], for tests in memory: under testing/synctest,
// waits are instantaneous. A Server is also an [http.Handler], for tests that need a
// socket, with httptest.NewServer for example. The responses are the same either way,
// except for the differences that [Server.RoundTrip] lists.
package iamtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A Server responds to requests according to a script and records them. The zero value
// is ready to use and responds to every request with 200 and an empty JSON object. A
// Server is safe for concurrent use; do not copy it or change its fields after first
// use.
//
// The response comes from the first of these that provides one: Keys, Limit,
// [Server.Next], [Server.On], Handler. Without a Handler, a request that matches no route
// gets Keystone's 404 if there are routes, and otherwise 200 and an empty JSON object.
type Server struct {
	// Handler responds to the requests for which the script has no response. If Handler
	// is nil, the responses are as described for Server.
	Handler http.Handler

	// Limit is the maximum number of requests accepted in any Window. Requests above it
	// get a [Throttled] response, whose Retry-After is the time until the next request
	// is accepted, rounded up to seconds. If the Window is a whole number of seconds,
	// the body also states the limit, as in [ThrottledGateway]. A throttled request
	// does not use up an Answer of the script, because a real gateway would not pass
	// the request on to the service. Zero means no limit.
	Limit int

	// Window is the length of the time window that Limit applies to. Zero means 1
	// second.
	Window time.Duration

	// Keys returns the secret key that belongs to an access key and its security token
	// (empty for a permanent key), or false if there is no such key. If Keys is set, a
	// request needs a valid signature (AK/SK) whose time is within 15 minutes of the
	// Server's or, without an Authorization header, an X-Auth-Token with any value. Otherwise
	// the response is the gateway's 401 for a missing or wrong signature, an unknown key, or
	// a time too far in the past or future. A refused request uses up neither the Limit
	// nor the script.
	Keys func(accessKey, securityToken string) (secretKey string, ok bool)

	// Ahead is how far the Server's clock is ahead of the machine's. Ahead affects
	// the Date header and the check of signatures.
	Ahead time.Duration

	mu       sync.Mutex
	requests []Request
	admitted []time.Time // when the requests in the latest Window were accepted; unused without a Limit
	next     []Answer
	routes   map[string]*route
	mux      http.ServeMux
}

// A Request is a request that a [Server] has received.
type Request struct {
	At     time.Time // when the whole request had arrived
	Method string
	Target string // path and query as sent, such as "/v3/users?name=alice"
	Header http.Header
	Body   string
}

// String returns the method and the target, such as "GET /v3/users?name=alice".
func (r Request) String() string { return r.Method + " " + r.Target }

// Next makes the Server respond to the next requests with these answers, in order and
// one per request, whatever the method and path. Answers from earlier calls to Next
// come first.
func (s *Server) Next(answers ...Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = append(s.next, answers...)
}

// On makes the Server respond to requests that match a pattern of [http.ServeMux], such
// as "GET /v3/users/{id}", with these answers in order; the last one is then used for all
// later requests. Without answers, the response is a 200 without a body. A later call for
// the same pattern replaces its answers. On panics if the pattern is invalid or conflicts
// with another pattern.
func (s *Server) On(pattern string, answers ...Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.routes[pattern]
	if r == nil {
		r = new(route)
		s.mux.Handle(pattern, r)
		if s.routes == nil {
			s.routes = map[string]*route{}
		}
		s.routes[pattern] = r
	}
	r.answers = slices.Clone(answers)
}

// A route holds the answers for a pattern. A route is a Handler only so that the mux can
// return it; its ServeHTTP is never called.
type route struct {
	http.Handler
	answers []Answer
}

func (r *route) answer() Answer {
	if len(r.answers) == 0 {
		return Answer{}
	}
	a := r.answers[0]
	if len(r.answers) > 1 {
		r.answers = r.answers[1:]
	}
	return a
}

// ServeHTTP responds to a request over a connection. ServeHTTP reads the whole body
// first, and does not record a request whose body is cut off.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	in := *r
	in.Body = io.NopCloser(bytes.NewReader(body))
	if s.Ahead != 0 {
		w.Header().Set("Date", time.Now().Add(s.Ahead).UTC().Format(http.TimeFormat))
	}
	s.handler(&in, string(body)).ServeHTTP(w, &in)
}

// handler records the request and returns the handler that responds to it.
func (s *Server) handler(r *http.Request, body string) http.Handler {
	s.mu.Lock()
	now := time.Now()
	s.requests = append(s.requests, Request{now, r.Method, r.URL.RequestURI(), r.Header.Clone(), body})
	s.mu.Unlock()
	if s.Keys != nil { // not while holding the lock, because Keys may call Requests
		if a, refused := s.refusal(r, body, now.Add(s.Ahead)); refused {
			return a
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if left := s.overLimit(now); left > 0 {
		a := Throttled(left)
		if w := s.window(); w%time.Second == 0 {
			a.Body = ThrottledGateway(s.Limit, w).Body
		}
		return a
	}
	if len(s.next) > 0 {
		a := s.next[0]
		s.next = s.next[1:]
		return a
	}
	if h, pattern := s.mux.Handler(r); pattern != "" {
		if found, ok := h.(*route); ok { // otherwise h is the mux's redirect to a clean path
			return found.answer()
		}
	}
	switch {
	case s.Handler != nil:
		return s.Handler
	case len(s.routes) > 0:
		return Keystone(http.StatusNotFound, "The resource could not be found.")
	}
	return Answer{Body: "{}"}
}

// overLimit returns the time until the Limit admits another request. If that time is
// zero, overLimit counts the current request as admitted.
func (s *Server) overLimit(now time.Time) time.Duration {
	if s.Limit <= 0 {
		return 0
	}
	window := s.window()
	for len(s.admitted) > 0 && now.Sub(s.admitted[0]) >= window {
		s.admitted = s.admitted[1:]
	}
	if len(s.admitted) >= s.Limit {
		return window - now.Sub(s.admitted[0])
	}
	s.admitted = append(s.admitted, now)
	return 0
}

func (s *Server) window() time.Duration {
	if s.Window <= 0 {
		return time.Second
	}
	return s.Window
}

// Requests returns the requests received so far, in order. Do not change their Headers.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// AssertCount reports an error unless the Server received exactly n requests.
func (s *Server) AssertCount(t testing.TB, n int) {
	t.Helper()
	if got := s.Requests(); len(got) != n {
		t.Errorf("iamtest: got %d requests, want %d:%s", len(got), n, list(got))
	}
}

// AssertRequests reports an error unless the Server received exactly these requests, in
// this order, each in the format of [Request.String]: "GET /v3/users".
func (s *Server) AssertRequests(t testing.TB, want ...string) {
	t.Helper()
	got := s.Requests()
	if !slices.EqualFunc(got, want, func(r Request, w string) bool { return r.String() == w }) {
		t.Errorf("iamtest: got the requests:%s\n\twant:\n\t\t%s", list(got), strings.Join(want, "\n\t\t"))
	}
}

// AssertBodies reports an error unless the requests had exactly these bodies, in this
// order. In JSON bodies, white space and the order of members do not matter.
func (s *Server) AssertBodies(t testing.TB, want ...string) {
	t.Helper()
	got := []string{}
	for _, r := range s.Requests() {
		got = append(got, r.Body)
	}
	if !slices.EqualFunc(got, want, sameBody) {
		t.Errorf("iamtest: got the bodies %q, want %q", got, want)
	}
}

func sameBody(a, b string) bool {
	var x, y any
	return a == b || decode(a, &x) == nil && decode(b, &y) == nil && reflect.DeepEqual(x, y)
}

// decode keeps numbers as they are written, because IDs may have more digits than a
// float64 can hold.
func decode(body string, v any) error {
	if !json.Valid([]byte(body)) {
		return errors.New("not JSON")
	}
	d := json.NewDecoder(strings.NewReader(body))
	d.UseNumber()
	return d.Decode(v)
}

// AssertSpacing reports an error if a request arrived too soon after the previous one.
// least holds the minimum time between each request and the next. If the number of
// requests is not len(least)+1, that is an error, too.
func (s *Server) AssertSpacing(t testing.TB, least ...time.Duration) {
	t.Helper()
	got := s.Requests()
	if len(got) != len(least)+1 {
		t.Errorf("iamtest: got %d requests, want %d:%s", len(got), len(least)+1, list(got))
		return
	}
	for i, d := range least {
		if gap := got[i+1].At.Sub(got[i].At); gap < d {
			t.Errorf("iamtest: request %d arrived %v after the previous one, want at least %v:%s", i+2, gap, d, list(got))
		}
	}
}

// list formats the requests, each with the time since the first one.
func list(requests []Request) string {
	var b strings.Builder
	for _, r := range requests {
		fmt.Fprintf(&b, "\n\t\t%v  %v", r.At.Sub(requests[0].At), r)
	}
	return b.String()
}
