package redisgate

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A slowLease holds up what asks for a lease.
type slowLease struct {
	redis.Hook
	by atomic.Int64
}

func (s *slowLease) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if args := cmd.Args(); len(args) > 7 && args[1] == leadScript.Hash() && args[7] != int64(0) {
			time.Sleep(time.Duration(s.by.Load()))
		}
		return next(ctx, cmd)
	}
}

func (s *slowLease) DialHook(next redis.DialHook) redis.DialHook { return next }

func (s *slowLease) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func TestCloseGivesBackWhatIsAskedForMeanwhile(t *testing.T) {
	for name, hold := range map[string]time.Duration{"a renewal": renewLease, "a claim": 0} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, w *world) {
				hook := new(slowLease)
				client := w.client()
				client.AddHook(hook)
				g, _ := newGateOf(t, client)
				throttle(t, g, "warm", time.Second) // the script is known
				time.Sleep(time.Second / 2)
				if hold == 0 {
					hook.by.Store(int64(100 * time.Millisecond))
				}
				throttle(t, g, "k", time.Minute)
				if hold > 0 {
					leaderOf(t, []*Gate{g}, "k")
					hook.by.Store(int64(100 * time.Millisecond))
					time.Sleep(hold)
				}
				synctest.Wait()
				time.Sleep(10 * time.Millisecond)
				require.NoError(t, g.Close())
				time.Sleep(200 * time.Millisecond)
				assert.Contains(t, w.server.HGet(g.names.accounts, g.names.of("k")), `"l":""`)
			})
		})
	}
}

func (o *outbox) size() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.notices) + len(o.turns) + len(o.reports)
}

func TestNothingIsKeptForAServerThatIsLostOrLeft(t *testing.T) {
	for name, leave := range map[string]func(w *world, g *Gate){
		"lost":   func(w *world, g *Gate) { w.relay.freeze() },
		"closed": func(w *world, g *Gate) { g.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, w *world) {
				g, _ := w.gate()
				throttle(t, g, "k", 100*time.Millisecond)
				leaderOf(t, []*Gate{g}, "k")
				leave(w, g)
				start([]*Gate{g}, 5, 20, "k", newAccount(50, 5, 100*time.Millisecond)).wait(t)
				time.Sleep(time.Second)
				for i := range 100 {
					throttle(t, g, fmt.Sprint(i), time.Second)
				}
				assert.Zero(t, g.out.size())
				time.Sleep(10 * time.Second)
				assert.Zero(t, g.out.size())
			})
		})
	}
}

func TestAClosedGateLeavesNoGoroutine(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		client := w.client()
		g := New(client, Options{Logger: slog.New(slog.DiscardHandler)})
		throttle(t, g, "k", 100*time.Millisecond)
		leaderOf(t, []*Gate{g}, "k")
		time.Sleep(time.Second)
		start([]*Gate{g}, 5, 20, "k", newAccount(50, 5, 100*time.Millisecond)).wait(t)
		require.NoError(t, g.Close())
		synctest.Wait()
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		for stack := range strings.SplitSeq(string(stacks), "\n\n") {
			if strings.Contains(stack, "synctest bubble") && !strings.Contains(stack, "testing.tRunner") {
				assert.NotContains(t, stack, "redisgate.(*Gate)")
				assert.NotContains(t, stack, "redisgate.(*leader)")
				assert.NotContains(t, stack, "redisgate.(*link)")
			}
		}
		client.Close() // and the bubble ends, or fails
	})
}
