package redisgate

import (
	"cmp"
	"context"
	"errors"
	"time"
)

var (
	errSlow = errors.New("server replies too slowly")
	errDeaf = errors.New("no messages arrive from the server")
)

// timed runs a command, and marks the server as lost if the command fails, is slow, or
// shows that the server is too far away. timed returns soon after the command counts as
// slow, because a client that ignores the context may keep waiting on a dead connection,
// up to its ReadTimeout or forever. The command then keeps running, and its result is
// discarded. The size of the client's connection pool limits the number of these
// commands. The context ends when the command is out of date, so that the client does not
// resend it later.
func (g *Gate) timed(f func(ctx context.Context) error) error {
	start, away := g.now(), g.distance()
	ctx, cancel := context.WithTimeout(g.ctx, max(away.lease(), away.tooSlow()))
	done := make(chan error, 1)
	go func() {
		defer cancel()
		err := f(ctx)
		if err == nil {
			g.took(g.now() - start)
		}
		done <- err
	}()
	err := errSlow
	select {
	case err = <-done:
		// The first command may have had to connect, so it does not show the distance.
		if err == nil && (g.now()-start > away.tooSlow() || away != 0 && g.tooFar()) {
			err = errSlow
		}
	case <-time.After(away.tooSlow() + slack):
	}
	if err != nil {
		g.fail(start, err)
	}
	return err
}

// fail marks the server as lost because of err, which it logs. It does nothing if the
// server is already lost, if the failed operation started before the server last became
// usable again, or if the gate is closed. began is the time at which the operation
// started. A process that loses the server soon after rejoining stays away longer each
// time, up to maxAway, because a server may reply to some commands and still be unusable.
func (g *Gate) fail(began time.Duration, err error) {
	g.mu.Lock()
	news := !g.lost && began >= g.backSince && g.ctx.Err() == nil
	if news {
		now := g.now()
		if now-g.backSince > presence {
			g.stayAway = 0
		} else {
			g.stayAway = min(max(2*g.stayAway, rejoinEvery), maxAway)
		}
		g.lost, g.joined, g.leaderAway, g.rejoinAt = true, false, 0, now+g.stayAway
		g.out.mute(true)
	}
	g.mu.Unlock()
	if news {
		g.attendNow()
		g.log.Warn("redisgate: lost the fleet; this process continues alone", "prefix", g.names.prefix, "err", err)
	}
}

// tooFar reports whether the server is too far away.
func (g *Gate) tooFar() bool { return g.distance() >= g.reach() }

// reach returns the distance at which the server is too far away. To join the fleet, a
// process that is alone must be nearer to the server than a member must be to stay,
// because coming and going costs more than staying alone. A turn travels from the leader
// to the server and then to the process, so the nearer the leader is to the server, the
// farther away the process may be.
func (g *Gate) reach() distance {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := nearby
	if g.joined {
		d = farthest
	}
	return 2*d - min(cmp.Or(g.leaderAway, d), d)
}

// heard records the distance from another leading process to the server, if it is the
// shortest one since the server was last lost.
func (g *Gate) heard(leader string, away time.Duration) {
	if leader == "" || leader == nobody || leader == g.id || away == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.leaderAway == 0 || distance(away) < g.leaderAway {
		g.leaderAway = distance(away)
	}
}

// near records the time that an echo took, and reports whether it shows that the server is
// near enough. While this process is alone, its distance may date from a time when the
// server was faster, so the distance alone proves nothing.
func (g *Gate) near(echo time.Duration) bool {
	limit, reach := g.distance().tooSlow(), time.Duration(g.reach())
	g.mu.Lock()
	if !g.joined {
		limit = min(limit, reach+slack)
	}
	g.mu.Unlock()
	g.took(echo)
	return echo <= limit && !g.tooFar()
}

// recover records that the server can be used and, if the server was lost, logs its
// return. It does nothing while this process is not subscribed or has to stay away, or if
// the gate is closed.
func (g *Gate) recover() {
	g.mu.Lock()
	ready := g.subscribed && g.now() >= g.rejoinAt && g.leaders != nil && g.ctx.Err() == nil
	g.joined = g.joined || ready
	news := g.lost && ready
	if news {
		g.lost, g.backSince = false, g.now()
		g.out.mute(false)
	}
	g.mu.Unlock()
	if news {
		g.log.Info("redisgate: back in the fleet", "prefix", g.names.prefix)
	}
}

// usable reports whether the server is not lost.
func (g *Gate) usable() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.lost
}
