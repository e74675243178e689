package redisgate

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNewPanicsForAClientThatCannotBeUsed(t *testing.T) {
	var client *redis.Client
	var cluster *redis.ClusterClient
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}})
	defer ring.Close()
	for _, c := range []redis.UniversalClient{nil, client, cluster, ring} {
		assert.Panics(t, func() { New(c, Options{}) }, "%T", c)
	}
}

func TestOutboxIsEmptiedInPortions(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, _ := w.gates(1)
		g := gates[0]
		g.out.mute(true) // so that the gate does not send the notices itself
		for i := range 500 {
			g.out.notice(fmt.Sprint(i), state{Pause: time.Hour})
		}
		g.out.mu.Lock()
		o := &outbox{notices: g.out.notices, wake: make(chan struct{}, 1)}
		g.out.notices = nil
		g.out.mu.Unlock()
		seen := map[string]bool{}
		for _, want := range []int{200, 200, 100, 0} {
			letters, pauses := o.empty(g, 200)
			require.Len(t, letters, want)
			require.Len(t, pauses, want)
			for name := range pauses {
				seen[name] = true
			}
		}
		assert.Len(t, seen, 500)
	})
}

func TestAPausedAccountThatNobodyUsesCostsFewCommands(t *testing.T) {
	for _, n := range []int{1, 50} {
		inVirtualTime(t, func(t *testing.T, w *world) {
			gates, _ := w.gates(2)
			for i := range n {
				throttle(t, gates[0], fmt.Sprint(i), time.Hour)
			}
			time.Sleep(20 * time.Second)
			before := w.server.CommandCount()
			time.Sleep(time.Minute)
			assert.Less(t, float64(w.server.CommandCount()-before)/60, 3+1.5*float64(n), "commands per second with %d accounts", n)
		})
	}
}

func TestCloseGivesBackTheLeadOfAThousandAccounts(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, _ := w.gates(2)
		for i := range 1000 {
			throttle(t, gates[0], fmt.Sprint(i), time.Minute)
		}
		time.Sleep(5 * time.Second)
		gates[0].mu.Lock()
		led := len(gates[0].leaders)
		gates[0].mu.Unlock()
		require.Equal(t, 1000, led)
		gates[0].Close()
		time.Sleep(20 * time.Millisecond)
		names, err := w.server.HKeys(gates[0].names.accounts)
		require.NoError(t, err)
		for _, name := range names {
			require.Contains(t, w.server.HGet(gates[0].names.accounts, name), `"l":""`)
		}
		gates[1].mu.Lock()
		defer gates[1].mu.Unlock()
		assert.Equal(t, 1, gates[1].size)
	})
}

func TestManyOutdatedAccountsAreRemovedAtOnce(t *testing.T) {
	s := startServer(t)
	g, _ := newGate(t, s.addr())
	c := redis.NewClient(&redis.Options{Addr: s.addr()})
	defer c.Close()
	old, p := time.Now().Add(-2*keep).UnixMilli(), c.Pipeline()
	for i := range 20000 {
		p.HSet(t.Context(), g.names.accounts, g.names.of(fmt.Sprint(i)), fmt.Sprintf(`{"p":%d,"e":0,"l":"","k":"","m":1,"s":%d}`, old, old))
	}
	_, err := p.Exec(t.Context())
	require.NoError(t, err)
	for cursor := "0"; ; {
		cursor, err = g.join(false, cursor)
		require.NoError(t, err)
		if cursor == "0" {
			break
		}
	}
	assert.EqualValues(t, 0, s.ask("hlen", g.names.accounts))
}

// A deafConn is a connection that loses what it receives, if it has subscribed.
type deafConn struct {
	net.Conn
	subscribed, deaf atomic.Bool
}

func (c *deafConn) Write(b []byte) (int, error) {
	if bytes.Contains(bytes.ToLower(b), []byte("subscribe")) {
		c.subscribed.Store(true)
	}
	return c.Conn.Write(b)
}

func (c *deafConn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if err != nil || !c.subscribed.Load() || !c.deaf.Load() {
			return n, err
		}
	}
}

func TestFleetSoonRecoversIfTheLeadersSubscriptionDies(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		var gates []*Gate
		conns := make([][]*deafConn, 5)
		for i := range conns {
			g, _ := newGateOf(t, w.clientWith(func(o *redis.Options) {
				o.Dialer = func(context.Context, string, string) (net.Conn, error) {
					c, err := w.relay.pipe()
					d := &deafConn{Conn: c}
					conns[i] = append(conns[i], d)
					return d, err
				}
			}))
			gates = append(gates, g)
		}
		a := newAccount(100, 20, time.Second)
		a.trip = 20 * time.Millisecond
		c := start(gates, 20, 1<<40, "k", a)
		time.Sleep(time.Minute)
		for _, d := range conns[leaderOf(t, gates, "k")] {
			d.deaf.Store(true)
		}
		time.Sleep(10 * time.Second)
		for i, g := range gates {
			assert.False(t, g.alone(), "process %d", i)
		}
		c.left.Store(0)
		c.wait(t)
	})
}
