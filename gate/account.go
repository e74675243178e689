package gate

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/iamhttp/iamhttp/internal/fleet1"
)

const (
	maxJitter    = 250 * time.Millisecond // the largest random delay that is added to a pause or a hold
	longestPause = 24 * time.Hour         // upper bound of Retry-After; a longer one is assumed to be a mistake
	longAnswer   = 2 * time.Second        // time without a response after which the window grows nevertheless
	shortAnswer  = 50 * time.Millisecond  // lower bound of the estimate that gaveUp doubles
	windowShare  = 4                      // share of its time that a request with a deadline waits for room in the window
	trickle      = 200 * time.Millisecond // shortest time over which StartWindow requests are not a burst

	// The history covers more than a minute at any rate up to 10,000 requests per second.
	ring       = 16 // marks per level
	levels     = 4  // each level keeps every 16th mark of the previous level
	marksEvery = 16 // accepted requests per mark on the first level
)

var errForgotten = errors.New("account was forgotten")

// An account holds what the gate knows about one key.
//
// An account is open as long as it has no pacer and no request is waiting. For an open
// account, Wait takes no lock unless the window is full, and Observe takes none unless
// the request was throttled or not sent; both only update atomic fields. If an account is
// not open, window is not positive, and Wait and Observe take the lock.
//
// No wake-up can be lost, because a waiter makes window negative before it reads flying,
// and a response decrements flying before it reads window.
type account struct {
	window   atomic.Int64 // twice the number of requests that may be in flight; if it is not positive, take the lock
	entering atomic.Int64 // number of requests counted in flying that are still waiting for the lock
	flying   atomic.Int64 // number of requests in flight with ticket 0, plus those in entering
	accepted atomic.Int64
	failed   atomic.Int64               // number of requests with ticket 0 that were not sent, or whose outcome is Unknown
	marks    [levels][ring]atomic.Int64 // times at which every 16th, every 256th, ... request was accepted
	trip     atomic.Int64               // how long recent accepted requests took whose tickets were sampled, smoothed; 0: not known

	gate   *Adaptive
	key    string
	origin time.Time // all other times in the account are durations since origin
	start  int64     // initial value of window

	mu         sync.Mutex
	gone       bool         // whether the account was forgotten, so that callers must get a new one
	slow       int64        // replaces window while requests wait
	pacer      fleet1.Pacer // decides when requests are sent; nil until a request is throttled, here or elsewhere in the fleet
	tickets    map[Ticket]sent
	ticket     Ticket
	lanes      lanes
	inner      queue         // inner requests, which are sent before all others
	patience   time.Duration // how long recently canceled waiters without a deadline had waited, smoothed
	canceledAt time.Duration // when such a waiter was last canceled
	given      time.Duration // how long recent requests that got no response had waited for one
	givenAt    time.Duration // when given was last increased
	took       time.Duration // how long a response takes, smoothed
	spread     time.Duration // how far response times are from took, smoothed
	answeredAt time.Duration // latest time at which a request was sent that was then accepted; ticket 0 does not count
	sentAt     time.Duration // when a turn was last used
	turned     int           // number of requests canceled or refused as too late since a turn was last used
	missed     int           // number of such requests until then, since the first request after the latest pause was sent; see demand
	far        int           // how many of these were refused because the next turn is far away
	came       int           // number of requests with a deadline that arrived since turnAway last checked all waiters
	checked    time.Duration // end of the pause for which turnAway last checked all waiters
	overloads  [len(lanes{})]overload
	operations operations
	spare      float64       // number of requests that may be sent although the window is full
	spareAt    time.Duration // when spare was computed
	earlier    count         // a count from before latest; see discount
	latest     count         // of the latest arrival that found the window full
	heard      time.Duration // time from which longAnswer is counted
	wake       *time.Timer
	wakeAt     time.Duration
	rng        *rand.Rand
	throttled  time.Duration // when a 429, here or elsewhere in the fleet, last began a pause or, in a fleet, lengthened one
	waited     time.Duration // time until which the pacer last made a request wait, or at which one was last refused
	refused    int64         // number of requests that were refused when they arrived
	pauses     int64         // number of pauses that were begun by a refusal of a request whose endpoint has no own account
	seen       int64         // accepted plus ticket plus refused at the latest sweep
	stated     Limit         // the latest stated limit; outside a fleet, only one that the controller did not ignore
	early      int           // number of stated ends well before which a request was accepted, less those before which one was refused again
	tried      int           // number of trials since one was accepted
	used       hold          // the latest hold with a window
	hold       hold          // keeps requests back until the end of the service's window, if the service stated that end
	suspects   suspects
	owns       map[uint64]*ownAccount // the own accounts of endpoints, by route or resource
	separated  int                    // Separations of the pacer when the waiters last left for own accounts
}

