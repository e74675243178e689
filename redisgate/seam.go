package redisgate

import (
	"cmp"
	"time"

	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// A use is a key for which the local gate has an account. For a moment there may be two
// accounts with the same key: one that is about to be forgotten, and its successor.
type use struct {
	key   string
	times int // calls to Opened minus calls to Forgotten
}

// A seam adds to a Gate the methods that only the local gate calls.
type seam struct{ *Gate }

// Opened is called when this process begins to use an account. It returns the size of
// the fleet and, if this process has a note about the account, a link.
func (g seam) Opened(key string) (share int, p fleet1.Pacer) {
	name := g.names.of(key)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.keys[name] = use{key, g.keys[name].times + 1}
	if n, ok := g.notes[name]; ok {
		l := g.link(name, key)
		l.learn(0, n, g.now())
		p = l
	}
	return g.size, p
}

// Throttled tells the other processes about the pause, and starts to look for the
// account's leader or, if the server is lost, goes alone. It returns the account's link.
func (g seam) Throttled(key string, h fleet1.History, retryAfter time.Duration, to fleet1.Endpoint) fleet1.Pacer {
	l := g.link(g.names.of(key), key)
	l.history, l.wanted = &h, retryAfter
	l.pause = h.Now + cmp.Or(retryAfter, defaultPause)
	g.out.notice(l.name, state{Pause: retryAfter})
	l.reportLater(func(r *report) {
		r.History = newHistory(h, h.Now)
		r.throttle(throttled{After: retryAfter, To: to})
	})
	l.ask(h.Now)
	return l
}

// Forgotten records that one account with the key is no longer in use in this process.
// The next account with the same key may already have been opened.
func (g seam) Forgotten(key string) {
	name := g.names.of(key)
	g.mu.Lock()
	defer g.mu.Unlock()
	if u := g.keys[name]; u.times > 1 {
		g.keys[name] = use{key, u.times - 1}
		return
	}
	delete(g.keys, name)
	g.out.forget(name)
}
