package redisgate

import (
	"bytes"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/gate"
)

// The request for the lease is still on its way when Close is called. Commands that run
// at the same time use different connections, so the request could reach the server after
// the commands that Close sends.
func TestCloseGivesBackALeaseThatIsStillBeingRequested(t *testing.T) {
	for name, held := range map[string]time.Duration{"lease being renewed": renewLease, "lease being claimed": 0} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, w *world) {
				g, _ := w.gate()
				throttle(t, g, "before", time.Minute) // so that the server already has the script
				time.Sleep(50 * time.Millisecond)
				holding := false
				hold := func(b []byte) time.Duration {
					it := bytes.Contains(b, []byte(leadScript.Hash())) && bytes.Contains(b, []byte(g.names.of("k"))) &&
						bytes.Contains(b, []byte("\r\n1500\r\n"))
					if !it {
						return 0
					}
					holding = true
					return 100 * time.Millisecond
				}
				if held > 0 {
					throttle(t, g, "k", time.Minute)
					leaderOf(t, []*Gate{g}, "k")
				}
				w.relay.mu.Lock()
				w.relay.hold = hold
				w.relay.mu.Unlock()
				if held == 0 {
					throttle(t, g, "k", time.Minute)
				}
				time.Sleep(held + 10*time.Millisecond)
				w.relay.mu.Lock()
				assert.True(t, holding)
				w.relay.mu.Unlock()
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

func TestOutboxStaysSmallWhileTheServerIsLostOrTheGateIsClosed(t *testing.T) {
	for name, leave := range map[string]func(w *world, g *Gate){
		"server lost": func(w *world, g *Gate) { w.relay.freeze() },
		"gate closed": func(w *world, g *Gate) { g.Close() },
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
				if name == "gate closed" {
					assert.Zero(t, g.out.size())
				}
				assert.LessOrEqual(t, g.out.size(), 100, "too many messages in the outbox; only one pause per account should be left")
				time.Sleep(1100*time.Millisecond + presence)
				assert.Zero(t, g.out.size())
			})
		})
	}
}

func TestClosedGateLeavesNoGoroutines(t *testing.T) {
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
		client.Close() // synctest now fails if any goroutine is left
	})
}

func TestCloseGivesBackTheLeaseDespiteADeadConnection(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		g, _ := newGateOf(t, w.clientWith(func(o *redis.Options) { o.ReadTimeout = -1 }))
		throttle(t, g, "k", time.Minute)
		leaderOf(t, []*Gate{g}, "k")
		held := w.relay.holdOnce(func(b []byte) bool { return isRenewal(b, g) })
		for !held() {
			time.Sleep(10 * time.Millisecond)
		}
		start := time.Now()
		g.Close()
		assert.Less(t, time.Since(start), closeWait)
		assert.Contains(t, w.server.HGet(g.names.accounts, g.names.of("k")), `"l":""`)
		assert.False(t, w.server.Exists(g.names.members), "the closed process is still counted on the server")
	})
}

func TestCloseSendsPendingMessages(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, _ := w.gates(2)
		throttle(t, gates[0], "k", 100*time.Millisecond)
		at := leaderOf(t, gates, "k")
		other := gates[1-at]
		time.Sleep(time.Second)
		ticket, err := other.Wait(t.Context(), gate.Request{Key: "k"})
		require.NoError(t, err)
		other.Observe(gate.Request{Key: "k"}, ticket, gate.Outcome{Result: gate.Throttled, RetryAfter: time.Minute})
		other.Close() // no time has passed since Observe
		time.Sleep(50 * time.Millisecond)
		assert.Greater(t, pauseAt(gates[at], "k"), 50*time.Second)
	})
}

func TestClosedProcessGetsNoTurnsAndItsTurnsAreTakenBack(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, _ := w.gates(2)
		throttle(t, gates[0], "k", 100*time.Millisecond)
		at := leaderOf(t, gates, "k")
		leader, other := gates[at], gates[1-at]
		time.Sleep(time.Second)
		_, err := other.Wait(t.Context(), gate.Request{Key: "k"}) // the outcome of this request is never reported
		require.NoError(t, err)
		for range 5 {
			go other.Wait(t.Context(), gate.Request{Key: "k"})
		}
		time.Sleep(10 * time.Millisecond)
		leader.mu.Lock()
		l := leader.leaders[leader.names.of("k")]
		leader.mu.Unlock()
		held := func() (turns, wanted int, known bool) {
			l.mu.Lock()
			defer l.mu.Unlock()
			return len(l.turns), l.waiting(leader.now()).Sum(), l.members[other.id] != nil
		}
		turns, wanted, known := held()
		require.Positive(t, turns)
		require.Positive(t, wanted)
		require.True(t, known)
		other.Close()
		time.Sleep(10 * time.Millisecond)
		turns, wanted, _ = held()
		assert.Positive(t, turns, "the closed process's turns were taken back at once, but may belong to requests in flight")
		assert.Zero(t, wanted)
		time.Sleep(memberGone + renewLease)
		turns, _, known = held()
		assert.Zero(t, turns)
		assert.False(t, known)
	})
}
