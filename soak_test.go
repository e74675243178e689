package iamhttp_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
)

// To find a slow leak, run: go test -run Soak -soak 30m -timeout 1h .
var soakTime = flag.Duration("soak", 2*time.Second, "the approximate duration of TestSoak, half of it with a gate and half without")

// A soakServer responds with every documented code except 1xx, and breaks off or stalls
// some responses.
type soakServer struct {
	mu      sync.Mutex
	seen    map[string]int // number of requests received, by call ID
	refused map[string]int // number of requests that got a 408 or 429, by call ID
	stored  map[string]int // number of times that a POST was stored, by call ID
	wrong   []string
	bucket  map[string]float64 // tokens left, by account
	filled  time.Time
}

const soakRate = 400 // requests per second per account

func (s *soakServer) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen, s.refused, s.stored = map[string]int{}, map[string]int{}, map[string]int{}
}

// admit reports whether the account's limit admits the request. If not, it counts the
// request as refused.
func (s *soakServer) admit(id, account string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[id]++
	now := time.Now()
	for a := range s.bucket {
		s.bucket[a] = min(s.bucket[a]+now.Sub(s.filled).Seconds()*soakRate, soakRate/4)
	}
	s.filled = now
	if s.bucket[account] < 1 {
		s.refused[id]++
		return false
	}
	s.bucket[account]--
	return true
}

func (s *soakServer) store(id string, r *http.Request) bool {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return false // the caller has closed the connection
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !bytes.Equal(body, soakBody(id)) {
		s.wrong = append(s.wrong, fmt.Sprintf("%s: wrong request body (%d bytes)", id, len(body)))
	}
	if r.Method == http.MethodPost { // other methods may be retried if no response arrives, so they may be stored more than once
		s.stored[id]++
	}
	return true
}

func (s *soakServer) refuse(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused[id]++
}

// soakBody returns the request body of a call; its length depends on the ID.
func soakBody(id string) []byte { return bytes.Repeat([]byte(id), 1+len(id)*int(id[len(id)-1]-'0')*10) }

func (s *soakServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("X-Id")
	w.Header().Set("X-Request-Id", id)
	if !s.admit(id, r.Header.Get("X-Account")) {
		if rand.IntN(50) == 0 { // a Retry-After that is longer than many calls can wait
			w.Header().Set("Retry-After", "1")
		}
		w.WriteHeader(429)
		return
	}
	select {
	case <-r.Context().Done():
	case <-time.After(rand.N(60 * time.Millisecond)):
	}
	switch n := rand.IntN(100); {
	case n < 60:
		if s.store(id, r) {
			_, _ = io.WriteString(w, id)
		}
	case n < 66:
		s.refuse(id)
		if n == 65 { // a gateway that timed out although the service processed the request
			s.store(id, r)
		}
		w.Header().Set("Connection", "close")
		w.WriteHeader(408)
	case n < 86:
		codes := soakCodes()
		code := codes[rand.IntN(len(codes))]
		w.WriteHeader(code)
		if code == 204 || code == 304 {
			return
		}
		switch rand.IntN(3) {
		case 0:
			fmt.Fprintf(w, `{"error":{"code":%d,"message":"no","title":"x"}}`, code)
		case 1:
			_, _ = io.WriteString(w, strings.Repeat("<html>", 20<<10))
		}
	case n < 92: // no response, or only part of one
		if n%2 == 0 {
			s.store(id, r)
		}
		if c, _, err := w.(http.Hijacker).Hijack(); err == nil {
			if n%3 == 0 {
				_, _ = io.WriteString(c, "HTTP/1.1 404 Not Found\r\nX-Request-Id: "+id+"\r\nContent-Length: 99\r\n\r\nbroken")
			}
			reset(c)
		}
	case n < 98: // a response whose body stalls
		w.Header().Set("Content-Length", "100000")
		if n%2 == 0 {
			w.WriteHeader(404)
		} else {
			s.refuse(id)
			w.WriteHeader(429)
		}
		_, _ = io.WriteString(w, `{"error":{"message":"in the midd`)
		w.(http.Flusher).Flush()
		gone(r)
	default: // no response, on a connection that stays open
		gone(r)
	}
}

