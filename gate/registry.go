package gate

import (
	"cmp"
	"math"
	"math/rand/v2"
	"time"
)

const (
	defaultStartWindow = 64
	keepQuiet          = 10 * time.Minute // interval between regular sweeps, and minimum time for which a throttled key is remembered
	fewAccounts        = 1024             // number of accounts below which there are only regular sweeps
)

// account returns the account for the key, creating it if necessary.
func (g *Adaptive) account(key string) *account {
	if v, ok := g.accounts.Load(key); ok {
		return v.(*account)
	}
	fresh := &account{gate: g, key: key, origin: time.Now(), start: g.startWindow()}
	fresh.rng = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	if g.fleet != nil {
		return g.openInFleet(fresh)
	}
	fresh.window.Store(fresh.start)
	v, loaded := g.accounts.LoadOrStore(key, fresh)
	if !loaded {
		g.created()
	}
	return v.(*account)
}

// openInFleet returns the key's account if there is one. Otherwise, it stores fresh and
// asks the fleet what it knows about the key. It holds the account's lock while it asks,
// so that a concurrent visit from the fleet finds the account and waits until it is set
// up.
func (g *Adaptive) openInFleet(fresh *account) *account {
	fresh.mu.Lock()
	v, loaded := g.accounts.LoadOrStore(fresh.key, fresh)
	if loaded {
		return v.(*account)
	}
	fresh.join()
	fresh.mu.Unlock()
	g.created() // without the lock, because a sweep may take it
	return fresh
}

// join sets up a new account in a fleet.
func (a *account) join() {
	share, p := a.gate.fleet.Opened(a.key)
	if share > 1 && a.gate.StartWindow >= 0 {
		a.start = max(a.start/int64(share), 2)
	}
	if p != nil {
		a.adopt(p)
	} else {
		a.window.Store(a.start)
	}
}

// startWindow returns the StartWindow setting in half requests, the unit of
// account.window.
func (g *Adaptive) startWindow() int64 {
	n := int64(cmp.Or(g.StartWindow, defaultStartWindow))
	if n < 0 || n > math.MaxInt64/2 {
		return math.MaxInt64
	}
	return 2 * n
}

// created counts a new account and makes sure that a sweep will forget it when it is no
// longer used.
func (g *Adaptive) created() {
	n := g.live.Add(1)
	if n < fewAccounts && n > 1 {
		return
	}
	if n <= 1 {
		g.mu.Lock()
	} else if !g.mu.TryLock() { // probably a sweep is running, which may take a second if there are very many accounts
		return
	}
	defer g.mu.Unlock()
	if g.sweeper == nil {
		g.sweeper = time.AfterFunc(keepQuiet, g.sweepAll)
	}
	// With this many keys at once, most of them were probably used only once.
	if n >= max(fewAccounts, 2*g.swept) {
		g.sweep(true)
	}
}

func (g *Adaptive) sweepAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sweeper = nil
	g.sweep(false)
	if g.live.Load() > 0 {
		g.sweeper = time.AfterFunc(keepQuiet, g.sweepAll)
	}
}

// sweep forgets the accounts that seem unused since the latest sweep, except those that are
// paused or were throttled recently. Of an account that has never been throttled, only
// accepted requests count as use. If hurry is true, sweep instead forgets the accounts that
// have learned nothing, used or not. It never forgets an account while requests wait or are
// in flight.
func (g *Adaptive) sweep(hurry bool) {
	for key, v := range g.accounts.Range {
		if a := v.(*account); a.retire(hurry) {
			g.forget(key, a)
		}
	}
	g.swept = g.live.Load()
}

func (g *Adaptive) forget(key any, a *account) {
	if g.accounts.CompareAndDelete(key, a) {
		g.live.Add(-1)
		if g.fleet != nil {
			g.fleet.Forgotten(a.key)
		}
	}
}

// retire marks the account as forgotten, unless it is in use or worth keeping, and
// reports whether it did.
func (a *account) retire(hurry bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, o := range a.owns {
		if o.retire(hurry) {
			a.drop(o)
		}
	}
	now := a.now()
	n := a.accepted.Load() + int64(a.ticket) + a.refused //nolint:gosec // tickets never overflow an int64; they are added so that a throttled account also counts as used if its requests get a 5xx or no response
	quiet := n == a.seen
	a.seen = n
	switch {
	case a.gone, a.waiting()+a.inner.n > 0, len(a.tickets)+len(a.owns) > 0:
		return false
	case a.pacer != nil:
		keep := max(keepQuiet, 10*a.pacer.Silence())
		if hurry || !quiet || now < a.resumes() || now-a.throttled < keep {
			return false
		}
	case !quiet && !hurry, hurry && a.window.Load() != a.start:
		return false
	}
	// From now on, a new caller takes the lock. Unless a request is in flight, it then
	// finds the account gone.
	window := a.window.Swap(-1)
	if a.flying.Load() > 0 {
		a.window.Store(window)
		return false
	}
	a.gone = true
	if a.wake != nil {
		a.wake.Stop()
	}
	return true
}
