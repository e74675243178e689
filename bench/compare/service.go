package main

import (
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// A service responds to calls over one of three networks. The responses to each call's
// attempts follow a script.
type service struct {
	network string
	url     string
	base    http.RoundTripper // the base RoundTripper of the clients
	server  *http.Server      // nil if network is "memory"

	protocols *http.Protocols

	script   []answer
	next     atomic.Int64 // number of attempts answered since the latest begin
	received atomic.Int64 // bytes of request bodies received since the latest begin
	buf      []byte       // buffer for reading request bodies if network is "memory"; one body at a time

	mu    sync.Mutex
	conns []net.Conn // connections that clients have dialed since the latest hangUp
}

type answer struct {
	code   int
	header http.Header
	body   string
}

var networks = []string{"memory", "http1", "http2"}

// newService starts a service; close stops it.
func newService(network string) (*service, error) {
	s := &service{network: network}
	if network == "memory" {
		s.url, s.base, s.buf = "http://service.example/v3/users/bob", inMemory{s}, make([]byte, 32<<10)
		return s, nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.protocols = new(http.Protocols)
	s.protocols.SetHTTP1(network == "http1")
	s.protocols.SetUnencryptedHTTP2(network == "http2")
	s.url = "http://" + l.Addr().String() + "/v3/users/bob"
	s.base = s.transport()
	s.server = &http.Server{Handler: s, Protocols: s.protocols}
	go s.server.Serve(l)
	return s, nil
}

func (s *service) close() error {
	if s.server == nil {
		return nil
	}
	s.hangUp()
	return s.server.Close()
}

func (s *service) transport() *http.Transport {
	return &http.Transport{Protocols: s.protocols, MaxIdleConnsPerHost: 64, DialContext: s.dial}
}

func (s *service) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err == nil {
		s.mu.Lock()
		s.conns = append(s.conns, conn)
		s.mu.Unlock()
	}
	return conn, err
}

// hangUp closes all connections, and replaces the base. Over HTTP/1.1, a client that does
// not close response bodies leaves a connection open for each body, and would soon exhaust
// the file descriptors.
func (s *service) hangUp() {
	if s.server == nil {
		return
	}
	s.base.(*http.Transport).CloseIdleConnections()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range s.conns {
		conn.Close()
	}
	s.conns = nil
	s.base = s.transport()
}

// begin marks the next request as the first attempt of a call.
func (s *service) begin() {
	s.next.Store(0)
	s.received.Store(0)
}

// answer returns the response to the next request. Once the script is used up, answer keeps
// returning the last response.
func (s *service) answer() *answer {
	return &s.script[min(int(s.next.Add(1)), len(s.script))-1]
}

func (s *service) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	n, err := io.Copy(io.Discard, req.Body)
	s.received.Add(n)
	if err != nil {
		return
	}
	a := s.answer()
	h := w.Header()
	maps.Copy(h, a.header)
	h["Content-Length"] = []string{strconv.Itoa(len(a.body))}
	w.WriteHeader(a.code)
	_, _ = io.WriteString(w, a.body)
}

// inMemory is the base RoundTripper for the network "memory": it has no connections. It
// allocates once for each request.
type inMemory struct{ *service }

func (s inMemory) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := context.Cause(req.Context()); err != nil { // without this check, some clients would never stop
		return nil, err
	}
	if req.Body != nil {
		for {
			n, err := req.Body.Read(s.buf)
			s.received.Add(int64(n))
			if err == io.EOF {
				break
			}
			if err != nil {
				req.Body.Close()
				return nil, err
			}
		}
		req.Body.Close()
	}
	a := s.answer()
	r := &response{}
	r.StatusCode, r.Header, r.ContentLength, r.Request = a.code, a.header, int64(len(a.body)), req
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
	r.Body = http.NoBody
	if a.body != "" {
		r.text.Reset(a.body)
		r.Body = &r.text
	}
	return &r.Response, nil
}

type response struct {
	http.Response
	text text
}

type text struct{ strings.Reader }

func (*text) Close() error { return nil }
