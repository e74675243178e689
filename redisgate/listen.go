package redisgate

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// listen receives messages, and subscribes again after a failure, until the gate is closed.
func (g *Gate) listen() {
	for g.ctx.Err() == nil {
		err := g.hear()
		g.mu.Lock()
		g.subscribed = false
		g.mu.Unlock()
		if g.ctx.Err() != nil {
			return
		}
		g.fail(g.now(), err)
		g.settle()
		select {
		case <-g.ctx.Done():
		case <-time.After(reconnect):
		}
	}
}

// hear subscribes, and receives messages until the subscription fails or the gate is
// closed.
func (g *Gate) hear() error {
	sub := g.client.Subscribe(g.ctx)
	defer func() { _ = sub.Close() }()
	defer context.AfterFunc(g.ctx, func() { _ = sub.Close() })()
	g.mu.Lock()
	g.sub = sub
	g.mu.Unlock()
	if err := sub.Subscribe(g.ctx, g.names.all, g.names.inbox(g.id)); err != nil {
		return err
	}
	const quiet = 15 * time.Second // the connection is checked after this time without a message
	for pinged := false; ; {
		m, err := sub.ReceiveTimeout(g.ctx, quiet)
		switch m := m.(type) {
		case *redis.Subscription:
			if m.Channel == g.names.inbox(g.id) {
				g.mu.Lock()
				g.subscribed = true
				g.mu.Unlock()
				g.attendNow()
			}
		case *redis.Message:
			g.receive([]byte(m.Payload))
		}
		var timeout interface{ Timeout() bool }
		switch {
		case err == nil:
			pinged = false
		case errors.As(err, &timeout) && timeout.Timeout() && !pinged:
			if err := sub.Ping(g.ctx); err != nil {
				return err
			}
			pinged = true
		default:
			return err
		}
	}
}

// receive processes a message. It ignores messages that it cannot parse, because they
// come from a program other than redisgate or from a faulty redisgate.
func (g *Gate) receive(b []byte) {
	m, ok := parse(b, g.now())
	if !ok {
		return
	}
	switch {
	case m.Echo != 0:
		g.mu.Lock()
		g.echoed = max(g.echoed, m.Echo)
		g.mu.Unlock()
		if g.near(g.now() - m.Echo) {
			g.recover()
		} else {
			g.fail(m.Echo, errSlow)
		}
		g.settle()
	case m.Turns != nil:
		g.granted(m.Turns)
	case m.Report != nil:
		g.mu.Lock()
		l := g.leaders[m.Report.Name]
		g.mu.Unlock()
		if l != nil {
			l.handle(m.Report)
		}
	case m.Notice != nil:
		g.noticed(m.Notice.Name, m.Notice.state)
	case m.Hello != "" && m.Hello != g.id:
		g.mu.Lock()
		g.size++
		g.mu.Unlock()
	case m.Bye != "":
		g.mu.Lock()
		g.size = max(g.size-1, 1)
		led := slices.Collect(maps.Values(g.leaders))
		g.mu.Unlock()
		for _, l := range led {
			l.left(m.Bye)
		}
	}
}
