// Package iamtest is an IAM service for the tests of your IAM client. It answers by a
// script, with the error bodies of Keystone, Open Telekom Cloud and the gateways in
// front of them, and records the requests.
//
//	func TestTheClientWaitsAsTold(t *testing.T) {
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
// A [Server] is an [http.RoundTripper] for tests in memory: under testing/synctest
// their waits take no time. It is also an [http.Handler], for httptest.NewServer and
// other tests that need a socket. Both give the same answers.
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

// A Server answers requests by a script and records them. The zero value is ready
// to use and answers every request with 200 and an empty JSON object. A Server is
// safe for concurrent use; do not copy it, or change its fields, after first use.
//
// A request is answered by the first of these that has an answer: Keys, Limit,
// [Server.Next], [Server.On], Handler. If there are routes and none fits, and no
// Handler, the answer is Keystone's 404.
type Server struct {
	// Handler answers what no script does. If nil, see above.
	Handler http.Handler

	// Limit is the maximum number of requests in any Window. The others are answered
	// by [Throttled], with the time until the next one may come, rounded up to
	// seconds; if the Window is of whole seconds, by [ThrottledGateway] with that
	// Retry-After. It acts like a gateway's limit: a throttled request does not use
	// up the script. Zero means no limit.
	Limit int

	// Window is the time in which Limit requests may come. Zero means 1 second.
	Window time.Duration

	// Keys returns the secret key of an access key and its security token, which is
	// empty for a permanent key, and false if there is none. If Keys is set, a
	// request needs an X-Auth-Token with any value, or a valid signature (AK/SK) that
	// is at most 15 minutes old. Otherwise the answer is the gateway's 401 for a
	// wrong signature, an unknown key, or a time too long ago or too far ahead. A
	// refused request uses up neither the Limit nor the script.
	Keys func(accessKey, securityToken string) (secretKey string, ok bool)

	// Ahead is how far the clock of the Server is ahead of the machine's. It affects
	// the Date and the check of signatures.
	Ahead time.Duration

	mu       sync.Mutex
	requests []Request
	admitted []time.Time // in the latest Window, of a Server with a Limit
	next     []Answer
	routes   map[string]*route
	mux      http.ServeMux
}

// A Request is a request that arrived at a [Server].
type Request struct {
	At     time.Time // when its whole body had arrived
	Method string
	Target string // path and query as sent, "/v3/users?name=alice"
	Header http.Header
	Body   string
}

// String returns method and target, "GET /v3/users?name=alice".
func (r Request) String() string { return r.Method + " " + r.Target }

// Next makes the Server answer the next requests with these answers, one each and in
// order, for any method and path. Answers from earlier calls of Next come first.
func (s *Server) Next(answers ...Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = append(s.next, answers...)
}

// On makes the Server answer requests that match a pattern of [http.ServeMux],
// such as "GET /v3/users/{id}", with these answers in order, and then always with
// the last one; without answers, with an empty 200. A second call for the same
// pattern replaces the first. On panics if the pattern is invalid or conflicts
// with another one.
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

// A route holds the answers for a pattern. The mux only finds it.
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

// ServeHTTP answers a request over a connection. It reads the whole body first; a
// request that is cut off does not count.
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

// handler records the request and returns the handler that answers it.
func (s *Server) handler(r *http.Request, body string) http.Handler {
	s.mu.Lock()
	now := time.Now()
	s.requests = append(s.requests, Request{now, r.Method, r.URL.RequestURI(), r.Header.Clone(), body})
	s.mu.Unlock()
	if s.Keys != nil { // not under the lock: Keys may ask how many requests there were
		if a, refused := s.verify(r, body, now.Add(s.Ahead)); refused {
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
		if found, ok := h.(*route); ok { // else a redirect to a clean path
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

// overLimit returns how long it takes until the Limit admits a request, and
// counts this one if that is now.
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

// Requests returns the requests that arrived, in order.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// AssertCount reports an error unless exactly n requests arrived.
func (s *Server) AssertCount(t testing.TB, n int) {
	t.Helper()
	if got := s.Requests(); len(got) != n {
		t.Errorf("iamtest: got %d requests, want %d:%s", len(got), n, list(got))
	}
}

// AssertRequests reports an error unless exactly these requests arrived, in this
// order, each written as by [Request.String]: "GET /v3/users".
func (s *Server) AssertRequests(t testing.TB, want ...string) {
	t.Helper()
	got := s.Requests()
	if !slices.EqualFunc(got, want, func(r Request, w string) bool { return r.String() == w }) {
		t.Errorf("iamtest: got the requests:%s\n\twant:\n\t\t%s", list(got), strings.Join(want, "\n\t\t"))
	}
}

// AssertBodies reports an error unless the requests had these bodies, in this order.
// For JSON, white space and the order of members do not matter.
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

// decode keeps numbers as written, because ids may have more digits than a float64.
func decode(body string, v any) error {
	if !json.Valid([]byte(body)) {
		return errors.New("not JSON")
	}
	d := json.NewDecoder(strings.NewReader(body))
	d.UseNumber()
	return d.Decode(v)
}

// AssertSpacing reports an error if a request came too early after the one before
// it. least are the shortest times allowed between two requests, so there is one
// fewer than there are requests.
func (s *Server) AssertSpacing(t testing.TB, least ...time.Duration) {
	t.Helper()
	got := s.Requests()
	if len(got) != len(least)+1 {
		t.Errorf("iamtest: got %d requests, want %d:%s", len(got), len(least)+1, list(got))
		return
	}
	for i, d := range least {
		if gap := got[i+1].At.Sub(got[i].At); gap < d {
			t.Errorf("iamtest: request %d came %v after the one before, want at least %v:%s", i+2, gap, d, list(got))
		}
	}
}

// list shows the requests, and when they arrived after the first.
func list(requests []Request) string {
	var b strings.Builder
	for _, r := range requests {
		fmt.Fprintf(&b, "\n\t\t%v  %v", r.At.Sub(requests[0].At), r)
	}
	return b.String()
}
