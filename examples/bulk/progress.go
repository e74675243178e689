package main

import (
	"context"
	"sync"
	"time"

	"github.com/iamhttp/iamhttp"
)

const (
	paceOver = 5 * time.Second        // the pace is that of the latest
	quiet    = 500 * time.Millisecond // without a departure: it is a pause, and not the gap of a slow pace
)

// A progress counts what the calls of a run do. It is their Gate: it leaves the
// decisions to an AdaptiveGate and sees what leaves and what comes back.
type progress struct {
	gate iamhttp.AdaptiveGate

	mu       sync.Mutex
	now      state
	began    time.Time
	calls    int         // under way
	inFlight int         // of them, sent and not answered
	left     time.Time   // when a request left last
	until    time.Time   // the end of the pause that the service asked for
	accepted []time.Time // by the rate limit, since the latest refusal or pause, and in the latest paceOver
}

// A state is how far a run is.
type state struct {
	total, done, failed int
	inFlight, waiting   int           // calls that are sent, and calls that may not be sent yet
	sent, refused       int           // requests; refused with 429
	pace                float64       // accepted requests a second; 0: not known yet
	elapsed             time.Duration // since the start
	paused              bool          // nothing is sent: all wait
	pause               time.Duration // until the service listens again; 0: not known
}

// start begins anew, with what the gate knows.
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

// Wait returns when the AdaptiveGate lets the request out.
func (p *progress) Wait(ctx context.Context, key string, resend int) (iamhttp.Ticket, error) {
	ticket, err := p.gate.Wait(ctx, key, resend)
	if err == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.inFlight++
		p.now.sent++
		now := time.Now()
		if now.Sub(p.left) > quiet { // the time of a pause is none of the pace
			p.accepted = p.accepted[:0]
		}
		p.left = now
	}
	return ticket, err
}

// Observe tells the AdaptiveGate what came of a request.
func (p *progress) Observe(key string, ticket iamhttp.Ticket, throttled bool, retryAfter time.Duration) {
	p.gate.Observe(key, ticket, throttled, retryAfter)
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.inFlight--
	if !throttled {
		p.accepted = append(p.accepted, now)
		p.measure(now)
		return
	}
	p.now.refused++
	p.accepted = p.accepted[:0]
	if end := now.Add(retryAfter); end.After(p.until) {
		p.until = end
	}
}

// measure keeps the pace up to date. What is too short to tell leaves it as it
// was.
func (p *progress) measure(now time.Time) {
	for now.Sub(p.accepted[0]) > paceOver {
		p.accepted = p.accepted[1:]
	}
	if d := now.Sub(p.accepted[0]); d >= time.Second {
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
