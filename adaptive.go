package iamhttp

import (
	"cmp"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/iamhttp/iamhttp/internal/bracket"
	"github.com/iamhttp/iamhttp/internal/fleet"
)

// An AdaptiveGate makes all callers of an account in this process behave like
// one polite client. It learns the account's limit from the answers: after the
// first 429 nobody sends until the service is ready to listen, then all leave
// one by one, first come, first served, at a pace that the service takes.
//
// The zero value is ready to use. An AdaptiveGate is safe for concurrent use;
// do not copy or change it after first use. One serves any number of keys, and
// any number of Transports that talk to the same accounts; keys that went
// quiet are forgotten.
//
// A request that certainly cannot leave before its context's deadline is
// refused at once, and unsent.
type AdaptiveGate struct {
	// StartWindow is how many requests of a key may be in flight before its
	// first answer; the number grows with the answers, by half in a round trip.
	// Zero means 64, a negative number any.
	StartWindow int

	// MaxPause is the longest pause that callers wait for, as MaxWait of
	// Transport is for one call; while a longer one is in force, requests are
	// refused at once. Zero or negative means 2 minutes.
	MaxPause time.Duration

	// RetryBudget is how many pauses a request that has to wait pays for, beyond
	// the 10 that are free. When more have been needed than were paid for, and
	// the service still refuses whatever comes, repeats are refused, but for the
	// first of each request. Zero means 1, a negative number no limit.
	RetryBudget float64

	fleet   fleet.Fleet // nil: the gate is on its own
	keys    sync.Map    // of the key to its *account
	live    atomic.Int64
	mu      sync.Mutex // for what follows
	sweeper *time.Timer
	swept   int64 // accounts left by the latest sweep
}

const (
	defaultStartWindow = 64
	defaultMaxPause    = 2 * time.Minute
	defaultRetryBudget = 1.0
	freePauses         = 10
	mostPauses         = 100 // that can be saved up
	mostJitter         = 250 * time.Millisecond
	longestPause       = 24 * time.Hour         // a Retry-After beyond it is a lie or a mistake
	keepQuiet          = 10 * time.Minute       // how long a key without requests is remembered
	fewAccounts        = 1024                   // that do not need a sweep before that time
	longAnswer         = 2 * time.Second        // without an answer, that the window grows without one
	trickle            = 200 * time.Millisecond // in which a StartWindow of requests is no burst
	lateResend         = 3                      // sends after which another goes first after a pause
)

var (
	errTooLate   = errors.New("it cannot leave before its deadline")
	errLongPause = errors.New("the pause is longer than MaxPause")
	errBudget    = errors.New("the retry budget is used up")
)

// Wait returns when the request may be sent. See [Gate].
func (g *AdaptiveGate) Wait(ctx context.Context, key string, resend int) (Ticket, error) {
	for {
		a := g.account(key)
		// The common case: the account is not known to be throttled and few
		// requests are in flight.
		if 2*a.flying.Add(1) <= a.window.Load() {
			return 0, nil
		}
		if t, err := a.wait(ctx, resend); err != errForgotten {
			return t, err
		}
		g.forget(key, a)
	}
}

// Observe takes the outcome of a send. See [Gate].
func (g *AdaptiveGate) Observe(key string, t Ticket, throttled bool, retryAfter time.Duration) {
	v, ok := g.keys.Load(key)
	if !ok {
		return // no Wait has returned for it
	}
	a := v.(*account)
	if t == 0 && !throttled {
		a.accept()
		return
	}
	a.observe(t, throttled, max(retryAfter, 0))
}