// A sent is an admitted request whose outcome is not known yet.
type sent struct {
	fleet1.Send
	at    time.Duration
	inner bool // whether it is an inner request in a fleet, whose leader does not know about it
}

// A count is the number of requests in flight at some time, and of those that had ended by
// then.
type count struct {
	at            time.Duration
	flying, ended int64
}

func (a *account) now() time.Duration { return time.Since(a.origin) }

func (a *account) waiting() int { return a.lanes.waiting() }

// A sampled ticket is that of an open account's request whose response is timed. The rest
// of the ticket is the time at which the request was sent. Apart from that, it is treated
// like ticket 0.
const sampled Ticket = 1 << 63

// sample returns the ticket of a request that is sent now. To read the clock for every
// request would double the cost of Wait, so requests are timed only after every 16th
// response.
func (a *account) sample() Ticket {
	if a.accepted.Load()%marksEvery != 0 {
		return 0
	}
	return sampled | Ticket(a.now()) //nolint:gosec // a.now() is not negative
}

// timed records how long an accepted request with a sampled ticket took. A long poll must
// not hide how long other requests take. Concurrent calls may overwrite each other's
// results.
func (a *account) timed(t Ticket) {
	took, trip := int64(a.now())-int64(t&^sampled), a.trip.Load() //nolint:gosec // the rest of the ticket is 63 bits
	if trip > 0 {
		took = trip + (min(took, 2*trip+int64(time.Millisecond))-trip)/4
	}
	a.trip.Store(max(took, 1))
}

// land observes that a request with ticket 0 was accepted (known is true) or that its
// outcome is Unknown.
func (a *account) land(known bool) {
	if known {
		if n := a.accepted.Add(1); n%marksEvery == 0 {
			a.note(n)
		}
	} else {
		a.failed.Add(1)
	}
	n := a.landed()
	if known && a.widen(n) || !known && a.window.Load() >= 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.pacer != nil && known:
		a.pacer.Accepted(a.now(), fleet1.Send{})
	case a.pacer != nil:
		a.pacer.Unknown(a.now(), fleet1.Send{})
	case a.waiting() > 0: // requests wait, so the window was full, even if many requests have just landed
		a.heard = a.now()
		if known && a.slow < math.MaxInt64 {
			a.slow++
		}
	case known: // no request waits any longer
		a.widen(n)
	}
	a.dispatch()
}

// widen grows the window for a response that arrived while n requests were in flight, if
// at least half of the window was in use. The result is true if the account is open.
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

// landed decrements the in-flight count and returns its previous value.
func (a *account) landed() int64 {
	n := a.flying.Add(-1) + 1
	if n <= 0 { // Observe was called without Wait
		a.flying.Add(1)
	}
	return n
}

