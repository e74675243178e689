package gate

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// Adaptive is a [Gate] that makes all callers of an account in this process behave like
// one polite client. It learns the account's limit from the responses. After a 429, all
// requests of the account pause until Retry-After has elapsed. They are then sent at a
// pace that the service accepts, in order of [Priority] and arrival; retries, and up to
// 24 requests with the same deadline as one that was sent, usually go before other
// requests of the same priority, but a request that has been sent four times waits in order
// of arrival. A request that would miss its deadline overtakes others that have plenty of
// time. While callers without a deadline give up, requests that have waited about as long
// yield to newer ones. A Retry-After of more than 24 hours counts as 24 hours.
//
// Requests whose Method and Path are set are also compared by endpoint, which is the method
// and the path or, without what looks like an ID in the path, a route. If requests to one
// endpoint are refused several times and others are accepted, the endpoint is treated like an
// account of its own for a minute or more. A pause of one then does not apply to the other.
// In a fleet, the outcomes of all processes count, and the own account is shared, too.
//
// The zero value is ready to use. An Adaptive is safe for concurrent use; do not copy or
// change it after first use. It can serve any number of keys and any number of Transports
// that use the same accounts. It forgets keys that have not been used for 10 to 20 minutes
// or, after a long Retry-After, ten times as long as that; sooner if there are thousands.
// It forgets what it has learned about a key if no request was refused or had to wait for at
// least two minutes. In tests with testing/synctest, use an Adaptive in one bubble only, and
// not outside of it.
//
// As soon as the gate expects a response to miss the deadline of its request's context,
// the request usually fails without being sent. If requests have failed like this for a
// while, a first attempt also fails if it would wait for more than a quarter of the time
// that it has left. The error is held back for a fiftieth of that time or, if the callers
// seem to be workers that each wait for their previous call, for up to nine tenths; with
// priority [Interactive], it is not held back. While a RoundTripper below the Transport
// handles a request, it may send another one through the same gate, with an http.Client
// and on the same goroutine, for example to get a token. That request gets the next turn.
type Adaptive struct {
	// StartWindow limits how many requests of a key are in flight before the first 429.
	// Requests that are spread over time may exceed it, and so may those that a
	// RoundTripper below the Transport sends (see the comment on Adaptive). In a new burst,
	// requests in flight for two seconds usually do not count. The window grows by up to
	// half with each round trip, or after two seconds without a response, and never shrinks.
	// A request with a deadline waits for room for at most a quarter of the time it has.
	// Zero means 64; negative means unlimited.
	StartWindow int

	fleet    fleet1.Fleet // the fleet that the gate belongs to; nil: none
	accounts sync.Map     // maps each key to its *account
	owned    sync.Map     // in a fleet, maps the key of each endpoint's own account to its *account
	live     atomic.Int64 // number of accounts
	mu       sync.Mutex   // guards the fields below
	sweeper  *time.Timer
	swept    int64 // number of accounts left after the latest sweep
}

// Wait blocks until the request may be sent. See [Gate].
func (g *Adaptive) Wait(ctx context.Context, r Request) (Ticket, error) {
	for {
		a := g.account(r.Key)
		// The common case: the account is not known to be throttled, no request waits, and
		// the window is not full.
		if 2*a.flying.Add(1) <= a.window.Load() {
			return a.sample(), nil
		}
		t, err := a.wait(ctx, r)
		if err == errOwn {
			t, err = a.waitOwn(ctx, r)
		}
		switch err {
		case errForgotten:
			g.forget(r.Key, a)
		case errOwn: // and that has been forgotten in the meantime
		default:
			return t, err
		}
	}
}

// Observe reports the outcome of a request that Wait admitted. See [Gate].
func (g *Adaptive) Observe(r Request, t Ticket, o Outcome) {
	v, ok := g.accounts.Load(r.Key)
	if !ok {
		return // the key is unknown, or was forgotten
	}
	a := v.(*account)
	if t&own != 0 {
		a.observeOwn(r, t, o)
		return
	}
	if t&sampled != 0 {
		if o.Result == Accepted {
			a.timed(t)
		}
		t = 0
	}
	if t == 0 && o.Result != Throttled && o.Result != NotSent {
		a.land(o.Result == Accepted)
		return
	}
	a.observe(r, t, o)
}

// Stats is a snapshot of what an [Adaptive] knows about one account. Use it for
// dashboards and logs.
type Stats struct {
	Throttled bool          // whether any request of this account has been throttled
	Pace      float64       // requests sent per second while requests are waiting; 0: not known yet
	Pause     time.Duration // time until the current pause, or a window that the service stated, ends; 0: neither is in force
	Waiting   int           // requests that are waiting to be sent
	Flying    int           // requests that were admitted but not yet reported to Observe

	// Limit is the limit that the service stated most recently, not counting implausible
	// ones; only Requests, Per and Policy are set. It is zero if the service has not
	// stated a number of requests per window, or if outcomes contradict the stated limit.
	Limit Limit
}

// Stats returns what the gate knows about the account with the given key. The second
// result is false if the gate does not know the key.
func (g *Adaptive) Stats(key string) (Stats, bool) {
	v, ok := g.accounts.Load(key)
	if !ok {
		return Stats{}, false
	}
	return v.(*account).stats()
}

// All iterates over the keys that the gate knows and their Stats, in no particular order.
// It may miss keys that are added or forgotten during the iteration.
func (g *Adaptive) All() iter.Seq2[string, Stats] {
	return func(yield func(string, Stats) bool) {
		for key, v := range g.accounts.Range {
			if s, ok := v.(*account).stats(); ok && !yield(key.(string), s) {
				return
			}
		}
	}
}

// Join is for package redisgate only; its types are internal and change without notice.
// It makes the gate, which must not be in use yet, a member of a fleet. The fleet calls
// visit to inspect or change a key's account; visit reports whether the account exists.
func (g *Adaptive) Join(f fleet1.Fleet) (visit func(key string, v fleet1.Visitor) bool) {
	g.fleet = f
	return func(key string, v fleet1.Visitor) bool {
		known, ok := g.accounts.Load(key)
		if !ok {
			known, ok = g.owned.Load(key)
		}
		return ok && known.(*account).visit(v)
	}
}