// account returns that of the key, new if there was none.
func (g *AdaptiveGate) account(key string) *account {
	if v, ok := g.keys.Load(key); ok {
		return v.(*account)
	}
	now := time.Now()
	fresh := &account{gate: g, key: key, origin: now, start: g.startWindow(), budget: freePauses}
	fresh.chance = rand.New(rand.NewPCG(uint64(now.UnixNano()), uint64(len(key))))
	if g.fleet != nil {
		return g.open(fresh)
	}
	fresh.window.Store(fresh.start)
	v, loaded := g.keys.LoadOrStore(key, fresh)
	if !loaded {
		g.created()
	}
	return v.(*account)
}

func (g *AdaptiveGate) startWindow() int64 {
	n := int64(cmp.Or(g.StartWindow, defaultStartWindow))
	if n < 0 || n > math.MaxInt64/2 {
		return math.MaxInt64
	}
	return 2 * n
}

func (g *AdaptiveGate) maxPause() time.Duration { return cmp.Or(max(g.MaxPause, 0), defaultMaxPause) }

// jitter is the most that a pause is made longer by at random.
func jitter(pause time.Duration) time.Duration { return min(pause/20, mostJitter) }

// created sees to it that the account will be forgotten.
func (g *AdaptiveGate) created() {
	n := g.live.Add(1)
	if n < fewAccounts && n > 1 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sweeper == nil {
		g.sweeper = time.AfterFunc(keepQuiet, g.sweepAll)
	}
	// So many keys at once are used once each, probably.
	if n >= max(fewAccounts, 2*g.swept) {
		g.sweep(true)
	}
}

func (g *AdaptiveGate) sweepAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sweeper = nil
	g.sweep(false)
	if g.live.Load() > 0 {
		g.sweeper = time.AfterFunc(keepQuiet, g.sweepAll)
	}
}

// sweep forgets the accounts that were quiet since the latest sweep or, in a
// hurry, all that have nothing to be remembered for.
func (g *AdaptiveGate) sweep(hurry bool) {
	for key, v := range g.keys.Range {
		if a := v.(*account); a.retire(hurry) {
			g.forget(key, a)
		}
	}
	g.swept = g.live.Load()
}

func (g *AdaptiveGate) forget(key any, a *account) {
	if g.keys.CompareAndDelete(key, a) {
		g.live.Add(-1)
		if g.fleet != nil {
			g.fleet.Forgotten(a.key)
		}
	}
}

// An account is what the gate knows of one key.
//
// As long as it was never throttled, and as no request waits, it is open: two
// counters are all that a request touches. Otherwise window is not positive and
// everything happens under the lock.
type account struct {
	window   atomic.Int64 // twice the requests that may be in flight; not positive: take the lock
	flying   atomic.Int64 // requests in flight that have ticket 0
	accepted atomic.Int64
	marks    [16]atomic.Int64 // when every 16th of them came, in a ring

	gate   *AdaptiveGate
	key    string
	origin time.Time // all times count from here
	start  int64     // window at the beginning

	mu      sync.Mutex
	gone    bool        // forgotten: use a new one
	slow    int64       // the window while requests wait
	pacer   fleet.Pacer // nil: never throttled
	tickets map[Ticket]bracket.Send
	ticket  Ticket
	repeats queue // before firsts: they have waited already
	firsts  queue
	spare   float64       // requests that may leave beyond the window
	spareAt time.Duration // when that was reckoned
	heard   time.Duration // when an answer came last, or a request left
	wake    *time.Timer
	wakeAt  time.Duration
	budget  float64
	chance  *rand.Rand    // no two processes are born in the same nanosecond
	refused time.Duration // when the latest pause began
	seen    int64         // accepted at the latest sweep
}

var errForgotten = errors.New("forgotten")

const marksEvery = 16

func (a *account) now() time.Duration { return time.Since(a.origin) }

// accept counts an answer to a request with ticket 0 that was not refused.
func (a *account) accept() {
	if n := a.accepted.Add(1); n%marksEvery == 0 {
		a.marks[n/marksEvery%int64(len(a.marks))].Store(int64(a.now()))
	}
	n := a.landed()
	if a.widen(n) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.pacer != nil:
		a.pacer.Accepted(a.now(), bracket.Send{})
	case a.waiting() > 0: // for the window: all of it is used, though many may have landed just now
		a.heard = a.now()
		if a.slow < math.MaxInt64 {
			a.slow++
		}
	default: // they have left meanwhile
		a.widen(n)
	}
	a.dispatch()
}

