package redisgate

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// attend regularly tells the server that this process exists, so that the process is
// counted. attend also notices when the server is back.
func (g *Gate) attend() {
	cursor := "0" // where the scan of the accounts on the server continues
	for hello := true; ; {
		wait := presence
		g.out.tidy()
		// The state is read after subscribing, because anything that is published
		// before the subscription is missed.
		if g.connected() {
			var err error
			if cursor, err = g.join(hello, cursor); err == nil {
				hello = false // when the echo arrives, receive decides whether the server is usable
			} else {
				hello, wait = true, rejoinEvery
				g.settle()
			}
		}
		if !g.usable() {
			wait = rejoinEvery
		}
		select {
		case <-g.ctx.Done():
			return
		case <-g.attendWake:
		case <-time.After(wait):
		}
	}
}

// connected reports whether this process is subscribed and is not staying away from the
// fleet.
func (g *Gate) connected() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.subscribed && g.now() >= g.rejoinAt
}

// attendNow makes attend run immediately.
func (g *Gate) attendNow() {
	select {
	case g.attendWake <- struct{}{}:
	default:
	}
}

// join records on the server that this process is alive. A process that is new or has
// lost the server reads all accounts. Any other process already knows about every change,
// so it scans only some of the accounts, starting at the cursor. The scan makes the
// server forget accounts that are out of date. join returns the next cursor.
func (g *Gate) join(hello bool, cursor string) (next string, err error) {
	all := hello || !g.usable()
	if all {
		cursor = "0"
	}
	for {
		var v []any
		from := cursor // the command may still be running when timed returns
		if err := g.timed(func(ctx context.Context) (err error) {
			v, err = g.count(ctx, from, all)
			return err
		}); err != nil {
			return cursor, err
		}
		cursor = v[1].(string)
		g.counted(v)
		if !all && !manyOutdated(v) || cursor == "0" {
			break
		}
	}
	echo := g.now()
	letters := []letter{{g.names.inbox(g.id), message{Echo: echo}}}
	if hello {
		letters = append(letters, letter{g.names.all, message{Hello: g.id}})
	}
	g.mu.Lock()
	sub := g.sub
	g.mu.Unlock()
	err = g.timed(func(ctx context.Context) error { return g.publish(ctx, letters, nil) })
	if err == nil {
		time.AfterFunc(distance(0).tooSlow(), func() { g.missed(echo, sub) })
		g.warm()
	}
	return cursor, err
}

// manyOutdated reports whether a reply of count says that many of the accounts that it has
// looked at were out of date. There may then be many more.
func manyOutdated(v []any) bool {
	removed, _ := v[2].(int64)
	return removed >= 25
}

// missed ends the subscription if the echo has not arrived, because its connection is
// probably dead. A process that receives nothing must not lead.
func (g *Gate) missed(echo time.Duration, sub *redis.PubSub) {
	g.mu.Lock()
	deaf := g.echoed < echo && g.sub == sub && g.ctx.Err() == nil
	g.mu.Unlock()
	if deaf {
		g.fail(echo, errDeaf)
		_ = sub.Close()
	}
}

// counted processes the result of count, and removes notes that are out of date.
func (g *Gate) counted(v []any) {
	g.mu.Lock()
	g.size = max(int(v[0].(int64)), 1)
	for name, n := range g.notes {
		if _, used := g.keys[name]; !used && g.now() > n.seen+keep && g.now() > n.paused {
			delete(g.notes, name)
		}
	}
	g.mu.Unlock()
	for _, e := range v[2:] {
		if e, ok := e.([]any); ok && len(e) == 6 {
			if name, ok := e[0].(string); ok && isName(name) {
				if s, ok := parseState(e[1:]); ok {
					g.noticed(name, s)
				}
			}
		}
	}
}

// leave sends the messages that have not been sent yet, gives back this process's
// leases, and removes the process from the count.
func (g *Gate) leave(ctx context.Context, leaders map[string]*leader, unsaid []letter, pauses map[string]time.Duration) {
	answered := make(chan struct{})
	go func() {
		g.leases.Wait()
		close(answered)
	}()
	select { // a renewal that arrived later would undo the following commands
	case <-answered:
	case <-time.After(askAgain): // the connection that the command uses is probably dead
	}
	_ = g.publish(ctx, unsaid, pauses) // if this fails, the other processes find out later
	g.client.ZRem(ctx, g.names.members, g.id)
	_ = g.publish(ctx, []letter{{g.names.all, message{Bye: g.id}}}, nil)
	var notices []letter
	_, _ = g.client.Pipelined(ctx, func(p redis.Pipeliner) error { // one command after the other would take too long for many accounts
		for name, l := range leaders {
			known := l.known()
			leadScript.Eval(ctx, p, []string{g.names.accounts}, g.leadArgs(lease{name: name, known: known, replace: true})...)
			notices = append(notices, letter{g.names.all, message{Notice: &notice{name, state{Leader: nobody, Pause: known.Pause}}}})
		}
		return nil
	})
	_ = g.publish(ctx, notices, nil)
}
