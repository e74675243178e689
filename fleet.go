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
	p := v(a.now(), a.pacer, a.history)
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

// open asks the fleet what it knows of an account that is new here.
func (a *account) open() {
	share, p := a.gate.fleet.Opened(a.key)
	if share > 1 && a.gate.StartWindow >= 0 {
		a.start = max(a.start/int64(share), 2)
		a.window.Store(a.start)
	}
	if p != nil {
		a.adopt(p)
	}
}

// adopt makes p decide over the account.
func (a *account) adopt(p fleet.Pacer) {
	if a.tickets == nil {
		a.window.Store(-1)
		a.tickets = make(map[Ticket]bracket.Send)
	}
	a.pacer = p
}