// widen makes the window wider by an answer that came when n requests were in
// flight, if half of it was used, and reports whether the account is open.
func (a *account) widen(n int64) (open bool) {
	for {
		w := a.window.Load()
		if w < 0 {
			return false
		}
		if 4*n < w || w == math.MaxInt64 || a.window.CompareAndSwap(w, w+1) {
			return true
		}
	}
}

// landed takes a request out of those in flight and returns how many they were.
func (a *account) landed() int64 {
	n := a.flying.Add(-1) + 1
	if n <= 0 { // Observe without Wait
		a.flying.Add(1)
	}
	return n
}

// wait is Wait where the open path does not do; it was counted in flight
// already.
func (a *account) wait(ctx context.Context, resend int) (Ticket, error) {
	w, err := a.enqueue(ctx, resend)
	if err != nil {
		return 0, err
	}
	select {
	case err := <-w.ready:
		return w.ticket, err
	case <-ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case err := <-w.ready: // it was let out meanwhile: the next may go instead
		if err == nil {
			a.unsend(w.ticket)
		}
	default:
		w.queue.remove(w)
	}
	a.dispatch()
	return 0, ctx.Err()
}

func (a *account) enqueue(ctx context.Context, resend int) (*waiter, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.flying.Add(-1)
	if a.gone {
		return nil, errForgotten
	}
	if w := a.window.Load(); w >= 0 { // from now on answers come through the lock
		a.slow = w
		a.window.Store(-1)
	}
	// Whatever comes of it: while it was counted in flight, another one may
	// have found the window full.
	defer a.dispatch()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if resend == 0 && a.gate.RetryBudget >= 0 {
		// Not saved up without end, but no call that waits goes unpaid.
		a.budget = min(a.budget+cmp.Or(a.gate.RetryBudget, defaultRetryBudget), mostPauses+float64(a.waiting()))
	}
	w := &waiter{ready: make(chan error, 1), resend: resend}
	if d, ok := ctx.Deadline(); ok { // by the wall clock, perhaps, which may have been set since the origin
		now := a.now()
		w.deadline, w.limited = now+min(time.Until(d), math.MaxInt64-now), true
	}
	if err := a.refuse(w); err != nil {
		return nil, err
	}
	if a.waiting() == 0 {
		a.heard = a.now()
		switch {
		case a.pacer != nil:
			a.pacer.Idle(a.now())
		case a.trickles():
			a.flying.Add(1)
			w.ready <- nil
			return w, nil
		}
	}
	if resend > 0 {
		a.repeats.push(w)
	} else {
		a.firsts.push(w)
	}
	return w, nil
}

// trickles reports whether a request may leave though the window is full. Load
// that comes over time is no burst, however many requests are in flight with
// slow answers: holding it back would make it one.
func (a *account) trickles() bool {
	now, window := a.now(), float64(a.start)/2
	a.spare = min(a.spare+(now-a.spareAt).Seconds()*window/trickle.Seconds(), window/2)
	a.spareAt = now
	if a.spare < 1 {
		return false
	}
	a.spare--
	return true
}

// refuse returns why a waiter is not let in, nil if it is.
func (a *account) refuse(w *waiter) error {
	if a.pacer == nil {
		return nil
	}
	now := a.now()
	left := a.pacer.Paused() - now
	if a.tooLong(left) {
		return &GateError{RetryAfter: left, Err: errLongPause}
	}
	if at, late := a.tooLate(w, now); late {
		return &GateError{RetryAfter: at - now, Err: errTooLate}
	}
	if w.resend > 1 && a.budget < 1 && a.gate.RetryBudget >= 0 && a.pacer.Probes() >= 3 {
		return &GateError{RetryAfter: max(left, 0), Err: errBudget}
	}
	return nil
}

