package gate

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/iamhttp/iamhttp/internal/fleet1"
	"github.com/iamhttp/iamhttp/internal/suspect"
)

// A service may have a limit for one endpoint only, or may refuse requests for one resource
// whatever the pace. Such refusals say nothing about the account's other requests, which
// would be sent more and more slowly because of them. If the requests to an endpoint are
// refused and the others are accepted, the endpoint therefore gets an account of its own for
// a while, and keeps it if no others are refused in the meantime. Sometimes that is a mistake.
// Little is lost then, because both accounts share the limit, as two processes do.
//
// In a fleet, the leader decides that, because the outcomes of one process prove little. The
// own account belongs to the fleet, too.

// An own account is the account of an endpoint. When it is not in use, it remains until it would
// be forgotten like any other account.
type ownAccount struct {
	*account
	suspect.Use               // in the time of the other account; lasts for longer if the own account is paused
	endpoint    uint64        // the route or resource
	began       time.Duration // when its use last began, in its own time
	others      int64         // pauses of the other account then
	armed       bool          // whether release will be called, at the end of the use or before
}

// errOwn is the result of account.wait if the request's endpoint has just got an own account, or
// no longer has one.
var errOwn = errors.New("endpoint has its own account")

// A ticket of an own account has the bit own and, if the account is that of a resource, the
// bit resource.
const (
	own      Ticket = 1 << 62
	resource Ticket = 1 << 61
)

// ownOf returns the own account that is in use for the endpoint, and the bits of its tickets,
// or nil. In a fleet, it creates the account if the leader has given one to the endpoint.
func (a *account) ownOf(e endpoint) (*ownAccount, Ticket) {
	p, shared := a.pacer.(fleet1.Shared)
	if len(a.owns) == 0 && !shared {
		return nil, 0
	}
	bits := own | resource
	for _, key := range e.Keys() {
		if shared && p.SeparateUntil(key) > a.now() {
			a.open(key)
		}
		if o := a.owns[key]; a.uses(o) {
			return o, bits
		}
		bits = own
	}
	return nil, 0
}

// uses reports whether an own account is in use, and makes sure that its waiters leave it when it
// is no longer used. If its use has proven to be right, it goes on, even if the end is now:
// otherwise, a request that comes at this moment would be refused in the other account.
func (a *account) uses(o *ownAccount) bool {
	if o == nil {
		return false
	}
	p, shared := a.pacer.(fleet1.Shared)
	if shared {
		o.Until = p.SeparateUntil(o.endpoint)
	}
	left := o.left(a.now())
	if left <= 0 && o.armed && !a.gone && !shared && a.proven(o) {
		o.Prolong(a.now(), 0)
		a.using(o)
		left = o.left(a.now())
	}
	if left > 0 && !o.armed {
		o.armed = true
		time.AfterFunc(left, func() { a.release(o) })
	}
	return left > 0
}

// left returns for how long the own account will be in use: at least until a pause or a hold is
// over, so that the service's wishes are honored. now is the time of the other account.
func (o *ownAccount) left(now time.Duration) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.gone:
		return 0
	case o.pacer == nil:
		return o.Until - now
	}
	return max(o.Until-now, o.resumes()-o.now())
}

// using records that the use of an own account begins or is prolonged.
func (a *account) using(o *ownAccount) {
	o.others = a.pauses
	o.mu.Lock()
	defer o.mu.Unlock()
	o.began = o.now()
}

// proven reports whether the use of an own account was right: requests to its endpoint were
// refused or had to wait, and meanwhile, no refusal of another request began a pause.
func (a *account) proven(o *ownAccount) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return a.pauses == o.others && max(o.throttled, o.waited) > o.began
}

// waitOwn is like wait, for a request whose endpoint had an own account. The own account is not
// told the endpoint, so it does not suspect anything.
func (a *account) waitOwn(ctx context.Context, r Request) (Ticket, error) {
	a.mu.Lock()
	o, bits := a.ownOf(r.endpoint())
	a.mu.Unlock()
	if o == nil {
		return 0, errOwn
	}
	r.Method, r.Path = "", ""
	o.flying.Add(1)
	t, err := o.wait(ctx, r)
	switch {
	case err == errForgotten:
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.owns[o.endpoint] == o {
			a.drop(o)
		}
		return 0, errOwn
	case err != nil:
		return 0, err
	}
	return t | bits, nil
}

// observeOwn observes the outcome of a request that an own account has admitted.
func (a *account) observeOwn(r Request, t Ticket, out Outcome) {
	key := r.endpoint().Route
	if t&resource != 0 {
		key = r.endpoint().Resource
	}
	a.mu.Lock()
	o := a.owns[key]
	a.mu.Unlock()
	if o == nil {
		return // it was forgotten
	}
	if t &^= own | resource; t == 0 && out.Result != Throttled && out.Result != NotSent {
		o.land(out.Result == Accepted)
	} else {
		o.observe(Request{}, t, out)
	}
	if out.Result != Throttled {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.uses(o) { // perhaps only because of the refusal
		a.moveTo(key)
	}
}

// ownsCalm reports whether all own accounts are calm.
func (a *account) ownsCalm() bool {
	for _, o := range a.owns {
		o.mu.Lock()
		calm := o.gone || o.calm()
		o.mu.Unlock()
		if !calm {
			return false
		}
	}
	return true
}

func (o *ownAccount) forgotten() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.gone
}

// refusedElsewhere observes that a request was refused that another account has admitted.
func (a *account) refusedElsewhere(o Outcome) {
	a.flying.Add(1)
	a.observe(Request{}, 0, o)
}

