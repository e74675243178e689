package gate

import (
	"slices"
	"time"

	"github.com/iamhttp/iamhttp/internal/suspect"
)

// A waiter is a call to Wait that takes the slow path. It waits in account.wait; refuse.go
// contains the rules for refusing it.
type waiter struct {
	ready      chan error // receives the result, at most once
	ticket     Ticket     // valid after ready has delivered nil
	resend     int
	maxWait    time.Duration // longest pause to wait out; 0: no limit
	since      time.Duration
	deadline   time.Duration
	limited    bool          // whether deadline is set
	held       time.Duration // for how long its refusal is held back: see telling
	operation  int64         // the context's deadline in Unix nanoseconds; valid if limited
	lane       int           // index of its lane
	endpoint   endpoint      // zero for a request of an own account
	begun      bool          // whether it continues an operation: see operations
	deferred   bool          // whether it has been put behind the others: see account.shouldDefer
	witness    bool          // whether it waits although it is too late behind requests to another endpoint: see account.mayTestify
	early      bool          // whether it began to wait before the first 429
	inner      bool          // whether it is an inner request, which is sent before all others
	before     *waiter       // the first waiter that it overtakes: see account.mayOvertake; nil: none
	queue      *queue
	prev, next *waiter
}

// first reports whether the waiter's request is neither a retry nor the continuation of an
// operation.
func (w *waiter) first() bool { return w.resend == 0 && !w.begun }

// goesFirst reports whether the waiter's request is sent before those that came earlier,
// because requests would otherwise have been in vain. That does not apply to a late retry: the
// service may not accept it for a while, whatever the pace. If it went first after each
// pause, few others would be sent.
func (w *waiter) goesFirst() bool { return !w.first() && w.resend < lateResend }

// A queue holds waiters in first-in, first-out order.
type queue struct {
	head, tail *waiter
	look       *waiter // the first waiter that account.free has not passed over
	other      *waiter // the first waiter that outside has not passed over
	version    uint64  // the version of the routes to which those that it has passed over belong
	n          int
	limited    int // number of waiters with a deadline
	witnesses  int // number of waiters that are witnesses
}

func (q *queue) push(w *waiter) {
	w.queue, w.prev = q, q.tail
	if q.tail == nil {
		q.head = w
	} else {
		q.tail.next = w
	}
	if q.look == nil {
		q.look = w
	}
	if q.other == nil {
		q.other = w
	}
	q.tail = w
	q.n++
	if w.limited {
		q.limited++
	}
	if w.witness {
		q.witnesses++
	}
}

// insert adds w before another waiter in the queue.
func (q *queue) insert(w, before *waiter) {
	w.queue, w.prev, w.next = q, before.prev, before
	if before.prev == nil {
		q.head = w
	} else {
		before.prev.next = w
	}
	before.prev = w
	if q.look == before {
		q.look = w
	}
	if q.other == before || w.witness {
		q.other = w
	}
	q.n++
	if w.limited {
		q.limited++
	}
	if w.witness {
		q.witnesses++
	}
}

// rewind forgets which waiters account.free has passed over.
func (q *queue) rewind() { q.look = q.head }

func (q *queue) remove(w *waiter) {
	if q.look == w {
		q.look = w.next
	}
	if q.other == w {
		q.other = w.next
	}
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
	if w.limited {
		q.limited--
	}
	if w.witness {
		q.witnesses--
	}
}

// outside returns the first waiter that is on none of the row's routes, or nil. It may pass over
// one that was inserted ahead of others and is not a witness.
func (q *queue) outside(row *suspect.Row) *waiter {
	if version := row.Version(); q.version != version {
		q.version, q.other = version, q.head
	}
	for q.other != nil && slices.Contains(row.Routes, q.other.endpoint.Route) {
		q.other = q.other.next
	}
	return q.other
}

