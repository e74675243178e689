package main

import (
	"cmp"
	"context"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/bench/internal/sim"
	"github.com/iamhttp/iamhttp/gate"
)

// A strategy is a way to keep to a limit. The rows measure the gate beside others.
type strategy struct {
	name string
	gate func() gate.Gate // one for each process; nil: none
}

var strategies = []strategy{
	{"gate", func() gate.Gate { return seededGate(0) }},
	{"none", func() gate.Gate { return nil }},
	{"aimd", func() gate.Gate { return newAIMD() }},
}

// client returns the client of a process, with the settings of a row.
func (s strategy) client(set settings) sim.Client {
	return func(base http.RoundTripper) func(*http.Request) (*http.Response, error) {
		return (&http.Client{Transport: &iamhttp.Transport{
			Base: base, Gate: s.gate(), MaxAttempts: 20, AlsoRetry: set.also, GateKey: set.key,
		}}).Do
	}
}

// settings are those of the Transport that a row needs.
type settings struct {
	also []iamhttp.Code
	key  func(*http.Request) string
}

// keyByMethod keeps requests apart that read from those that write.
func keyByMethod(req *http.Request) string { return req.Method + " " + req.URL.Host }

// interactive makes a call one that a person waits for.
func interactive(ctx context.Context) context.Context {
	return gate.WithPriority(ctx, gate.Interactive)
}

// An aimd is a yardstick: a pace that grows by a tenth of its latest cut in each
// second in which requests wait for it, and is halved by a refusal. It obeys
// Retry-After, and comes back from it a little late, by chance.
type aimd struct {
	turn chan struct{} // holds a token while nobody is next
	rng  *rand.Rand

	mu          sync.Mutex
	began, next time.Time // the earliest time of the next request
	pace, cut   float64   // requests per second; 0: nothing was refused yet
	accepted    int
	epoch       gate.Ticket // of the cuts
}

func newAIMD() *aimd {
	a := &aimd{turn: make(chan struct{}, 1), rng: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1)), began: time.Now()}
	a.turn <- struct{}{}
	return a
}

func (a *aimd) Wait(ctx context.Context, _ gate.Request) (gate.Ticket, error) {
	select {
	case <-a.turn:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	defer func() { a.turn <- struct{}{} }()
	waited := false
	for {
		a.mu.Lock()
		wait := time.Until(a.next)
		if wait <= 0 {
			if a.pace > 0 {
				if waited {
					a.pace += 0.1 * a.cut / a.pace
				}
				a.next = time.Now().Add(time.Duration(float64(time.Second) / a.pace))
			}
			epoch := a.epoch
			a.mu.Unlock()
			return epoch, nil
		}
		a.mu.Unlock()
		waited = true
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (a *aimd) Observe(_ gate.Request, t gate.Ticket, o gate.Outcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch o.Result {
	case gate.Accepted:
		a.accepted++
	case gate.Throttled:
		pause := cmp.Or(o.RetryAfter, time.Second/4)
		if t == a.epoch { // what left before the cut says nothing of the pace after it
			a.epoch++
			if a.pace == 0 {
				a.pace = 2 * float64(a.accepted+1) / (time.Since(a.began) + pause).Seconds()
			}
			a.pace /= 2
			a.cut = a.pace
		}
		late := time.Duration(a.rng.Int64N(int64(time.Second / 4)))
		if until := time.Now().Add(pause + late); until.After(a.next) {
			a.next = until
		}
	case gate.Unknown, gate.NotSent:
	}
}
