package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/iamhttp/iamhttp/bench/internal/peers"
)

// A scenario is one kind of call, made one at a time or many at once.
type scenario struct {
	name      string
	title     string
	over      []string // networks over which the call is measured
	method    string
	size      int      // size of the request body in bytes
	file      bool     // the request body is a file
	script    []answer // responses to the attempts of a call
	parallel  bool
	waiting   int // number of calls that wait at the same time
	benchtime string
}

func (s scenario) String() string { return s.name }

const (
	kib = 1 << 10
	mib = 1 << 20
)

var (
	ok = answer{http.StatusOK, http.Header{}, ""}
	// go-github-ratelimit needs a reset; it is in the past, so that nobody waits.
	throttled = answer{http.StatusTooManyRequests, http.Header{"X-Ratelimit-Reset": {"1000000000"}, "Date": {"Sun, 29 Nov 2026 00:00:00 GMT"}}, peers.GitHubMessage}
	later     = answer{http.StatusTooManyRequests, http.Header{"Retry-After": {"60"}}, peers.GitHubMessage}
	notFound  = answer{
		http.StatusNotFound,
		http.Header{
			"Content-Type":           {"application/json"},
			"Vary":                   {"X-Auth-Token"},
			"X-Openstack-Request-Id": {"req-7e3bf0a6-55a1-4f5a-9c8d-0f6f7c1b2a3d"},
		},
		`{"error":{"code":404,"message":"` + message + `","title":"Not Found"}}`,
	}
)

const message = "Could not find user: 0123456789abcdef0123456789abcdef."

// benchstat can parse the names of these scenarios, and sorts them in this order.
var scenarios = []scenario{
	{name: "1-get", title: "GET: 200", over: networks, method: "GET", script: []answer{ok}, benchtime: "40ms"},
	{name: "2-post", title: "POST of 1 KiB: 200", over: networks, method: "POST", size: kib, script: []answer{ok}, benchtime: "40ms"},
	{name: "3-error", title: "404 to a typed error", over: networks, method: "GET", script: []answer{notFound}, benchtime: "40ms"},
	{name: "4-get", title: "GET: 429, 429, 200", over: networks, method: "GET", script: []answer{throttled, throttled, ok}, benchtime: "40ms"},
	{name: "4-post", title: "POST of 1 KiB: 429, 429, 200", over: networks, method: "POST", size: kib, script: []answer{throttled, throttled, ok}, benchtime: "40ms"},
	{name: "5-upload", title: "upload of 64 MiB: 200", over: networks, method: "PUT", size: 64 * mib, script: []answer{ok}, benchtime: "2x"},
	{name: "5-file", title: "upload of a 64 MiB file: 429, 200", over: networks, method: "PUT", size: 64 * mib, file: true, script: []answer{throttled, ok}, benchtime: "2x"},
	{name: "6-parallel", title: "GET in parallel: 200", over: networks, method: "GET", script: []answer{ok}, parallel: true, benchtime: "40ms"},
	{name: "7-waiting", title: "10,000 calls that wait", over: networks[:1], method: "GET", script: []answer{later}, waiting: 10_000, benchtime: "1x"},
}

// A call is a scenario for one peer over one network.
type call struct {
	scenario
	peer    peers.Peer
	service *service
	upload  string // name of the file that is uploaded
	content []byte // content of the request body

	do  peers.Do
	req *http.Request

	// Results of the benchmarks.
	fault  error  // the reason why the latest benchmark failed; nil if it did not
	remark string // the latest note on a benchmark that did not fail
}

// benchmark returns the benchmark's name.
func (c *call) benchmark() string {
	return fmt.Sprintf("net=%s/call=%s/peer=%s", c.service.network, c.name, c.peer)
}

// prepare creates the client, and the request of calls that are made one at a time.
func (c *call) prepare() error {
	c.service.script = c.script
	c.service.begin()
	o := peers.Options{Delay: peers.NoDelay, Content: c.content}
	if c.waiting > 0 {
		o.Delay = time.Minute // for peers that ignore Retry-After
	}
	if c.service.network == "memory" {
		c.do = c.peer.Wrap(c.service.base, o).RoundTrip
	} else {
		c.do = c.peer.Do(c.service.base, o)
	}
	var err error
	c.req, err = c.request()
	return err
}

