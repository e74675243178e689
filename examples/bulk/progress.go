package main

import (
	"context"
	"sync"
	"time"

	"github.com/iamhttp/iamhttp/gate"
)

const (
	paceOver = 5 * time.Second        // the longest period over which the pace is measured
	quiet    = 500 * time.Millisecond // a longer period without requests counts as a pause, not as a slow pace
)

// A progress counts a task's calls. It is also a Gate, which counts the requests that the
// calls send and how many of them are throttled, and leaves all decisions to a
// gate.Adaptive.
type progress struct {
	shared gate.Adaptive

	mu       sync.Mutex
	now      state
	began    time.Time
	calls    int         // the number of calls that have begun but not ended
	inFlight int         // the number of requests that were sent and have no outcome yet
	left     time.Time   // when the latest request was sent; before the first one, when the task began
	until    time.Time   // the end of the pause that the service asked for; if it asked for several, the latest end
	accepted []time.Time // when requests were accepted since the latest 429 or pause, at most paceOver before the latest of them
}

// A state is a task's progress at one moment.
type state struct {
	total, done, failed int
	inFlight, waiting   int           // the numbers of calls with a request in flight, and of other calls, which usually wait to be sent
	sent, throttled     int           // the number of requests sent, and how many of them got a 429
	pace                float64       // accepted requests per second; 0: not known yet
	elapsed             time.Duration // the time since the start
	paused              bool          // true if nothing is in flight, calls are waiting, and either Retry-After has not elapsed or nothing has been sent for longer than quiet
	pause               time.Duration // the time left until Retry-After has elapsed; 0: not paused, or not known
}

// start begins a new task. The gate keeps what it has learned in earlier tasks.
func (p *progress) start(total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = state{total: total}
	p.began = time.Now()
	p.left, p.accepted = p.began, nil
}

// begin must be called before each call.
func (p *progress) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls++
}

// end must be called after each call, with its error.
func (p *progress) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls--
	if err == nil {
		p.now.done++
	} else {
		p.now.failed++
	}
}

// Wait asks the gate.Adaptive and counts the requests that it admits.
func (p *progress) Wait(ctx context.Context, r gate.Request) (gate.Ticket, error) {
	ticket, err := p.shared.Wait(ctx, r)
	if err == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.inFlight++
		p.now.sent++
		now := time.Now()
		if now.Sub(p.left) > quiet { // a pause must not lower the pace
			p.accepted = p.accepted[:0]
		}
		p.left = now
	}
	return ticket, err
}

// Observe reports a request's outcome to the gate.Adaptive, and updates the counts and
// the pace.
func (p *progress) Observe(r gate.Request, ticket gate.Ticket, o gate.Outcome) {
	p.shared.Observe(r, ticket, o)
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.inFlight--
	switch o.Result {
	case gate.Accepted:
		p.accepted = append(p.accepted, now)
		p.measure(now)
	case gate.Throttled:
		p.now.throttled++
		p.accepted = p.accepted[:0]
		if end := now.Add(o.RetryAfter); end.After(p.until) {
			p.until = end
		}
	}
}

// measure drops the accepted requests that are older than paceOver, and updates the pace
// if the others span at least half of paceOver.
func (p *progress) measure(now time.Time) {
	for now.Sub(p.accepted[0]) > paceOver {
		p.accepted = p.accepted[1:]
	}
	// Over a shorter period, the burst that the service accepts after a pause would
	// distort the pace too much.
	if d := now.Sub(p.accepted[0]); d >= paceOver/2 {
		p.now.pace = float64(len(p.accepted)-1) / d.Seconds()
	}
}

// state returns the current state of the task.
func (p *progress) state() state {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, s := time.Now(), p.now
	s.elapsed = now.Sub(p.began)
	s.inFlight, s.waiting = p.inFlight, p.calls-p.inFlight
	if s.inFlight == 0 && s.waiting > 0 {
		s.pause = max(p.until.Sub(now), 0)
		s.paused = s.pause > 0 || now.Sub(p.left) > quiet
	}
	return s
}
