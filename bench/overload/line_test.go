package main

import (
	"cmp"
	"context"
	"math/rand/v2"
	"time"

	"github.com/iamhttp/iamhttp/gate"
)

// A line lets requests leave one at a time, in the order in which they arrived.
type line struct {
	turn  chan struct{} // holds a token while no request is first in line
	freed chan struct{} // holds a token if the first request must ask again
}

func newLine() line {
	l := line{turn: make(chan struct{}, 1), freed: make(chan struct{}, 1)}
	l.turn <- struct{}{}
	return l
}

// pass blocks until the request may leave. Once the request is first in line, pass calls ask
// until ask returns zero or less. Any other result of ask is how long pass waits before it
// calls ask again, unless again is called first. waited tells ask whether the request has
// already waited while it was first in line. pass returns an error if ctx ends first.
func (l line) pass(ctx context.Context, ask func(waited bool) time.Duration) error {
	select {
	case <-l.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { l.turn <- struct{}{} }()
	for waited := false; ; waited = true {
		wait := ask(waited)
		if wait <= 0 {
			return nil
		}
		select {
		case <-time.After(wait):
		case <-l.freed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// again makes the first request in line ask again.
func (l line) again() {
	select {
	case l.freed <- struct{}{}:
	default:
	}
}

// A pause is the time after a refusal in which no request may leave. Every gate with a
// pause obeys Retry-After, even if the algorithm's authors do not mention
// Retry-After, and adds a short random time.
type pause struct {
	rng   *rand.Rand
	until time.Time
}

func newPause() pause {
	return pause{rng: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))}
}

// extend records a refusal. It returns the pause length without the random time:
// o.RetryAfter or, if that is zero, the argument otherwise. If both are zero, the pause
// does not change.
func (p *pause) extend(o gate.Outcome, otherwise time.Duration) time.Duration {
	length := cmp.Or(o.RetryAfter, otherwise)
	late := time.Duration(p.rng.Int64N(int64(time.Second / 4)))
	if until := time.Now().Add(length + late); length > 0 && until.After(p.until) {
		p.until = until
	}
	return length
}