func (c *call) request() (*http.Request, error) {
	req, err := http.NewRequest(c.method, c.service.url, nil)
	if c.size > 0 {
		req.ContentLength = int64(c.size)
		req.GetBody = c.body
	}
	return req, err
}

func (c *call) body() (io.ReadCloser, error) {
	if c.file {
		return os.Open(c.upload)
	}
	return io.NopCloser(bytes.NewReader(c.content)), nil
}

// make makes the call once. It uses buf to read the response body.
func (c *call) make(req *http.Request, buf []byte) (err error) {
	if c.size > 0 {
		if req.Body, err = c.body(); err != nil {
			return err
		}
		if c.file {
			defer req.Body.Close() // some peers do not close the file
		}
	}
	resp, err := c.do(req)
	if c.script[len(c.script)-1].code == http.StatusNotFound {
		if err == nil {
			err = c.failure(resp)
		}
		if err == nil {
			return errors.New("the call returned no error, want one for the 404")
		}
		return nil
	}
	if err != nil {
		return err
	}
	for err == nil {
		_, err = resp.Body.Read(buf)
	}
	resp.Body.Close()
	if err != io.EOF || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("want status 200 and the whole body, got status %d and error %w", resp.StatusCode, err)
	}
	return nil
}

// check makes the call once and checks the result.
func (c *call) check() error {
	defer c.service.hangUp()
	c.service.begin()
	if err := c.make(c.req, make([]byte, 512)); err != nil {
		return err
	}
	if sent := int(c.service.next.Load()); sent != len(c.script) {
		return fmt.Errorf("sent %d request(s) instead of %d", sent, len(c.script))
	}
	if got, want := c.service.received.Load(), int64(c.size*len(c.script)); got != want {
		return fmt.Errorf("%d bytes arrived instead of %d", got, want)
	}
	return nil
}

// failure returns the error that an application would create from a response.
func (c *call) failure(resp *http.Response) error {
	if c.peer.Failure != nil {
		return c.peer.Failure(resp)
	}
	return newOwnError(resp)
}

// ownError is a hand-written error with most of the fields of a StatusError.
type ownError struct {
	Code                            int
	ServiceCode, Message, RequestID string
	Method, URL, RetryAfter         string
	Header                          http.Header
	Body                            []byte
	Truncated                       bool
	Attempts                        int
	Stop                            string
}

func (e *ownError) Error() string { return fmt.Sprintf("%d: %s", e.Code, e.Message) }

func newOwnError(resp *http.Response) error {
	defer resp.Body.Close()
	e := &ownError{Code: resp.StatusCode, Header: resp.Header.Clone(), Attempts: 1}
	e.RequestID, e.RetryAfter = e.Header.Get("X-Openstack-Request-Id"), e.Header.Get("Retry-After")
	if req := resp.Request; req != nil {
		u := *req.URL
		u.User, u.RawQuery, u.Fragment = nil, "", ""
		e.Method, e.URL = req.Method, u.String()
	}
	var err error
	if e.Body, err = io.ReadAll(resp.Body); err != nil {
		e.Truncated = true
		return e
	}
	var said struct {
		Error struct{ Message, Code any }
	}
	if json.Unmarshal(e.Body, &said) == nil {
		e.Message, _ = said.Error.Message.(string)
		e.ServiceCode, _ = said.Error.Code.(string)
	}
	return e
}

// bench runs the benchmark. It fails if a call fails.
func (c *call) bench(b *testing.B) {
	defer c.service.hangUp()
	err := c.prepare()
	switch {
	case err != nil:
	case c.waiting > 0:
		err = c.benchWaiting(b)
	case c.parallel:
		var faults atomic.Pointer[error]
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			req, err := c.request()
			buf := make([]byte, 512)
			for err == nil && pb.Next() {
				err = c.make(req, buf)
			}
			if err != nil {
				faults.Store(&err)
			}
		})
		if e := faults.Load(); e != nil {
			err = *e
		}
	default:
		buf := make([]byte, 512)
		b.ReportAllocs()
		for err == nil && b.Loop() {
			c.service.begin()
			err = c.make(c.req, buf)
		}
	}
	if c.fault = err; err != nil {
		b.Fatal(err)
	}
}
