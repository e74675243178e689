package redisgate

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestUnreadableFieldOnTheServerIsReplaced(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	names := defaultNames()
	bad := []string{
		``, `{`, `null`, `7`, `"p"`, `[]`, `{}`,
		`{"p":0,"e":0,"l":"","k":"","m":0}`,                                        // s is missing
		`{"p":"0","e":0,"l":"","k":"","m":0,"s":0}`,                                // wrong types
		`{"p":0,"e":0,"l":7,"k":{},"m":0,"s":0}`,                                   //
		`{"p":0,"e":0,"l":null,"k":null,"m":null,"s":null}`,                        //
		`{"p":1e999,"e":0,"l":"","k":"","m":0,"s":0}`,                              // not finite, or negative
		`{"p":NaN,"e":0,"l":"","k":"","m":0,"s":0}`,                                //
		`{"p":-1,"e":0,"l":"","k":"","m":0,"s":0}`,                                 //
		`{"p":0,"e":9007199254740993000,"l":"another","k":"","m":0,"s":0}`,         // a lease that never ends
		`{"p":0,"e":0,"l":"","k":"","m":1e15,"s":0}`,                               // too many members
		`{"p":0,"e":99999999999999,"l":"another","k":"","m":0,"s":99999999999999}`, // a time in the future
	}
	for i, raw := range bad {
		s.ask("hset", names.accounts, names.of(fmt.Sprint(i)), raw)
		s.ask("hset", names.accounts, names.of(fmt.Sprint("of nobody ", i)), raw)
	}
	gates, books := newGates(t, s.addr(), 2)
	for i, raw := range bad {
		key := fmt.Sprint(i)
		throttle(t, gates[0], key, time.Minute)
		require.Eventually(t, func() bool { return pauseAt(gates[1], key) > 50*time.Second }, soon, time.Millisecond, raw)
		leaderOf(t, gates, key)
		late, _ := newGate(t, s.addr())
		// late knows the pause at once, unless the machine is so busy that New did not wait
		// long enough.
		require.Eventually(t, func() bool { return pauseAt(late, key) > 50*time.Second }, soon, time.Millisecond, raw)
		late.Close()
	}
	left := s.ask("hkeys", names.accounts).([]any)
	for i, raw := range bad[:len(bad)-1] {
		assert.NotContains(t, left, names.of(fmt.Sprint("of nobody ", i)), raw)
	}
	for _, b := range books {
		b.inTheFleet(t)
	}
}

// fill stores n throttled accounts on the server.
func fill(t *testing.T, client *redis.Client, n int) {
	t.Helper()
	names := defaultNames()
	p := client.Pipeline()
	for i := range n {
		p.Eval(t.Context(), pauseScript, []string{names.accounts}, keep.Milliseconds(), names.of(fmt.Sprint(i)), time.Minute.Milliseconds())
	}
	_, err := p.Exec(t.Context())
	require.NoError(t, err)
}

func TestNewProcessReadsAllOfManyAccounts(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	client := redis.NewClient(&redis.Options{Addr: s.addr()})
	defer client.Close()
	const n = 5000
	fill(t, client, n)
	g, _ := newGate(t, s.addr())
	require.Eventually(t, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return len(g.notes) == n
	}, soon, time.Millisecond)
	assert.Greater(t, pauseAt(g, fmt.Sprint(n-1)), 30*time.Second)
}

func TestPeriodicSignOfLifeReadsNoAccounts(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		client := w.client()
		defer client.Close()
		fill(t, client, 1000)
		w.relay.said.Store(0)
		gates, _ := w.gates(2)
		time.Sleep(time.Second)
		assert.Greater(t, w.relay.said.Load(), int64(2*1000*40), "the server sent too few bytes; each of the two processes should read all accounts")
		w.relay.said.Store(0)
		time.Sleep(time.Minute)
		assert.Less(t, w.relay.said.Load(), int64(10_000))
		assert.Greater(t, w.relay.said.Load(), int64(500), "the server sent too few bytes to have replied to signs of life")
		for _, g := range gates {
			assert.Len(t, g.notes, 1000)
		}
		// A process that has lost the server may have missed news, so it reads all
		// accounts when it rejoins.
		w.relay.freeze()
		throttle(t, gates[0], "k", time.Minute)
		time.Sleep(5 * time.Second)
		w.relay.said.Store(0)
		w.relay.thaw()
		time.Sleep(5 * time.Second)
		assert.Greater(t, w.relay.said.Load(), int64(2*1000*40))
	})
}

func TestUnusedAccountIsRemovedFromTheServerWhileOthersAreUsed(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		g, _ := w.gate()
		other, _ := w.gate()
		throttle(t, g, "k", time.Minute)
		for i := range 10 {
			time.Sleep(3 * time.Minute)
			if i < 3 {
				assert.NotEmpty(t, w.server.HGet(g.names.accounts, g.names.of("k")))
			}
			throttle(t, g, fmt.Sprint(i), time.Second)
		}
		time.Sleep(time.Second)
		assert.Empty(t, w.server.HGet(g.names.accounts, g.names.of("k")))
		assert.NotEmpty(t, w.server.HGet(g.names.accounts, g.names.of("9")))
		other.mu.Lock()
		defer other.mu.Unlock()
		assert.NotContains(t, other.notes, g.names.of("k"))
		assert.Contains(t, other.notes, g.names.of("9"))
	})
}

// The server's clock may be set back, and another server may have a different clock.
func TestTimesFromTheFutureOnTheServerAreCorrected(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		w.server.SetTime(time.Now().Add(time.Hour))
		gates, _ := w.gates(2)
		throttle(t, gates[0], "k", time.Minute)
		leaderOf(t, gates[:1], "k")
		gates[0].die()
		w.server.SetTime(time.Now())
		g, _ := w.gate()
		assert.InDelta(t, time.Minute, pauseAt(g, "k"), float64(2*time.Second))
		assert.Equal(t, 3, g.size, "wrong number of processes; those with a sign of life in the future may be alive, so they should count as seen just now")
		time.Sleep(2 * time.Second)
		w.server.SetTime(time.Now())
		throttle(t, gates[1], "another", time.Minute)
		leaderOf(t, gates[1:], "another")
	})
}