// gone waits until the caller has closed the connection. net/http notices the closed
// connection only after the request body has been read.
func gone(r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// soakCodes returns the documented codes except 1xx, which are not final, and except 408
// and 429, which ServeHTTP sends in other cases.
func soakCodes() []int {
	var codes []int
	for code := range iamhttp.Codes() {
		if c := int(code); c >= 200 && c != 408 && c != 429 {
			codes = append(codes, c)
		}
	}
	return codes
}

// A soakBase counts the response bodies that are open, that were closed late, and that
// were closed twice.
type soakBase struct {
	*http.Transport
	open, late, twice atomic.Int64
}

type soakKey struct{}

func (b *soakBase) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := b.Transport.RoundTrip(req)
	if err == nil {
		b.open.Add(1)
		over, _ := req.Context().Value(soakKey{}).(*atomic.Bool)
		resp.Body = &soakedBody{ReadCloser: resp.Body, base: b, over: over}
	}
	return resp, err
}

type soakedBody struct {
	io.ReadCloser
	base   *soakBase
	over   *atomic.Bool // true once the call has returned
	closed atomic.Bool
}

func (b *soakedBody) Close() error {
	if b.closed.Swap(true) {
		b.base.twice.Add(1)
	} else {
		b.base.open.Add(-1)
	}
	if b.over.Load() { // a timer or goroutine outlived the call
		b.base.late.Add(1)
	}
	return b.ReadCloser.Close()
}

// A soakGate counts the attempts that its gate admits and the attempts that are reported to
// the gate.
type soakGate struct {
	gate.Gate
	out, back atomic.Int64
}

func (g *soakGate) Wait(ctx context.Context, r gate.Request) (gate.Ticket, error) {
	t, err := g.Gate.Wait(ctx, r)
	if err == nil {
		g.out.Add(1)
	}
	return t, err
}

func (g *soakGate) Observe(r gate.Request, t gate.Ticket, o gate.Outcome) {
	g.back.Add(1)
	g.Gate.Observe(r, t, o)
}

// A soak makes the calls and collects their outcomes.
type soak struct {
	url        string
	transports [2]*iamhttp.Transport // error mode and pass-through
	started    atomic.Int64
	ended      atomic.Int64

	mu       sync.Mutex
	outcomes map[string]int
	codes    map[iamhttp.Code]int
	wrong    []string
}

const soakAttempts = 4

// soakPatience is the upper limit of the random part of a call's timeout; the fixed part
// is 50 ms. All calls of a round end within soakPatience plus 50 ms after the last of them
// begins.
func soakPatience() time.Duration {
	return min(max(*soakTime/16, 400*time.Millisecond), 2*time.Second)
}

// call makes one call and checks its outcome.
func (s *soak) call(n int64) {
	id := fmt.Sprint("call-", n)
	over := new(atomic.Bool)
	ctx := context.WithValue(context.Background(), soakKey{}, over)
	ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond+rand.N(soakPatience()))
	defer cancel()
	if rand.IntN(10) == 0 { // some calls are canceled early
		defer time.AfterFunc(rand.N(200*time.Millisecond), cancel).Stop()
	}
	method := []string{"GET", "POST", "POST", "PUT", "DELETE"}[rand.IntN(5)]
	req, err := http.NewRequestWithContext(ctx, method, s.url, bytes.NewReader(soakBody(id)))
	if err != nil {
		panic(err)
	}
	req.Header.Set("X-Id", id)
	req.Header.Set("X-Account", fmt.Sprint(n%4))
	resp, err := s.transports[rand.IntN(2)].RoundTrip(req)
	outcome, wrong := "", ""
	var code iamhttp.Code
	var e *iamhttp.StatusError
	switch typed := errors.As(err, &e); {
	case (resp == nil) == (err == nil):
		wrong = "want either a response or an error; got neither or both"
	case resp != nil:
		code = iamhttp.Code(resp.StatusCode)
		body, readErr := io.ReadAll(resp.Body)
		resp.Body.Close()
		outcome = fmt.Sprint(int(code)/100, "xx")
		if got := resp.Header.Get("X-Request-Id"); got != id || code == 200 && readErr == nil && len(body) > 0 && string(body) != id && body[0] == 'c' {
			wrong = fmt.Sprintf("got a response with the request ID %q and the body %.50q", got, body)
		}
	case typed:
		code, outcome = e.Code, e.Stop.String()
		if e.RequestID != id && e.Attempts > 0 || e.Attempts > soakAttempts || e.Stop == iamhttp.StopUnset {
			wrong = fmt.Sprintf("wrong error: %v, with the request ID %q, after %d attempts", e, e.RequestID, e.Attempts)
		}
	case ctx.Err() != nil:
		outcome = "no response before the timeout or cancellation"
	default:
		outcome = "no response"
	}
	over.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outcomes[outcome]++
	s.codes[code]++
	if wrong != "" {
		s.wrong = append(s.wrong, id+": "+wrong)
	}
}

