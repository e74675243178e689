package redisgate

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A relay connects clients to a server. It can delay or freeze the traffic, cut
// connections, and switch to another server.
type relay struct {
	listener net.Listener // nil: clients connect with pipe

	passing sync.WaitGroup
	said    atomic.Int64 // bytes sent by the server

	mu     sync.Mutex
	dial   func() (net.Conn, error)   // connects to the server
	delay  time.Duration              // how long to delay replies
	hold   func([]byte) time.Duration // how long to delay a request and everything after it on the same connection; nil: not at all
	frozen chan struct{}              // non-nil: nothing passes until this channel is closed
	conns  map[net.Conn]bool
}

func newRelay(t testing.TB, dial func() (net.Conn, error)) *relay {
	r := &relay{dial: dial, conns: make(map[net.Conn]bool)}
	t.Cleanup(func() {
		r.thaw()
		// A client that has been closed may have been about to connect.
		r.lead(func() (net.Conn, error) { return nil, net.ErrClosed })
		r.passing.Wait()
	})
	return r
}

func to(addr string) func() (net.Conn, error) {
	return func() (net.Conn, error) { return net.Dial("tcp", addr) }
}

func startRelay(t testing.TB, target string) *relay {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := newRelay(t, to(target))
	r.listener = l
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.serve(c)
		}
	}()
	t.Cleanup(func() { l.Close() })
	return r
}

func (r *relay) addr() string { return r.listener.Addr().String() }

// pipe connects a client without a network.
func (r *relay) pipe() (net.Conn, error) {
	client, c := net.Pipe()
	r.serve(c)
	return client, nil
}

func (r *relay) serve(c net.Conn) {
	r.mu.Lock()
	dial := r.dial
	r.mu.Unlock()
	s, err := dial() // not while holding r.mu, which miniredis may need before it accepts the connection
	if err != nil {
		c.Close()
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns[c], r.conns[s] = true, true
	r.passing.Go(func() {
		r.pass(s, c, func(b []byte) time.Duration {
			if r.hold == nil {
				return 0
			}
			return r.hold(b)
		})
	})
	r.passing.Go(func() {
		r.pass(c, s, func(b []byte) time.Duration {
			r.said.Add(int64(len(b)))
			return r.delay
		})
	})
}

// pass copies data from one side to the other, and delays each chunk by the time that
// delay returns for that chunk.
func (r *relay) pass(to, from net.Conn, delay func(b []byte) time.Duration) {
	defer to.Close()
	type chunk struct {
		data []byte
		due  time.Time
	}
	chunks := make(chan chunk, 1024)
	go func() {
		defer close(chunks)
		for {
			b := make([]byte, 16<<10)
			n, err := from.Read(b)
			if err != nil {
				return
			}
			r.mu.Lock()
			due := time.Now().Add(delay(b[:n]))
			r.mu.Unlock()
			chunks <- chunk{b[:n], due}
		}
	}()
	for c := range chunks {
		if d := time.Until(c.due); d > 0 {
			<-time.After(d)
		}
		r.mu.Lock()
		frozen := r.frozen
		r.mu.Unlock()
		if frozen != nil {
			<-frozen
		}
		if _, err := to.Write(c.data); err != nil {
			from.Close()
		}
	}
}

func (r *relay) setDelay(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delay = d
}

// holdOnce makes one connection go dead for an hour: the one that carries the first
// request for which the function returns true. held reports whether there was such a
// request.
func (r *relay) holdOnce(which func([]byte) bool) (held func() bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	once := false
	r.hold = func(b []byte) time.Duration {
		if once || !which(b) {
			return 0
		}
		once = true
		return time.Hour
	}
	return func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return once
	}
}

// freeze holds back everything until thaw.
func (r *relay) freeze() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frozen = make(chan struct{})
}

func (r *relay) thaw() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.frozen != nil {
		close(r.frozen)
		r.frozen = nil
	}
}

// lead makes the relay connect to another server, and cuts the existing connections.
func (r *relay) lead(dial func() (net.Conn, error)) {
	r.mu.Lock()
	r.dial = dial
	r.mu.Unlock()
	r.cut()
}

func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		c.Close()
	}
	clear(r.conns)
}