// A lane holds the waiters of one priority.
type lane struct {
	retries queue // those that go first: see waiter.goesFirst
	firsts  queue // the others
	passed  int   // number of turns given to other lanes since this lane last had a turn or was empty
}

// mostPassed is the number of consecutive turns that may go to other lanes before a lane
// with waiters is due. If two lanes are due, the more urgent one is first. A lane with
// waiters thus gets at least about a tenth of the turns, and none starves.
const mostPassed = 9

// lateResend is the lowest resend count at which a retry waits in order of arrival.
const lateResend = 4

// lanes holds an account's waiters by priority, the most urgent first. Inner requests have
// a queue of their own.
type lanes [3]lane

func (l *lane) waiting() int { return l.retries.n + l.firsts.n }

func (ls *lanes) waiting() (n int) {
	for i := range ls {
		n += ls[i].waiting()
	}
	return n
}

// push adds w to the lane of priority p.
func (ls *lanes) push(w *waiter, p Priority) {
	w.lane = p.lane()
	l := &ls[w.lane]
	if l.waiting() == 0 {
		l.passed = 0
	}
	switch {
	case w.goesFirst():
		l.retries.push(w)
	case w.before != nil:
		l.firsts.insert(w, w.before)
	default:
		l.firsts.push(w)
	}
}

// pop removes and returns the waiter whose turn it is, and the index of its lane. There
// must be a waiter. The first request after a pause is the likeliest to be throttled, so a
// late retry lets the next request in its lane go first. probing is true if nothing has been
// sent since the latest pause began.
func (ls *lanes) pop(probing bool) (w *waiter, turn int) {
	turn = ls.turn()
	w = ls[turn].head(probing)
	w.queue.remove(w)
	return w, turn
}

// turn returns the index of the lane that has the next turn. There must be a waiter.
func (ls *lanes) turn() int { return ls.next(func(i int) bool { return ls[i].waiting() > 0 }) }

// head returns the next waiter of a lane, which must not be empty. For probing, see
// lanes.pop.
func (l *lane) head(probing bool) *waiter {
	switch w := l.firsts.head; {
	case l.retries.n > 0:
		return l.retries.head
	case probing && w.resend >= lateResend && w.next != nil:
		return w.next
	default:
		return w
	}
}

// next returns the index of the lane that has the next turn. It considers only the lanes i
// for which may(i) is true; there must be at least one.
func (ls *lanes) next(may func(lane int) bool) (turn int) {
	turn = -1
	for i := range ls {
		if may(i) && (turn < 0 || ls[i].passed >= mostPassed && ls[turn].passed < mostPassed) {
			turn = i
		}
	}
	return turn
}

// took records that a lane has used a turn.
func (ls *lanes) took(turn int) {
	for i := range ls {
		ls[i].passed++
	}
	ls[turn].passed = 0
}

// ahead estimates how many waiters will be sent before w, which arrives now.
func (ls *lanes) ahead(w *waiter, p Priority) int {
	own := ls[p.lane()].retries.n
	if !w.goesFirst() {
		own += ls[p.lane()].firsts.n
	}
	urgent := 0
	for i := range p.lane() {
		urgent += ls[i].waiting()
	}
	return behind(own, urgent)
}

// behind estimates how many waiters will be sent before a given one. own is the number of
// waiters ahead of it in its lane, and urgent the number of waiters in more urgent lanes.
func behind(own, urgent int) int { return own + min(urgent, mostPassed*(own+1)) }

// all calls yield with each waiter, and with an estimate of how many waiters will be sent
// before it. A waiter that yield removes no longer counts.
func (ls *lanes) all(yield func(w *waiter, ahead int)) {
	urgent := 0
	for i := range ls {
		own := 0
		for _, q := range []*queue{&ls[i].retries, &ls[i].firsts} {
			for w := q.head; w != nil; {
				next, n := w.next, q.n
				yield(w, behind(own, urgent))
				if q.n == n {
					own++
				}
				w = next
			}
		}
		urgent += own
	}
}
