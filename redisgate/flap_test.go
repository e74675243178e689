package redisgate

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A denial makes leadScript fail until over is set, as it does if the gate's Redis user
// has fewer permissions than the README asks for.
type denial struct{ over atomic.Bool }

func (d *denial) DialHook(next redis.DialHook) redis.DialHook { return next }

func (d *denial) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if args := cmd.Args(); !d.over.Load() && len(args) > 1 && args[1] == leadScript.Hash() {
			time.Sleep(time.Millisecond)
			cmd.SetErr(errors.New("NOPERM"))
			return cmd.Err()
		}
		return next(ctx, cmd)
	}
}

func (d *denial) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func TestRejoinBacksOffWhenServerFlaps(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		client := w.client()
		denied := new(denial)
		client.AddHook(denied)
		g, book := newGateOf(t, client)
		a := newAccount(20, 3, time.Second)
		a.trip = 10 * time.Millisecond
		throttle(t, g, "k", time.Second)
		c := start([]*Gate{g}, 3, 1<<40, "k", a)
		time.Sleep(time.Minute)
		assert.LessOrEqual(t, book.count(lostText), 9, "too many losses were logged in the first minute")
		before := book.count(lostText)
		time.Sleep(10 * time.Minute)
		assert.LessOrEqual(t, book.count(lostText)-before, 11, "too many losses were logged in ten minutes; about one per minute is allowed")
		denied.over.Store(true)
		time.Sleep(maxAway + time.Second)
		require.Equal(t, book.count(lostText), book.count(backText))
		time.Sleep(time.Minute)
		again := book.count(lostText)
		w.relay.cut()
		time.Sleep(5 * time.Second)
		assert.Equal(t, again+1, book.count(backText), "the process should have rejoined at once, because it had been in the fleet for a minute")
		c.left.Store(0)
		c.wait(t)
	})
}