// tooLong reports whether a pause is longer than MaxPause. What the gate has
// added itself does not count: Transport accepts a Retry-After of just MaxWait.
func (a *account) tooLong(pause time.Duration) bool {
	most := a.gate.maxPause()
	return pause-jitter(most) > most
}

// tooLate reports whether a waiter certainly cannot leave before its deadline,
// and until when. Those who will have given up by then are not in its way.
func (a *account) tooLate(w *waiter, now time.Duration) (until time.Duration, late bool) {
	before := []*queue{&a.repeats, &a.firsts}
	if w.resend > 0 {
		before = before[:1]
	}
	ahead := 0
	for _, q := range before {
		ahead += q.n
	}
	until = max(a.pacer.Earliest(now, ahead), now)
	if !w.limited || until < w.deadline {
		return until, false
	}
	least := 0
	for _, q := range before {
		for o := q.head; o != nil && a.pacer.Earliest(now, least) < w.deadline; o = o.next {
			if !o.limited || o.deadline >= w.deadline {
				least++
			}
		}
	}
	return until, max(a.pacer.Earliest(now, least), now) >= w.deadline
}

// unsend takes back a ticket that will not be used.
func (a *account) unsend(t Ticket) {
	if t == 0 {
		a.landed()
		return
	}
	a.pacer.Unsend(a.tickets[t])
	delete(a.tickets, t)
}

// observe is Observe for all but an accepted request with ticket 0.
func (a *account) observe(t Ticket, throttled bool, retryAfter time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	send, known := a.tickets[t]
	delete(a.tickets, t)
	switch {
	case t == 0:
		a.landed()
	case !known:
		return // observed before, or never given out
	}
	defer a.dispatch()
	if !throttled {
		a.accepted.Add(1)
		a.pacer.Accepted(now, send)
		return
	}
	retryAfter = min(retryAfter, longestPause)
	begins := a.pacer == nil
	if begins {
		h := a.history()
		h.Flying++ // the refused one
		if a.gate.fleet != nil {
			a.adopt(a.gate.fleet.Throttled(a.key, h, retryAfter))
		} else {
			a.adopt(h.Close(retryAfter))
		}
	} else {
		begins = a.pacer.Refused(now, send, retryAfter)
	}
	if begins {
		a.refused = now
		a.budget = max(a.budget-1, 0)
		// Processes that were told the same time must not come back together.
		if most := jitter(a.pacer.Paused() - now); most > 0 {
			a.pacer.Pause(a.pacer.Paused() + time.Duration(a.chance.Int64N(int64(most))))
		}
	}
	a.turnAway(now)
}

// turnAway refuses those who cannot, or would not, outlast the pause.
func (a *account) turnAway(now time.Duration) {
	until := a.pacer.Paused()
	for _, q := range []*queue{&a.repeats, &a.firsts} {
		var next *waiter
		for w := q.head; w != nil; w = next {
			next = w.next
			switch {
			case a.tooLong(until - now):
				q.remove(w)
				w.ready <- &GateError{RetryAfter: until - now, Err: errLongPause}
			case w.limited && until >= w.deadline:
				q.remove(w)
				w.ready <- &GateError{RetryAfter: until - now, Err: errTooLate}
			}
		}
	}
}

// history returns when how much was accepted, oldest first.
func (a *account) history() fleet.History {
	n := a.accepted.Load()
	var marks []bracket.Mark
	oldest := n/marksEvery - int64(len(a.marks)) + 1
	if oldest <= 0 {
		marks = append(marks, bracket.Mark{})
		oldest = 1
	}
	for i := oldest; i <= n/marksEvery; i++ {
		at := time.Duration(a.marks[i%int64(len(a.marks))].Load())
		marks = append(marks, bracket.Mark{At: at, Accepted: i * marksEvery})
	}
	now := a.now()
	return fleet.History{Now: now, Marks: append(marks, bracket.Mark{At: now, Accepted: n}), Flying: int(a.flying.Load())}
}

