package redisgate

import (
	"time"

	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// A note is what this process knows about a throttled account. A process also keeps
// notes about accounts that it does not use.
type note struct {
	state
	paused time.Duration         // when the account's pause ends
	seen   time.Duration         // when the latest news about the account arrived
	halted time.Duration         // when the latest news of a pause arrived
	apart  map[uint64]fleet1.Use // the use of endpoints' own accounts; never changed, only replaced
}

// learn adds news about own accounts.
func (n *note) learn(now time.Duration, news []apart) {
	if len(news) == 0 {
		return
	}
	all := make(map[uint64]fleet1.Use)
	for endpoint, u := range n.apart {
		if u.Until > now-u.Span { // the next use may last longer
			all[endpoint] = u
		}
	}
	for _, a := range news {
		all[a.Endpoint] = fleet1.Use{Until: now + a.Left, Span: a.Span}
	}
	n.apart = all
}

// noticed processes news about an account, from a notice or from what the server keeps.
func (g *Gate) noticed(name string, s state) {
	g.heard(s.Leader, s.Away)
	s.Pause = g.distance().left(s.Pause)
	g.mu.Lock()
	n := g.notes[name]
	n.state = n.merge(s)
	n.seen = g.now()
	n.paused = max(n.paused, n.seen+s.Pause)
	if s.Pause > 0 {
		n.halted = n.seen
	}
	n.learn(n.seen, s.Apart)
	n.Apart = nil
	g.notes[name] = n
	u, used := g.keys[name]
	g.mu.Unlock()
	if !used {
		return
	}
	g.visit(u.key, func(now time.Duration, p fleet1.Pacer, backlog int, history func() fleet1.History) fleet1.Pacer {
		l, ok := p.(*link)
		if !ok {
			l = g.link(name, u.key)
			l.waiting = backlog
			h := history()
			l.history, l.wanted = &h, s.Pause
			l.learn(now, n, n.seen)
			l.ask(now)
			return l
		}
		l.waiting = backlog
		l.learn(now, n, n.seen)
		return l
	})
}
