package gate

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheEndOfAStatedWindowIsAPause(t *testing.T) {
	for name, tt := range map[string]struct {
		o       Outcome
		maxWait time.Duration
		want    time.Duration
	}{
		"Reset":                     {Outcome{Result: Throttled, Limit: Limit{Reset: time.Minute}}, 0, time.Minute},
		"no longer than MaxWait":    {Outcome{Result: Throttled, Limit: Limit{Reset: time.Hour}}, 2 * time.Minute, 2 * time.Minute},
		"no longer than 15 minutes": {Outcome{Result: Throttled, Limit: Limit{Reset: time.Hour}}, 0, 15 * time.Minute},
		"Retry-After comes first":   {Outcome{Result: Throttled, RetryAfter: time.Second, Limit: Limit{Reset: time.Hour}}, 0, time.Second},
		"not if it was accepted":    {Outcome{Result: Accepted, Limit: Limit{Reset: time.Hour}}, 0, 0},
		"nothing left says no time": {Outcome{Result: Throttled, Limit: Limit{Requests: 9, Per: time.Hour}}, 0, 0},
		"nor does a negative Reset": {Outcome{Result: Throttled, Limit: Limit{Reset: -1}}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, tt.o.pause(Request{MaxWait: tt.maxWait}))
		})
	}
}

func TestStatsSayWhichStatedLimitIsBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Adaptive{StartWindow: -1}
		r := Request{Key: "k", MaxWait: time.Hour}
		send := func(o Outcome) Stats {
			t.Helper()
			ticket, err := g.Wait(t.Context(), r)
			require.NoError(t, err)
			time.Sleep(10 * time.Millisecond)
			g.Observe(r, ticket, o)
			s, ok := g.Stats("k")
			require.True(t, ok)
			return s
		}
		for range 200 {
			assert.Zero(t, send(Outcome{Result: Accepted}).Limit)
		}
		stated := Limit{Requests: 200, Per: 5 * time.Minute, Policy: "user", Reset: 298 * time.Second}
		s := send(Outcome{Result: Throttled, Limit: stated})
		assert.Equal(t, Limit{Requests: 200, Per: 5 * time.Minute, Policy: "user"}, s.Limit)
		assert.InDelta(t, 298, s.Pause.Seconds(), 0.5)
		for range 2 {
			assert.NotZero(t, send(Outcome{Result: Accepted}).Limit)
			send(Outcome{Result: Throttled, RetryAfter: time.Second, Limit: stated})
		}
		time.Sleep(2 * time.Second)
		assert.Zero(t, send(Outcome{Result: Accepted}).Limit, "refused twice, long before 200")
	})
}
