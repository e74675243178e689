package redisgate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// pingScript reads, writes and removes an account as the other scripts do, but under a
// name that no account has.
const pingScript = load + `
put(ARGV[2], get(ARGV[2]))
redis.call('HDEL', KEYS[1], ARGV[2])
return 1`

// Ping checks that the gate can use the server. It connects, logs in, runs scripts that
// read and write the gate's keys, and sends itself a message. Call Ping once when the
// program starts, with a deadline, to find a wrong address, a wrong password or a missing
// permission. Ping also returns an error if the server takes 420 ms or more to reply,
// because the process could then join the fleet only while a process closer to the server
// is the leader. You do not have to call Ping: the gate works without the server, and
// joins the fleet as soon as it can.
//
// The error states which step failed, or that there was no reply before ctx ended. It
// wraps the client's error or the cause of ctx, if there is one. After Close, Ping returns
// an error that wraps neither.
func (g *Gate) Ping(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- g.ping(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done(): // by default, the client ignores ctx while it waits for a reply
		return fmt.Errorf("redisgate: no reply from the server: %w", context.Cause(ctx))
	}
}

func (g *Gate) ping(ctx context.Context) error {
	const name = "ping"
	failed := func(what string, err error) error { return fmt.Errorf("redisgate: cannot %s: %w", what, err) }
	if g.ctx.Err() != nil {
		return errors.New("redisgate: the gate is closed")
	}
	if err := g.client.Ping(ctx).Err(); err != nil {
		return failed("use the server", err)
	}
	began := time.Now() // the first PING has opened the connection
	if err := g.client.Ping(ctx).Err(); err != nil {
		return failed("use the server", err)
	}
	if trip := time.Since(began); trip >= time.Duration(nearby) {
		return failed("work as a fleet", fmt.Errorf("the server took %v to reply, but must take less than %v", trip.Round(time.Millisecond), time.Duration(nearby)))
	}
	keys := []string{g.names.accounts, g.names.members}
	if err := g.client.Eval(ctx, pingScript, keys, keep.Milliseconds(), name).Err(); err != nil {
		return failed("store accounts on the server", err)
	}
	if _, err := g.count(ctx, "0", false); err != nil {
		return failed("join the fleet", err)
	}
	if err := g.client.ZRem(ctx, g.names.members, name).Err(); err != nil {
		return failed("leave the fleet", err)
	}
	channel := g.names.inbox(g.id) + ":" + name
	sub := g.client.Subscribe(ctx, channel, g.names.all)
	defer func() { _ = sub.Close() }()
	defer context.AfterFunc(ctx, func() { _ = sub.Close() })()
	for range 2 { // the confirmations for the two channels
		if _, err := sub.Receive(ctx); err != nil {
			return failed("subscribe", err)
		}
	}
	if err := g.client.Process(ctx, publish(ctx, channel, name)); err != nil {
		return failed("publish", err)
	}
	for {
		m, err := sub.Receive(ctx)
		if err != nil {
			return failed("receive its own message", err)
		}
		if m, ok := m.(*redis.Message); ok && m.Channel == channel {
			return nil
		}
	}
}
