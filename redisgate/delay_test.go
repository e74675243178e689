package redisgate

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
)

// The share of the limit that a single run reaches varies by chance, because a pace
// that was learned badly is kept for minutes. The mean over all runs varies little.
func TestNoDelayToTheServerCostsMuchOfTheLimit(t *testing.T) {
	if testing.Short() {
		t.Skip("simulates 40 minutes of ten processes")
	}
	delays := []time.Duration{1, 50, 100, 150, 200, 250, 300, 350, 400, 430, 450, 500, 600, 1000, 2000, 3000}
	mean := 0.0
	for _, delay := range delays {
		delay *= time.Millisecond
		t.Run(fmt.Sprint(delay), func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, w *world) {
				w.relay.setDelay(delay)
				gates, books := w.gates(10)
				time.Sleep(30 * time.Second)
				a := newAccount(100, 20, time.Second)
				a.trip, a.news = 20*time.Millisecond, delay+100*time.Millisecond
				c := start(gates, 50, 1<<40, "k", a)
				time.Sleep(time.Minute)
				lines := 0
				for _, b := range books {
					lines += len(b.all())
				}
				if distance(delay) < nearby {
					assert.Zero(t, lines, "lines were logged in the first 90 seconds")
				} else {
					assert.Equal(t, len(gates), lines, "each process should log once that it is alone")
				}
				_, before, _ := a.counts()
				calls := make([]int64, len(gates))
				for i := range gates {
					calls[i] = c.done[i].Load()
				}
				const long = time.Minute
				time.Sleep(long)
				sent, accepted, early := a.counts()
				sum, squares := 0.0, 0.0
				for i, b := range books {
					n := float64(c.done[i].Load() - calls[i])
					sum, squares = sum+n, squares+n*n
					lines -= len(b.all())
				}
				share, fairness := float64(accepted-before)/long.Seconds()/a.rate, sum*sum/squares/float64(len(gates))
				t.Logf("%.1f%% of the limit, fairness %.2f, %d sent too early, %d of %d not accepted", 100*share, fairness, early, sent-accepted, sent)
				mean += share / float64(len(delays))
				assert.GreaterOrEqual(t, share, 0.8)
				if distance(delay) < nearby { // processes that are alone do not know about each other
					assert.GreaterOrEqual(t, fairness, 0.9, "Jain's fairness index is too low")
					assert.LessOrEqual(t, early, 30, "too many requests were sent too early; a few are allowed, because news of a pause may need a new connection, which takes two more round trips")
				}
				assert.Zero(t, lines, "lines were logged in the last minute")
				c.left.Store(0)
				w.relay.setDelay(time.Millisecond)
				c.wait(t)
			})
		})
	}
	assert.GreaterOrEqual(t, mean, 0.9)
}

// Otherwise, the news of a pause would sometimes arrive two round trips later.
func TestAProcessThatIsFarFromTheServerKeepsConnectionsOpen(t *testing.T) {
	for delay, far := range map[time.Duration]bool{10 * time.Millisecond: false, 200 * time.Millisecond: true} {
		inVirtualTime(t, func(t *testing.T, w *world) {
			w.relay.setDelay(delay)
			client := w.client()
			newGateOf(t, client)
			time.Sleep(time.Minute)
			assert.Equal(t, far, client.PoolStats().IdleConns >= mostSent, "a distance of %v", delay)
			assert.LessOrEqual(t, client.PoolStats().TotalConns, uint32(2*mostSent))
		})
	}
}

func TestConnectionsThatAreKeptOpenLeaveHalfOfASmallPoolFree(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		w.relay.setDelay(200 * time.Millisecond)
		client := w.clientWith(func(o *redis.Options) { o.PoolSize = 6 })
		newGateOf(t, client)
		time.Sleep(time.Minute)
		assert.EqualValues(t, 3, client.PoolStats().IdleConns)
	})
}

func TestDistanceFallsAtOnceAndRisesSlowly(t *testing.T) {
	d := distance(0)
	assert.Equal(t, 2100*time.Millisecond, d.tooSlow(), "the limit must allow for the first command, which has to connect")
	assert.Equal(t, patience, d.patience())
	d = d.taken(300*time.Millisecond, 0)
	d = d.taken(200*time.Millisecond, time.Millisecond)
	assert.Equal(t, distance(200*time.Millisecond), d)
	assert.Equal(t, 1050*time.Millisecond, d.patience())
	assert.Equal(t, 900*time.Millisecond, d.tooSlow())
	assert.Equal(t, distance(210*time.Millisecond), d.taken(300*time.Millisecond, time.Hour), "the distance must not follow a single slow reply, which may be chance")
	d = d.taken(time.Millisecond, time.Second)
	for range 40 { // ten round trips a second
		d = d.taken(400*time.Millisecond, 100*time.Millisecond)
	}
	assert.Less(t, d, distance(150*time.Millisecond))
	for range 600 {
		d = d.taken(400*time.Millisecond, 100*time.Millisecond)
	}
	assert.Greater(t, d, distance(390*time.Millisecond))
}

// While processes come and go, those in the fleet and those that are alone exceed the
// limit between them.
func TestProcessesDoNotKeepJoiningAndLeavingWhileTheDistanceVariesAroundItsLimit(t *testing.T) {
	for _, delays := range [][2]time.Duration{{380, 460}, {400, 440}, {300, 500}, {430, 520}} {
		t.Run(fmt.Sprint(int(delays[0]), " and ", int(delays[1]), " ms"), func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, w *world) {
				w.relay.setDelay(delays[0] * time.Millisecond)
				gates, books := w.gates(5)
				a := newAccount(100, 20, time.Second)
				a.trip = 20 * time.Millisecond
				c := start(gates, 50, 1<<40, "k", a)
				for i := range 60 {
					w.relay.setDelay(delays[i%2] * time.Millisecond)
					time.Sleep(2 * time.Second)
				}
				for _, b := range books {
					assert.LessOrEqual(t, len(b.all()), 2)
				}
				c.left.Store(0)
				w.relay.setDelay(time.Millisecond)
				c.wait(t)
			})
		})
	}
}

// A process logs that it is back as soon as the server is usable again. The accounts of
// the process rejoin only with the next messages, so this test looks at an account.
func TestEveryProcessRejoinsAfterAnOutageIfTheServerIsUpTo300msAway(t *testing.T) {
	for _, delay := range []time.Duration{100, 150, 175, 200, 225, 300} {
		delay *= time.Millisecond
		t.Run(fmt.Sprint(delay), func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, w *world) {
				w.relay.setDelay(delay)
				gates, _ := w.gates(4)
				time.Sleep(10 * time.Second)
				a := newAccount(100, 20, time.Second)
				a.trip, a.news = 20*time.Millisecond, delay+100*time.Millisecond
				c := start(gates, 20, 1<<40, "k", a)
				time.Sleep(20 * time.Second)
				w.relay.freeze()
				time.Sleep(8 * time.Second)
				w.relay.thaw()
				time.Sleep(75 * time.Second) // a process that keeps losing the server stays away for up to a minute
				alone := 0
				for range 100 {
					time.Sleep(100 * time.Millisecond)
					for _, g := range gates {
						if g.alone() {
							alone++
						}
					}
				}
				assert.Less(t, alone, 20, "each of the 4 processes was checked 100 times, and found alone too often")
				c.left.Store(0)
				w.relay.setDelay(time.Millisecond)
				c.wait(t)
			})
		})
	}
}
