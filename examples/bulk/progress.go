package main

import (
	"context"
	"sync"
	"time"

	"github.com/iamhttp/iamhttp/gate"
)

const (
	paceOver = 5 * time.Second        // the pace is measured over this time
	quiet    = 500 * time.Millisecond // nothing was sent for so long: a pause, not the gap of a slow pace
)

// A progress counts what the calls of a run do. It is their Gate: a
// gate.Adaptive decides, and progress sees what is sent and what comes of it.
type progress struct {
	shared gate.Adaptive

	mu       sync.Mutex
	now      state
	began    time.Time
	calls    int         // that have begun and not ended
	inFlight int         // of them, sent and not answered
	left     time.Time   // when the latest request was sent
	until    time.Time   // the end of the pause that the service asked for
	accepted []time.Time // answers within the limit: since the latest 429 or pause, at most paceOver ago
}

// A state is how far a run is.
type state struct {
	total, done, failed int
	inFlight, waiting   int           // calls that were sent, and calls that wait to be sent
	sent, throttled     int           // requests; those of them that were answered 429
	pace                float64       // accepted requests per second; 0: not known yet
	elapsed             time.Duration // since the start
	paused              bool          // nothing is in flight, and calls wait
	pause               time.Duration // until the end of Retry-After; 0: not known
}

// start begins a new run. The gate keeps what it has learned.
func (p *progress) start(total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = state{total: total}
	p.began = time.Now()
	p.left, p.accepted = p.began, nil
}

// begin and end are called around each call.
func (p *progress) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls++
}

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

// Wait asks the gate.Adaptive, and counts what it lets out.
func (p *progress) Wait(ctx context.Context, r gate.Request) (gate.Ticket, error) {
	ticket, err := p.shared.Wait(ctx, r)
	if err == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.inFlight++
		p.now.sent++
		now := time.Now()
		if now.Sub(p.left) > quiet { // a pause is no part of the pace
			p.accepted = p.accepted[:0]
		}
		p.left = now
	}
	return ticket, err
}

// Observe tells the gate.Adaptive what came of a request, and counts it.
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

// measure updates the pace, if the answers span half of paceOver or more.
func (p *progress) measure(now time.Time) {
	for now.Sub(p.accepted[0]) > paceOver {
		p.accepted = p.accepted[1:]
	}
	if d := now.Sub(p.accepted[0]); d >= paceOver/2 { // in less, what the service had saved up in a pause counts too much
		p.now.pace = float64(len(p.accepted)-1) / d.Seconds()
	}
}

// state returns how far the run is now.
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