func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("this test takes seconds, or as long as the -soak flag states")
	}
	// With its first socket, a process also opens two files that stay open, for epoll.
	first, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, first.Close())
	const callers, rounds = 200, 4
	for _, gated := range []bool{false, true} {
		t.Run(fmt.Sprint("gate ", gated), func(t *testing.T) {
			goroutines, files := runtime.NumGoroutine(), openFiles()
			server := &soakServer{bucket: map[string]float64{"0": 1, "1": 1, "2": 1, "3": 1}, filled: time.Now()}
			srv := httptest.NewUnstartedServer(server)
			srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
			var conns atomic.Int64
			srv.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				switch state {
				case http.StateNew:
					conns.Add(1)
				case http.StateClosed, http.StateHijacked:
					conns.Add(-1)
				}
			}
			srv.Start()
			base := &soakBase{Transport: http.DefaultTransport.(*http.Transport).Clone()}
			base.MaxIdleConnsPerHost = callers
			s := &soak{url: srv.URL, outcomes: map[string]int{}, codes: map[iamhttp.Code]int{}}
			shared := &soakGate{Gate: &gate.Adaptive{}}
			for i := range s.transports {
				tr := &iamhttp.Transport{Base: base, PassThrough: i == 1, MaxAttempts: soakAttempts, MaxWait: 5 * time.Second,
					Backoff: constant(20 * time.Millisecond), RetryConnectionErrors: true}
				if gated {
					tr.Gate, tr.GateKey = shared, func(req *http.Request) string { return req.Header.Get("X-Account") }
				}
				s.transports[i] = tr
			}
			var heaps []uint64
			var answered, throttled int
			for range rounds {
				server.reset()
				round := *soakTime / 2 / rounds
				end := time.Now().Add(max(round-soakPatience(), round/2))
				var wg sync.WaitGroup
				for range callers {
					wg.Go(func() {
						for time.Now().Before(end) {
							s.call(s.started.Add(1))
							s.ended.Add(1)
							<-time.After(rand.N(20 * time.Millisecond))
						}
					})
				}
				wg.Wait()
				base.CloseIdleConnections()
				assert.Eventually(t, func() bool { return conns.Load() == 0 }, 10*time.Second, time.Millisecond, "connections were left open")
				server.mu.Lock()
				for id, n := range server.seen {
					answered++
					throttled += server.refused[id]
					if server.stored[id] > 1+server.refused[id] {
						server.wrong = append(server.wrong, fmt.Sprintf("%s: the POST was stored too often: sent %d times, stored %d times, refused %d times", id, n, server.stored[id], server.refused[id]))
					}
				}
				server.mu.Unlock()
				server.reset()
				heaps = append(heaps, heap())
			}
			srv.Close()
			// The 1 is for a goroutine that Eventually itself runs. The number of open
			// files may be lower than before, because other tests may have closed files
			// since.
			assert.Eventually(t, func() bool { return runtime.NumGoroutine() <= goroutines+1 }, 10*time.Second, time.Millisecond, "goroutines were leaked")
			assert.LessOrEqual(t, openFiles(), files, "files were left open")
			assert.Zero(t, base.open.Load(), "response bodies were left open")
			assert.Zero(t, base.late.Load(), "a response body was closed after its call returned, so a timer or goroutine outlived the call")
			assert.Equal(t, s.started.Load(), s.ended.Load(), "some calls did not return")
			assert.Equal(t, shared.out.Load(), shared.back.Load(), "the gate admitted a different number of attempts than were reported to it")
			assert.Empty(t, s.wrong)
			assert.Empty(t, server.wrong)
			assert.Positive(t, s.codes[200])
			t.Logf("%d calls, %d of them reached the server, %d responses were 408 or 429; outcomes: %v", s.ended.Load(), answered, throttled, s.outcomes)
			t.Logf("heap after each round: %d KiB; response bodies closed twice: %d", kibibytes(heaps), base.twice.Load())
			assert.Less(t, heaps[rounds-1], heaps[0]+512<<10, "the heap grew by 512 KiB or more")
			if s.codes[200] > 2000 {
				for _, code := range soakCodes() {
					assert.Positive(t, s.codes[iamhttp.Code(code)], "no call ended with status %d", code)
				}
			}
		})
	}
}

func kibibytes(n []uint64) []uint64 {
	kib := make([]uint64, len(n))
	for i := range n {
		kib[i] = n[i] >> 10
	}
	return kib
}

// openFiles returns how many files and sockets this process has open, or 0 if the system
// does not provide this information.
func openFiles() int {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(names)
}