// wait is the slow path of Wait. The caller has already incremented flying. The error is
// errForgotten if the account was forgotten, and errOwn if the request has to wait in an own
// account, or no longer in this one.
func (a *account) wait(ctx context.Context, r Request) (Ticket, error) {
	a.entering.Add(1)
	w, err := a.enqueue(ctx, r, inner())
	if err != nil {
		if w != nil && w.held > 0 {
			err = tell(ctx, err, w.held)
		}
		return 0, err
	}
	var due <-chan time.Time
	if w.early && w.limited {
		t := time.NewTimer((w.deadline - w.since) / windowShare)
		defer t.Stop()
		due = t.C
	}
	for {
		select {
		case err := <-w.ready:
			return w.ticket, err
		case <-due:
			a.hurry(w)
			continue
		case <-ctx.Done():
		}
		break
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case err := <-w.ready: // already admitted or refused; if admitted, its turn goes to another request
		if err == nil {
			a.unsend(w.ticket)
		}
	default:
		a.lostPatience(w)
		if w.queue.remove(w); w.queue != &a.inner && a.pacer != nil {
			a.turned++
		}
	}
	a.dispatch()
	return 0, ctx.Err()
}

// hurry sends a waiter although the window is full, unless the account has been throttled
// in the meantime. Without a 429, there is no reason to let it miss its deadline.
func (a *account) hurry(w *waiter) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pacer != nil || len(w.ready) > 0 {
		return
	}
	w.queue.remove(w)
	a.flying.Add(1)
	w.ready <- nil
	a.dispatch()
}

// enqueue makes a request wait. If the request is refused instead, it returns an error and,
// unless the context has ended or the account was forgotten, a waiter that does not wait.
func (a *account) enqueue(ctx context.Context, r Request, inner bool) (*waiter, error) {
	e := r.endpoint() // without the lock, because it takes time
	a.mu.Lock()
	defer a.mu.Unlock()
	a.flying.Add(-1)
	a.entering.Add(-1)
	if a.gone {
		return nil, errForgotten
	}
	if a.calm() { // start over
		a.gone = true
		if a.wake != nil {
			a.wake.Stop()
		}
		return nil, errForgotten
	}
	if o, _ := a.ownOf(e); o != nil {
		return nil, errOwn
	}
	if w := a.window.Load(); w >= 0 { // from now on, responses take the lock
		a.slow = w
		a.window.Store(-1)
	}
	// Dispatch even if this request is refused: while it was counted in flight, another
	// request may have found the window full.
	defer a.dispatch()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w := &waiter{ready: make(chan error, 1), resend: r.Resend, maxWait: r.MaxWait, since: a.now(), endpoint: e, inner: inner}
	if d, ok := ctx.Deadline(); ok { // not d.Sub(a.origin), because the wall clock may have been set since
		now := a.now()
		w.deadline, w.limited = now+min(time.Until(d), math.MaxInt64-now), true
		w.operation = d.UnixNano()
		w.begun = a.operations.begun(w.operation)
	}
	p := priority(ctx)
	if err := a.refuse(w, p); err != nil {
		a.refused++
		a.waited = a.now()
		if !inner && errors.Is(err, ErrDeadline) {
			a.turned++
		}
		return w, err
	}
	if inner {
		a.inner.push(w)
		return w, nil
	}
	if a.waiting() == 0 {
		a.heard, a.overloads = a.now(), [len(lanes{})]overload{}
		if a.pacer != nil {
			a.pacer.Idle(a.now())
		} else if a.discount(); 2*a.flying.Load() >= a.slow && a.trickles() {
			a.flying.Add(1)
			w.ready <- nil
			return w, nil
		}
	}
	w.early = a.pacer == nil
	a.lanes.push(w, p)
	return w, nil
}

// calmAfter and calmSilences determine after how long without a refusal or a wait an
// account that was throttled counts as calm.
const (
	calmAfter    = 2 * time.Minute
	calmSilences = 4
)

// calm reports whether, for a long time, no request was refused or had to wait. The limit,
// or an outage that looked like one, may have changed since. A burst that is sent as if
// nothing were known finds that out sooner than one that is paced, or refused for lack of
// time, according to old figures.
func (a *account) calm() bool {
	// Read entering before flying, because in between, another request may be counted in both.
	if a.pacer == nil || a.gate.fleet != nil || a.waiting()+a.inner.n+len(a.tickets) > 0 || a.entering.Load() < a.flying.Load() {
		return false
	}
	return a.now()-max(a.throttled, a.waited, a.resumes()) > max(calmAfter, calmSilences*a.pacer.Silence()) && a.ownsCalm()
}

