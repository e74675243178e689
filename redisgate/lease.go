package redisgate

import (
	"context"
	"time"

	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// A lease holds the parameters of a command to the server that makes this process the
// leader of an account, or gives up the lead.
type lease struct {
	name    string
	length  time.Duration // how long the lease lasts; 0 gives up the lead
	known   state         // what the next leader starts from if the server has stored nothing
	replace bool          // whether known replaces what the server has stored
}

// ask calls take with a time limit. The command may still be running when ask returns,
// and is counted in g.leases until it ends, so that Close can wait for it.
func (g *Gate) ask(l lease) (state, error) {
	select { // if too many commands ran at once, all would be slow, and the server would count as lost
	case g.asking <- struct{}{}:
		defer func() { <-g.asking }()
	case <-g.ctx.Done():
		return state{}, g.ctx.Err()
	}
	g.mu.Lock()
	closed := g.leaders == nil
	g.mu.Unlock()
	if closed { // a lease that was asked for now would undo what leave does
		return state{}, context.Canceled
	}
	var s state
	g.leases.Add(1)
	err := g.timed(func(ctx context.Context) (err error) {
		defer g.leases.Done()
		s, err = g.take(ctx, l)
		return err
	})
	if err != nil { // the command may still be writing s
		return state{}, err
	}
	return s, nil
}

// claim tries to make this process the leader of the account if the account has none, and
// tells the account's link who the leader is. It does so in the background. A process that
// is too far away to lead only asks who the leader is.
func (g *Gate) claim(name, key string, known state) {
	g.mu.Lock()
	busy := g.claims[name]
	g.claims[name] = true
	g.mu.Unlock()
	if busy {
		return
	}
	go func() {
		defer func() {
			g.mu.Lock()
			delete(g.claims, name)
			g.mu.Unlock()
		}()
		if !g.leasing() {
			return
		}
		defer g.leases.Done()
		started, length := g.now(), g.distance().lease()
		if g.distance() >= farthest {
			length = 0 // this process can follow a near leader, but cannot lead
		}
		s, err := g.ask(lease{name: name, length: length, known: known})
		if err == nil && s.Leader == "" && length == 0 {
			g.fail(started, errSlow)
		}
		if err != nil || s.Leader == "" {
			return
		}
		if s.Leader == g.id && !g.lead(name, key, started+length, s) { // the gate was closed in the meantime
			_, _ = g.take(g.ctx, lease{name: name}) // if this fails, the lease expires by itself
			return
		}
		g.noticed(name, s)
		g.visit(key, func(now time.Duration, p fleet1.Pacer, backlog int, _ func() fleet1.History) fleet1.Pacer {
			if l, ok := p.(*link); ok {
				l.waiting = backlog
				l.follow(now, s.Leader)
			}
			return p
		})
	}()
}

// leasing reports whether the gate is open and may therefore ask for leases. If it
// returns true, the caller must call leases.Done afterwards.
func (g *Gate) leasing() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.leaders == nil {
		return false
	}
	g.leases.Add(1)
	return true
}

// renew extends the lease, or gives up the lead if no reports have arrived for a while and
// nothing is outstanding, or if another process is much nearer to the server.
func (l *leader) renew() {
	g := l.g
	if !g.leasing() {
		return
	}
	defer g.leases.Done()
	l.mu.Lock()
	now := g.now()
	ended := l.ended
	if !l.ended {
		l.prolong(now)
	}
	s := l.state(now)
	idle := now-l.heard > leaderIdle
	leave := idle && len(l.turns) == 0 && s.Pause == 0 || l.tooFar(now)
	l.forget(now)
	if !ended && (now-l.noticed > noticeAgain || l.waited > l.noticed && now-l.noticed > waitedAgain) {
		l.notice(now)
	}
	l.mu.Unlock()
	if ended {
		return
	}
	if !g.usable() && now > l.until {
		l.resign()
		return
	}
	length, next := g.distance().lease(), renewLease
	if s.Pause > 0 && idle {
		// Nothing is sent before the pause ends. If this process dies, the lease ends by then,
		// or soon after.
		next = min(max(s.Pause/2, renewLease), renewPaused)
		length += next - renewLease
	}
	if leave {
		length = 0
		l.resign()
	}
	got, err := g.ask(lease{name: l.name, length: length, known: s, replace: true})
	l.mu.Lock()
	switch {
	case l.ended:
		if leave { // tell all processes, so that the next request does not ask a leader that has left
			s.Leader = nobody
			g.out.notice(l.name, s)
		}
	case err == nil && got.Leader == g.id:
		l.until = now + length
		l.renewal.Reset(next)
	case err == nil, g.now() > l.until: // another process leads, or may lead
		l.mu.Unlock()
		l.resign()
		return
	default: // try again, perhaps on another connection
		l.renewal.Reset(now + renewLease - g.now())
	}
	l.mu.Unlock()
}