// move makes the waiters for which yes is true leave the account.
func (a *account) move(yes func(w *waiter) bool) {
	a.lanes.all(func(w *waiter, _ int) {
		if yes(w) {
			w.queue.remove(w)
			w.ready <- errOwn
		}
	})
}

// moveTo makes the waiters leave that have to wait in the own account with the given key.
func (a *account) moveTo(key uint64) {
	a.move(func(w *waiter) bool { return w.endpoint.Route == key || w.endpoint.Resource == key })
}

// follow makes the waiters leave that have to wait in own accounts that the fleet's leader has
// given to their endpoints.
func (a *account) follow() {
	p, shared := a.pacer.(fleet1.Shared)
	if !shared || p.Separations() == a.separated {
		return
	}
	a.separated = p.Separations()
	a.suspects.Reset()
	a.move(func(w *waiter) bool {
		o, _ := a.ownOf(w.endpoint)
		return o != nil
	})
}

// release makes all waiters leave an own account, as soon as it is no longer in use.
func (a *account) release(o *ownAccount) {
	a.mu.Lock()
	defer a.mu.Unlock()
	used := a.uses(o) // while it is armed, because its use may go on
	o.armed = false
	if used {
		a.uses(o) // release will be called again
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.move(func(*waiter) bool { return true })
}

// refusedAt takes into account that a request to e was refused, which began a pause.
func (a *account) refusedAt(now time.Duration, e endpoint) {
	if e != (endpoint{}) {
		a.heed(now, a.suspects.Refused(now, e))
	}
}

// acceptedAt takes into account that a request to an endpoint was accepted.
func (a *account) acceptedAt(now time.Duration, r Request) {
	if a.suspects.Any() {
		a.heed(now, a.suspects.Accepted(now, r.endpoint()))
	}
}

// heed does what follows from the outcomes. In a fleet, the outcomes of one process are not
// enough, and the leader compares those of all.
func (a *account) heed(now time.Duration, v suspect.Verdict) {
	c, alone := a.pacer.(fleet1.Solo)
	switch {
	case !alone:
	case v.Own:
		a.separate(now, v, c)
	case v.Acquit:
		c.Acquit(now, c.Paused())
	}
}

// row returns the latest refusals in a row. In a fleet, they are those that its leader knows about.
func (a *account) row() *suspect.Row {
	if p, shared := a.pacer.(fleet1.Shared); shared {
		if r := p.Row(); r != nil {
			return r
		}
	}
	return a.suspects.Row()
}

// mayTestify reports whether w, which is too late only because of the waiters ahead of it, may
// go ahead of them, because the latest refusals were all on another route, or of another
// resource, and nothing was accepted since or there is some evidence. If no others were sent,
// there could be none.
func (a *account) mayTestify(w *waiter, p Priority, now time.Duration) bool {
	l, row := &a.lanes[p.lane()], a.row()
	n := row.Before(w.endpoint)
	if n < 2 || w.endpoint == (endpoint{}) || w.inner || l.retries.witnesses+l.firsts.witnesses >= row.Ahead(n) || !row.Unsettled {
		return false
	}
	w.witness = true
	if _, late := a.late(w, now, 0); late {
		w.witness = false
		return false
	}
	w.before = l.firsts.head
	return true
}

// separate gives the endpoint of the latest refusal an own account. Requests that wait for this
// endpoint move to the own account, and a pause that it has caused is over for the others.
func (a *account) separate(now time.Duration, v suspect.Verdict, c fleet1.Solo) {
	a.suspects.Reset()
	if a.owns[v.Key] == nil && len(a.owns) >= suspect.MostOwn {
		if v.Acquit {
			c.Acquit(now, c.Paused())
		}
		return
	}
	o := a.open(v.Key)
	refusal := Outcome{Result: Throttled, RetryAfter: max(a.pacer.Paused()-now, 0)}
	if a.hold.until > now {
		refusal = Outcome{Result: Throttled, Limit: Limit{Reset: a.hold.until - now}}
	}
	o.refusedElsewhere(refusal)
	o.Begin(now, now-v.Since) // it may take as long again until a request to the endpoint is refused
	a.using(o)
	a.uses(o)
	a.moveTo(v.Key)
	if v.Acquit {
		for _, other := range a.owns { // what was refused lately does not count as others
			other.others = a.pauses
		}
		c.Acquit(now, max(now, a.suspects.others))
		a.hold, a.stated = hold{}, Limit{}
	}
}

// open returns the own account with the given key, and creates it if necessary.
func (a *account) open(key uint64) *ownAccount {
	o := a.owns[key]
	if o == nil || o.forgotten() {
		o = &ownAccount{endpoint: key, account: &account{gate: a.gate, key: a.key, origin: time.Now(), start: a.start}}
		o.rng = rand.New(rand.NewPCG(a.rng.Uint64(), a.rng.Uint64()))
		if a.owns == nil {
			a.owns = make(map[uint64]*ownAccount)
		}
		a.owns[key] = o
		if a.gate.fleet != nil {
			o.key, o.start = fleet1.OwnKey(a.key, key), a.gate.startWindow()
			o.mu.Lock()
			defer o.mu.Unlock()
			a.gate.owned.Store(o.key, o.account)
			o.join()
		}
	}
	return o
}

// drop removes an own account that was forgotten.
func (a *account) drop(o *ownAccount) {
	delete(a.owns, o.endpoint)
	if a.gate.fleet != nil {
		a.gate.owned.Delete(o.key)
		a.gate.fleet.Forgotten(o.key)
	}
}
