package iamhttp

import (
	"github.com/iamhttp/iamhttp/internal/bracket"
	"github.com/iamhttp/iamhttp/internal/fleet"
)

func init() {
	fleet.Join = func(gate any, f fleet.Fleet) func(string, fleet.Visitor) bool {
		g := gate.(*AdaptiveGate)
		g.fleet = f
		return g.visit
	}
}

// visit lets the fleet change what decides over an account.
func (g *AdaptiveGate) visit(key string, v fleet.Visitor) bool {
	known, ok := g.keys.Load(key)
	if !ok {
		return false
	}
	a := known.(*account)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gone {
		return false
	}
	paused := a.now()
	if a.pacer != nil {
		paused = max(paused, a.pacer.Paused())
	}
	p := v(a.now(), a.pacer, a.waiting(), a.history)
	if p == nil {
		return true
	}
	a.adopt(p)
	if p.Paused() > paused {
		a.turnAway(a.now())
	}
	a.dispatch()
	return true
}

// open makes the account that of its key, if there is none yet, and asks the
// fleet what it knows of it. Callers, and visits, wait for that: news that
// come meanwhile must find the account.
func (g *AdaptiveGate) open(fresh *account) *account {
	fresh.mu.Lock()
	v, loaded := g.keys.LoadOrStore(fresh.key, fresh)
	if loaded {
		return v.(*account)
	}
	share, p := g.fleet.Opened(fresh.key)
	if share > 1 && g.StartWindow >= 0 {
		fresh.start = max(fresh.start/int64(share), 2)
	}
	if p != nil {
		fresh.adopt(p)
	} else {
		fresh.window.Store(fresh.start)
	}
	fresh.mu.Unlock()
	g.created() // a sweep may lock it
	return fresh
}

// adopt makes p decide over the account.
func (a *account) adopt(p fleet.Pacer) {
	if a.tickets == nil {
		a.window.Store(-1)
		a.tickets = make(map[Ticket]bracket.Send)
	}
	a.pacer = p
}
