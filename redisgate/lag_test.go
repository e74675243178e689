package redisgate

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// While the server hangs, turns pile up. If the processes then used them all at once, they
// would be throttled, and a pause costs far more than the hiccup.
func TestServerHiccupsCostLittleOfTheLimit(t *testing.T) {
	mean := 0.0 // a single run varies by chance
	for _, tt := range []struct {
		base, hiccup, long time.Duration
		depth              float64
	}{{1, 200, 50, 20}, {1, 250, 50, 5}, {1, 280, 20, 20}, {100, 350, 50, 20}} {
		t.Run(fmt.Sprintf("delay of %d ms, and of %d ms for %d ms every 5 s, bucket depth %v", tt.base, tt.hiccup, tt.long, tt.depth), func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, w *world) {
				w.relay.setDelay(tt.base * time.Millisecond)
				gates, books := w.gates(5)
				time.Sleep(5 * time.Second)
				a := newAccount(100, tt.depth, time.Second)
				a.trip = 20 * time.Millisecond
				c := start(gates, 50, 1<<40, "k", a)
				time.Sleep(time.Minute)
				_, before, _ := a.counts()
				for range 12 {
					w.relay.setDelay(tt.hiccup * time.Millisecond)
					time.Sleep(tt.long * time.Millisecond)
					w.relay.setDelay(tt.base * time.Millisecond)
					time.Sleep(5*time.Second - tt.long*time.Millisecond)
				}
				_, after, _ := a.counts()
				share := float64(after-before) / 60 / a.rate
				t.Logf("%.1f%% of the limit", 100*share)
				mean += share / 4
				for _, b := range books {
					assert.Empty(t, b.all())
				}
				c.left.Store(0)
				c.wait(t)
			})
		})
	}
	assert.Greater(t, mean, 0.87)
}

func TestLagFollowsTheSlowestTurnAndShrinksSlowly(t *testing.T) {
	const apart = -time.Hour // the difference between two clocks
	var l lag
	assert.Equal(t, apart, l.after(0, apart))
	assert.Equal(t, apart+200*time.Millisecond, l.after(time.Second, apart+200*time.Millisecond))
	assert.Equal(t, apart+150*time.Millisecond, l.after(3*time.Second, apart))
	assert.Equal(t, apart, l.after(time.Minute, apart))
	l.after(time.Minute, apart+time.Hour)
	assert.Equal(t, apart+maxLag, l.after(time.Minute, apart), "a turn must not be kept longer than maxLag")
}