// discount widens a window that was found full, so that requests that have been in flight
// for at least longAnswer do not use it up. At least as many are still in flight as were
// then, less all those that have ended since.
func (a *account) discount() {
	now := count{at: a.now(), ended: a.accepted.Load() + a.failed.Load()}
	now.flying = a.flying.Load() - a.entering.Load()
	if now.at-a.latest.at >= longAnswer {
		a.earlier = a.latest
	}
	if now.at-a.earlier.at >= longAnswer {
		a.slow = max(a.slow, a.start+2*(a.earlier.flying-(now.ended-a.earlier.ended)))
		a.earlier = a.latest
	}
	a.latest = now
}

// trickles reports whether a request may be sent although the window is full. If so, it
// counts the request against spare. Requests that are spread over time are not a burst,
// even if slow responses keep many of them in flight. Holding them back would turn them
// into a burst.
func (a *account) trickles() bool {
	now, window := a.now(), float64(a.start)/2
	a.spare = min(a.spare+(now-a.spareAt).Seconds()*window/trickle.Seconds(), max(window/2, 1))
	a.spareAt = now
	if a.spare < 1 {
		return false
	}
	a.spare--
	return true
}

// unsend takes back a ticket whose request will not be sent.
func (a *account) unsend(t Ticket) {
	if t == 0 {
		a.failed.Add(1)
		a.landed()
		if a.pacer != nil {
			a.pacer.Unsend(fleet1.Send{})
		}
		return
	}
	if s := a.tickets[t]; !s.inner {
		a.pacer.Unsend(s.Send)
	}
	delete(a.tickets, t)
}

// observe implements Observe, except for the outcomes with ticket 0 that land handles.
func (a *account) observe(r Request, t Ticket, o Outcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	s, known := a.tickets[t]
	if t != 0 && !known {
		return // the ticket's outcome was already observed, or the ticket was never issued
	}
	defer a.dispatch()
	if o.Result == NotSent {
		a.unsend(t)
		return
	}
	delete(a.tickets, t)
	if t == 0 {
		a.landed()
	}
	switch o.Result {
	case Throttled:
		if s.inner { // this pauses all processes
			a.pacer.Refused(now, fleet1.Send{}, min(max(o.RetryAfter, 0), longestPause))
			a.throttled = now
			a.turnAway(now)
			return
		}
		if own, _ := a.ownOf(r.endpoint()); own != nil { // since the request was sent
			a.pacer.Unknown(now, s.Send)
			own.refusedElsewhere(o)
			return
		}
	case Accepted:
		a.accepted.Add(1)
		if !s.inner {
			a.pacer.Accepted(now, s.Send)
			a.heardAfter(now, s)
			a.acceptedAt(now, r)
		}
		if t > a.hold.ticket { // the service accepts requests although its stated window has not ended
			if left := a.hold.stated - now; left > time.Second && left > (a.hold.stated-a.hold.from)/8 {
				a.early, a.hold.stated = min(a.early+1, mostEarly), 0
			}
			if a.hold.until > now {
				a.tried = 0
			}
			a.hold.until = 0
		}
		return
	default: // Unknown, or not defined
		if !s.inner {
			a.pacer.Unknown(now, s.Send)
			a.gaveUp(now, s)
		}
		return
	}
	retryAfter := min(max(o.RetryAfter, 0), longestPause)
	begins := a.pacer == nil
	if begins {
		h := a.history()
		h.Flying++ // count the throttled request too
		if a.gate.fleet != nil {
			a.adopt(a.gate.fleet.Throttled(a.key, h, retryAfter, r.endpoint()))
		} else {
			a.adopt(h.Close(retryAfter))
		}
	} else {
		s.To = r.endpoint() // also for ticket 0
		begins = a.pacer.Refused(now, s.Send, retryAfter)
	}
	a.state(now, o, begins)
	if !begins {
		a.suspects.refusedToo(now, r.endpoint(), now+retryAfter)
	}
	if begins {
		a.throttled = now
		e := r.endpoint()
		if a.owns[e.Route] == nil && a.owns[e.Resource] == nil {
			a.pauses++
		}
		a.refusedAt(now, e)
		// Processes that received the same Retry-After must not resume at the same
		// moment.
		if most := jitter(a.pacer.Paused() - now); most > 0 {
			a.pacer.Pause(a.pacer.Paused() + time.Duration(a.rng.Int64N(int64(most))))
		}
	}
	if c, alone := a.pacer.(fleet1.Solo); begins && alone && c.Probes() > 1 && retryAfter > 0 {
		c.Hasten(a.soonest(now + retryAfter))
	}
	// Many 429s may arrive together, and each of them makes the pause a little longer.
	if begins || a.pacer.Paused() > a.checked+time.Duration(a.waiting())*time.Microsecond {
		a.turnAway(now)
	}
}

