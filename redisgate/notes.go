package redisgate

import (
	"time"

	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// A note is what this process knows about a throttled account. A process also keeps
// notes about accounts that it does not use.
type note struct {
	state
	paused    time.Duration         // when the account's pause ends
	seen      time.Duration         // when the latest news about the account arrived
	limited   time.Duration         // when the latest news arrived that requests were refused or had to wait
	separated map[uint64]fleet1.Use // the use of endpoints' own accounts; never changed, only replaced
}

// separate adds news about own accounts.
func (n *note) separate(now time.Duration, news []separated) {
	if len(news) == 0 {
		return
	}
	all := make(map[uint64]fleet1.Use)
	for endpoint, u := range n.separated {
		if !u.Over(now) {
			all[endpoint] = u
		}
	}
	for _, s := range news {
		if u, known := all[s.Endpoint]; known || len(all) < fleet1.MostOwn {
			all[s.Endpoint] = fleet1.Use{Until: max(now+s.Left, u.Until), Span: s.Span}
		}
	}
	n.separated = all
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
	if s.Pause > 0 || s.Waited {
		n.limited = n.seen
	}
	n.separate(n.seen, s.Separated)
	n.Separated = nil
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

// separated adds news about own accounts that did not come with a notice.
func (g *Gate) separated(name string, news []separated) {
	if len(news) == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if n, known := g.notes[name]; known {
		n.separate(g.now(), news)
		g.notes[name] = n
	}
}