// dispatch lets out all whose turn has come and sees to it that it is called
// again when the next turn comes.
func (a *account) dispatch() {
	if a.pacer == nil {
		for a.waiting() > 0 && 2*a.flying.Load() < a.slow {
			a.flying.Add(1)
			a.pop().ready <- nil
			a.heard = a.now()
		}
		if a.waiting() == 0 {
			if a.slow > 0 {
				a.window.Store(a.slow)
				a.slow = 0
			}
			return
		}
		// Slow answers must not stall the others: after a while without any,
		// the window grows as if they had come.
		now := a.now()
		if now >= a.heard+longAnswer {
			a.slow += a.slow / 2
			a.heard = now
			a.dispatch()
			return
		}
		a.wakeUp(now, a.heard+longAnswer)
		return
	}
	now := a.now()
	for a.waiting() > 0 {
		if at := a.pacer.Next(now, a.waiting()); at > now {
			a.wakeUp(now, at)
			return
		}
		w := a.pop()
		a.ticket++
		w.ticket = a.ticket
		a.tickets[w.ticket] = a.pacer.Sent(now, a.waiting())
		w.ready <- nil
	}
}

func (a *account) waiting() int { return a.repeats.n + a.firsts.n }

// pop takes the next waiter out of the queue. One that was refused often does
// not have to be the first after a pause while there are others: that one is
// refused most.
func (a *account) pop() *waiter {
	q := &a.repeats
	if q.n == 0 || q.head.resend >= lateResend && a.firsts.n > 0 && a.pacer != nil && a.pacer.Probing() {
		q = &a.firsts
	}
	w := q.head
	q.remove(w)
	return w
}

func (a *account) wakeUp(now, at time.Duration) {
	if a.wake == nil {
		a.wake = time.AfterFunc(at-now, func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.wakeAt = 0
			a.dispatch()
		})
	} else if a.wakeAt == 0 || at < a.wakeAt {
		a.wake.Reset(at - now)
	} else {
		return
	}
	a.wakeAt = at
}

// retire reports whether the account is forgotten from now on.
func (a *account) retire(hurry bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	n := a.accepted.Load()
	quiet := n == a.seen
	a.seen = n
	switch {
	case a.gone, a.waiting() > 0, len(a.tickets) > 0:
		return false
	case a.pacer != nil:
		keep := max(keepQuiet, 10*a.pacer.Silence())
		if hurry || !quiet || now < a.pacer.Paused() || now-a.refused < keep {
			return false
		}
	case !quiet && !hurry, hurry && a.window.Load() != a.start:
		return false
	}
	// Whoever comes after this takes the lock, and finds it gone.
	window := a.window.Swap(-1)
	if a.flying.Load() > 0 {
		a.window.Store(window)
		return false
	}
	a.gone = true
	if a.wake != nil {
		a.wake.Stop()
	}
	return true
}

// A waiter is one call of Wait that was not let out at once.
type waiter struct {
	ready      chan error // gets the one answer
	ticket     Ticket     // valid once ready has nil
	resend     int
	deadline   time.Duration
	limited    bool
	queue      *queue
	prev, next *waiter
}

// A queue holds waiters, first in, first out.
type queue struct {
	head, tail *waiter
	n          int
}

func (q *queue) push(w *waiter) {
	w.queue, w.prev = q, q.tail
	if q.tail == nil {
		q.head = w
	} else {
		q.tail.next = w
	}
	q.tail = w
	q.n++
}

func (q *queue) remove(w *waiter) {
	if w.prev == nil {
		q.head = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.tail = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next = nil, nil
	q.n--
}