// note records when the nth request was accepted.
func (a *account) note(n int64) {
	now := int64(a.now())
	for level, every := 0, int64(marksEvery); level < levels && n%every == 0; level, every = level+1, every*ring {
		a.marks[level][n/every%ring].Store(now)
	}
}

// history returns how many requests had been accepted at various times, oldest first.
func (a *account) history() fleet1.History {
	n := a.accepted.Load()
	var marks []fleet1.Mark // latest first
	before := n + 1
	for level, every := 0, int64(marksEvery); level < levels; level, every = level+1, every*ring {
		oldest := n/every - ring + 1
		for i := (before - 1) / every; i >= max(oldest, 1); i-- {
			at := time.Duration(a.marks[level][i%ring].Load())
			marks = append(marks, fleet1.Mark{At: at, Accepted: i * every})
			before = i * every
		}
		if oldest <= 0 {
			marks = append(marks, fleet1.Mark{})
			break
		}
	}
	slices.Reverse(marks)
	now := a.now()
	return fleet1.History{
		Now: now, Marks: append(marks, fleet1.Mark{At: now, Accepted: n}), Flying: int(max(a.flying.Load()-a.entering.Load(), 0)),
		Trip: time.Duration(a.trip.Load()),
	}
}

// dispatch sends all requests whose turn has come, and schedules itself for the next
// turn.
func (a *account) dispatch() {
	now := a.now()
	a.endHold(now)
	a.dispatchInner(now)
	if a.pacer == nil {
		a.dispatchWindow(now)
		return
	}
	for a.waiting() > 0 {
		var free [len(lanes{})]*waiter
		at := now
		if a.pacer.Paused() <= now { // nothing is sent during a pause, whether or not there is a hold
			free, at = a.free(now)
		}
		if at <= now {
			a.rank()
			at = a.pacer.Next(now, a.demand())
			if at > now && a.holdWindow(now) {
				continue
			}
			at = a.trial(now, at)
		}
		if at > now {
			a.waited = at
			a.wakeUp(now, at)
			return
		}
		var w *waiter
		var turn int
		if a.hold.until > now {
			turn = a.lanes.next(func(i int) bool { return free[i] != nil })
			w = free[turn]
			w.queue.remove(w)
		} else {
			turn = a.lanes.turn()
			w = a.suspects.instead(a.lanes[turn].head(a.pacer.Probing()), &a.lanes[turn], a.row())
			w.queue.remove(w)
		}
		if a.hold.until <= now && a.shouldDefer(w, now) {
			w.deferred = true
			w.queue.push(w)
			continue
		}
		// A waiter that is too late gives up its turn to the next waiter. The only
		// waiter, however, is sometimes sent even if it is too late, because responses
		// may have become faster.
		if w.limited && w.deadline-now < a.answeredFor(w) && (a.waiting() > 0 || !a.tries(w, now)) {
			a.turned++
			a.overloads[w.lane].late(now)
			w.ready <- &Error{Err: ErrDeadline}
			continue
		}
		a.lanes.took(turn)
		if a.missed += a.turned; a.pacer.Probing() {
			a.missed = 0
		}
		a.ticket++
		w.ticket = a.ticket
		// Requests that were refused as too late or canceled count as demand, just like
		// waiting requests.
		s := sent{Send: a.pacer.Sent(now, a.waiting()+a.turned), at: now}
		s.To = w.endpoint
		a.tickets[w.ticket] = s
		a.turned, a.far, a.sentAt = 0, 0, now
		if w.limited && w.resend == 0 {
			a.operations.sent(w.operation)
		}
		w.ready <- nil
	}
}

