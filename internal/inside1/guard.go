package inside1

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"sync/atomic"

	"github.com/iamhttp/iamhttp/internal/chain"
	"github.com/iamhttp/iamhttp/internal/target"
)

// Guard returns what the Base of a Transport should be if its requests are to go to rt: rt
// itself or, if rt might secretly pass the requests back to the Transport, a RoundTripper
// that returns an error in this case.
func Guard(rt http.RoundTripper) http.RoundTripper {
	if isOpaque(rt) {
		return &guard{rt}
	}
	return rt
}

// A guard is the Base of a Transport. If the RoundTripper below passes a request back to
// the Transport, the guard returns an error, because the request would otherwise go around
// forever.
type guard struct{ Below http.RoundTripper } // exported, so that Slots finds it

var errLoop = errors.New("iamhttp: the client's RoundTripper leads back to the Transport that was put into the client; use another Transport")

func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if g.isLoop(req) {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, errLoop
	}
	p := &pass{Context: req.Context(), by: g}
	p.request = *req.WithContext(p)
	defer p.over.Store(true)
	return g.Below.RoundTrip(&p.request)
}

// A pass is a request that a guard is passing on, and the context of that request. One
// allocation holds both. The mark is in the context of the attempt, because a RoundTripper
// may send a request several times at once.
type pass struct {
	context.Context
	request http.Request
	by      *guard
	over    atomic.Bool // whether RoundTrip has returned; the context may then be used for another request
}

type passKey struct{}

func (p *pass) Value(key any) any {
	if key == (passKey{}) {
		return p
	}
	return p.Context.Value(key)
}

// isLoop reports whether req has come back to g.
func (g *guard) isLoop(req *http.Request) bool {
	passes := 0
	for ctx := req.Context(); ; {
		p, ok := ctx.Value(passKey{}).(*pass)
		if !ok {
			return passes >= mostPasses || isDeep() && chain.Depth(1) > mostDepth
		}
		if p.by == g && !p.over.Load() {
			if passes++; target.Same(&p.request, req) {
				return true
			}
		}
		ctx = p.Context
	}
}

const (
	mostPasses = 10  // how often a guard may get a request with another method or URL back, as one for a token may come
	mostCalls  = 200 // the depth of the stack from which on mostDepth applies
	mostDepth  = 5   // how many guards may be on the stack, in case that a context without the pass has replaced the request's
)

// isDeep reports whether the stack is so deep that the same functions may be calling each
// other forever.
func isDeep() bool {
	var pc [1]uintptr
	return runtime.Callers(mostCalls, pc[:]) > 0
}

// CloseIdleConnections closes the idle connections of the RoundTripper below.
func (g *guard) CloseIdleConnections() {
	if c, ok := g.Below.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// WrappedRoundTripper returns the RoundTripper below, by Kubernetes convention.
func (g *guard) WrappedRoundTripper() http.RoundTripper { return g.Below }
