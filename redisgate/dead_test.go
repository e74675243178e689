package redisgate

import (
	"bytes"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// readTimeouts are the values of redis.Options.ReadTimeout to test, by description.
var readTimeouts = map[string]time.Duration{"client with a read timeout": 0, "client without a read timeout": -1}

// A single connection can go dead without either end noticing, while all other
// connections work. This happens, for example, when a device between the ends has
// forgotten the connection.
func TestDeadConnectionDoesNotStallTheFleet(t *testing.T) {
	turns := []byte(`{"t":{"n":"`)
	for what, of := range map[string]func(leader, other *Gate) func([]byte) bool{
		"dead connection that carries a renewal": func(leader, _ *Gate) func([]byte) bool {
			return func(b []byte) bool { return isRenewal(b, leader) }
		},
		"dead connection that carries turns or a reply": func(leader, _ *Gate) func([]byte) bool {
			return func(b []byte) bool { return bytes.Contains(b, turns) && bytes.Contains(b, []byte(leader.id)) }
		},
		"dead connection that carries a report": func(_, other *Gate) func([]byte) bool {
			return func(b []byte) bool { return bytes.Contains(b, []byte(`"f":"`+other.id)) }
		},
	} {
		for name, timeout := range readTimeouts {
			t.Run(what+", "+name, func(t *testing.T) {
				inVirtualTime(t, func(t *testing.T, w *world) {
					var gates []*Gate
					for range 3 {
						g, _ := newGateOf(t, w.clientWith(func(o *redis.Options) { o.ReadTimeout = timeout }))
						gates = append(gates, g)
					}
					a := newAccount(100, 10, time.Second)
					a.trip = 5 * time.Millisecond
					c := start(gates, 5, 1<<40, "k", a)
					time.Sleep(10 * time.Second)
					at := leaderOf(t, gates, "k")
					held := w.relay.holdOnce(of(gates[at], gates[(at+1)%3]))
					done := func(i int) int64 { return c.done[i].Load() }
					for range 2 {
						before := []int64{done(0), done(1), done(2)}
						time.Sleep(5 * time.Second)
						for i := range gates {
							assert.Greater(t, done(i)-before[i], int64(25), "too few calls in five seconds, even if pauses took three or four of those seconds")
						}
					}
					assert.True(t, held())
					for _, g := range gates {
						assert.True(t, g.usable(), "the process counts the server as lost")
					}
					c.left.Store(0)
					c.wait(t)
				})
			})
		}
	}
}

func isRenewal(b []byte, of *Gate) bool {
	return bytes.Contains(b, []byte(leadScript.Hash())) && bytes.Contains(b, []byte(of.id)) && bytes.Contains(b, []byte("\r\n1500\r\n"))
}

func TestLeaderWhoseLeaseHasEndedDoesNotReply(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		g, name := led(t, w)
		g.mu.Lock()
		l := g.leaders[name]
		g.mu.Unlock()
		l.mu.Lock()
		until := l.until
		l.until = g.now() - 1
		l.mu.Unlock()
		l.handle(&report{Name: name, From: "other", Waiting: 1, Stamp: 1})
		assert.Zero(t, g.out.size(), "the leader replied without a lease, so waiting processes do not notice that the lease has ended")
		l.handle(&report{Name: name, From: "other", Throttled: []throttled{{After: time.Second}}})
		letters, _ := g.out.empty(g, 100)
		require.Len(t, letters, 1)
		assert.Empty(t, letters[0].Notice.Leader)
		assert.Positive(t, letters[0].Notice.Pause)
		l.mu.Lock()
		l.until = until
		l.mu.Unlock()
		l.handle(&report{Name: name, From: "other", Waiting: 1, Stamp: 1})
		assert.Equal(t, 1, g.out.size())
	})
}

// The gate soon stops waiting for a command that gets no reply, but the command keeps
// running for as long as the client allows.
func TestCommandsWithoutAReplyDoNotPileUp(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		const pool = 3
		g, _ := newGateOf(t, w.clientWith(func(o *redis.Options) { o.ReadTimeout, o.PoolSize = -1, pool }))
		throttle(t, g, "k", 100*time.Millisecond)
		leaderOf(t, []*Gate{g}, "k")
		w.relay.freeze()
		c := start([]*Gate{g}, 5, 1<<40, "k", newAccount(50, 5, 100*time.Millisecond))
		time.Sleep(10 * time.Minute)
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		assert.LessOrEqual(t, strings.Count(string(stacks), "created by github.com/iamhttp/iamhttp/redisgate.(*Gate).timed"), pool+5, "too many commands are still running; there should be one per connection, and a few that wait for a connection")
		c.left.Store(0)
		c.wait(t)
		w.relay.thaw()
	})
}

// If the gate sends a pause a second time, it sends what is left of the pause. If
// go-redis resends the message, the message is unchanged, and the pause is too long by
// at most leaseTime.
func TestResendingAPauseDoesNotProlongItMuch(t *testing.T) {
	for name, tt := range map[string]struct {
		retries int
		timeout time.Duration
		longer  time.Duration
	}{
		"resent by the gate":   {-1, 0, 10 * time.Millisecond},
		"resent by the client": {3, 500 * time.Millisecond, leaseTime},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, w *world) {
				var gates []*Gate
				for range 2 {
					g, _ := newGateOf(t, w.clientWith(func(o *redis.Options) { o.MaxRetries, o.ReadTimeout = tt.retries, tt.timeout }))
					gates = append(gates, g)
				}
				const pause = 10 * time.Second
				held := w.relay.holdOnce(func(b []byte) bool { return bytes.Contains(b, []byte(`{"n":{"n":"`)) })
				began := time.Now()
				throttle(t, gates[0], "k", pause)
				for time.Since(began) < pause-time.Second {
					time.Sleep(300 * time.Millisecond)
					late, _ := w.gate() // a new gate reads the pause that the server keeps
					for _, g := range append(gates, late) {
						assert.LessOrEqual(t, pauseAt(g, "k"), pause-time.Since(began)+tt.longer)
					}
				}
				assert.True(t, held())
			})
		})
	}
}