// demand returns the number of waiters and, if no other process shares the pacer, of the
// callers that have given up since the latest pause ended: others may come in their place.
// A leader, however, hands out turns for requests that are waiting.
func (a *account) demand() int {
	if _, alone := a.pacer.(fleet1.Solo); alone {
		return a.waiting() + a.missed + a.turned
	}
	return a.waiting()
}

// rank tells the pacer how many requests of each priority wait, and how many callers have given
// up, if the pacer needs to know.
func (a *account) rank() {
	if p, shared := a.pacer.(fleet1.Shared); shared {
		var waiting fleet1.Lanes
		for i := range a.lanes {
			waiting[i] = a.lanes[i].waiting()
		}
		p.Ranked(waiting, a.missed+a.turned)
	}
}

// dispatchWindow is dispatch for an account that has never been throttled.
func (a *account) dispatchWindow(now time.Duration) {
	for a.waiting() > 0 {
		for ; a.waiting() > 0 && 2*a.flying.Load() < a.slow; a.heard = now {
			a.flying.Add(1)
			w, turn := a.lanes.pop(false)
			a.lanes.took(turn)
			w.ready <- nil
		}
		if a.waiting() == 0 {
			break
		}
		if now < a.heard+longAnswer {
			a.wakeUp(now, a.heard+longAnswer)
			return
		}
		// Slow responses must not stall other requests, so the window grows as if the
		// responses had arrived. Requests that were spread over time may exceed it by far.
		a.slow = max(a.slow+a.slow/2, 2*(a.flying.Load()-a.entering.Load())+a.start/2)
		a.heard = now
	}
	if a.slow > 0 {
		a.window.Store(a.slow)
		a.slow = 0
	}
}

func (a *account) wakeUp(now, at time.Duration) {
	switch {
	case a.wake == nil:
		a.wake = time.AfterFunc(at-now, func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.wakeAt = 0
			a.dispatch()
		})
	case a.wakeAt == 0 || at < a.wakeAt:
		a.wake.Reset(at - now)
	default:
		return
	}
	a.wakeAt = at
}

// adopt makes p the account's pacer.
func (a *account) adopt(p fleet1.Pacer) {
	if a.tickets == nil {
		a.window.Store(-1)
		a.tickets = make(map[Ticket]sent)
	}
	a.pacer = p
}

// visit lets the fleet replace the account's pacer. It returns false if the account was
// forgotten.
func (a *account) visit(v fleet1.Visitor) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gone {
		return false
	}
	paused := a.now()
	if a.pacer != nil {
		paused = max(paused, a.pacer.Paused())
	}
	a.rank()
	p := v(a.now(), a.pacer, a.waiting(), a.history)
	if p == nil {
		return true
	}
	a.adopt(p)
	if p.Paused() > paused {
		a.throttled = a.now()
		a.turnAway(a.throttled)
	}
	a.follow()
	a.dispatch()
	return true
}

func (a *account) stats() (Stats, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := Stats{Waiting: a.waiting() + a.inner.n, Flying: int(max(a.flying.Load()-a.entering.Load(), 0)) + len(a.tickets)}
	for _, o := range a.owns {
		more, _ := o.stats()
		s.Waiting += more.Waiting
		s.Flying += more.Flying
	}
	if a.pacer != nil {
		now := a.now()
		s.Throttled, s.Pace, s.Pause = true, a.pacer.Pace(), max(a.resumes()-now, 0)
		if a.pacer.Believed() {
			s.Limit = a.stated
		}
	}
	return s, !a.gone
}
