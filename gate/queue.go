package gate

import "time"

// A waiter is one call of Wait that was not let out at once. It waits in account.wait;
// refuse.go says when it is refused.
type waiter struct {
	ready      chan error // receives the one answer
	ticket     Ticket     // valid once ready has sent nil
	resend     int
	maxWait    time.Duration // 0: no bound
	since      time.Duration
	deadline   time.Duration
	limited    bool // deadline is set
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
