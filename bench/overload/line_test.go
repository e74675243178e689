package main

import (
	"cmp"
	"context"
	"math/rand/v2"
	"time"

	"github.com/iamhttp/iamhttp/gate"
)

// A line lets requests leave one after the other, in the order in which they came.
type line struct {
	turn  chan struct{} // holds a token while nobody is next
	freed chan struct{} // holds a token if the first is to ask again
}

func newLine() line {
	l := line{turn: make(chan struct{}, 1), freed: make(chan struct{}, 1)}
	l.turn <- struct{}{}
	return l
}

// pass returns when a request may leave: when ask, which is told whether the request
// has waited as the first of the line, returns that it need not wait any longer.
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

// again makes the first of the line ask again.
func (l line) again() {
	select {
	case l.freed <- struct{}{}:
	default:
	}
}

// A pause is what refusals ask of all requests. Every gate has to obey Retry-After,
// also those whose authors do not say so. It comes back a little late, by chance.
type pause struct {
	rng   *rand.Rand
	until time.Time
}

func newPause() pause {
	return pause{rng: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))}
}

// extend takes a refusal. Without a Retry-After the pause is otherwise; it returns the
// length without the chance.
func (p *pause) extend(o gate.Outcome, otherwise time.Duration) time.Duration {
	length := cmp.Or(o.RetryAfter, otherwise)
	late := time.Duration(p.rng.Int64N(int64(time.Second / 4)))
	if until := time.Now().Add(length + late); length > 0 && until.After(p.until) {
		p.until = until
	}
	return length
}
