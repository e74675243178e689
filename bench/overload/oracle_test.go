package main

import (
	"context"
	"sync"
	"time"

	"github.com/iamhttp/iamhttp/bench/internal/sim"
	"github.com/iamhttp/iamhttp/gate"
)

// An oracle is a gate that knows the limits, all that will happen to them, and how long a
// response takes on average. All processes share it. It sends the requests with the same
// key in order of arrival, each as soon as it will be accepted, and refuses those whose
// deadline is too near. Like any gate, it obeys Retry-After. It is not perfect: it does not
// know how long each response takes, or which requests will get a 429 whatever the pace.
type oracle struct {
	mu       sync.Mutex
	forecast *sim.Forecast
	most     int // maximum number of requests in flight; 0: no maximum
	flying   int
	accounts map[string]*knownAccount
}

type knownAccount struct {
	line  line
	until time.Time // when the latest pause ends
}

// oracles makes clients that share an oracle.
func oracles(s sim.Situation, set settings) sim.Client {
	var shared *oracle
	return set.client(func() gate.Gate {
		if shared == nil { // now the run has begun
			shared = &oracle{forecast: s.Forecast(), most: s.InFlight, accounts: map[string]*knownAccount{}}
		}
		return shared
	})
}

func (o *oracle) account(key string) *knownAccount {
	o.mu.Lock()
	defer o.mu.Unlock()
	a := o.accounts[key]
	if a == nil {
		a = &knownAccount{line: newLine()}
		o.accounts[key] = a
	}
	return a
}

func (o *oracle) Wait(ctx context.Context, r gate.Request) (gate.Ticket, error) {
	a := o.account(r.Key)
	deadline, limited := ctx.Deadline()
	late := false
	err := a.line.pass(ctx, func(bool) (wait time.Duration) {
		o.mu.Lock()
		defer o.mu.Unlock()
		now := time.Now()
		switch {
		case limited && deadline.Sub(now) < o.forecast.Answer():
			late = true
			return 0
		case a.until.After(now):
			return a.until.Sub(now)
		case o.most > 0 && o.flying >= o.most:
			return time.Millisecond
		}
		if wait = o.forecast.Take(r.Method); wait == 0 {
			o.flying++
		}
		return wait
	})
	if late {
		return 0, &gate.Error{Err: gate.ErrDeadline}
	}
	return 0, err
}

func (o *oracle) Observe(r gate.Request, _ gate.Ticket, out gate.Outcome) {
	a := o.account(r.Key)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.flying--
	if until := time.Now().Add(out.RetryAfter); out.Result == gate.Throttled && until.After(a.until) {
		a.until = until
	}
}
