package redisgate

import (
	"context"
	"errors"
	"time"
)

var errSlow = errors.New("server replies too slowly")

// timed runs a command, and marks the server as lost if the command fails or is slow.
// timed returns soon after the command counts as slow, because a client that ignores the
// context may keep waiting on a dead connection, up to its ReadTimeout or forever. The
// command then keeps running, and its result is discarded. The size of the client's
// connection pool limits the number of these commands. The context ends when the command
// is out of date, so that the client does not resend it later.
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
		if err == nil && (g.now()-start > away.tooSlow() || g.distance() >= farthest) {
			err = errSlow
		}
	case <-time.After(away.tooSlow() + slack):
	}
	if err != nil {
		g.fail(start, err)
	}
	return err
}

// fail records that an operation could not use the server, and logs err unless the server
// was already lost. began is the time at which the operation started. A process that
// loses the server soon after rejoining stays away longer each time, because a server may
// answer some commands and still be unusable.
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
		g.lost, g.rejoinAt = true, now+g.stayAway
		g.out.mute(true)
	}
	g.mu.Unlock()
	if news {
		g.attendNow()
		g.log.Warn("redisgate: lost the fleet; this process continues alone", "prefix", g.names.prefix, "err", err)
	}
}

// recover records that the server can be used again. If the server was lost, recover logs
// its return.
func (g *Gate) recover() {
	g.mu.Lock()
	news := g.lost && g.subscribed && g.now() >= g.rejoinAt && g.leaders != nil && g.ctx.Err() == nil
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
