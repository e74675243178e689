package gate_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/gatetest"
)

func TestPauserInTheExampleObeysTheContract(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes four seconds of real time")
	}
	gatetest.Run(t, func(testing.TB) gate.Gate {
		return &pauser{until: make(map[string]time.Time)}
	})
}

func TestResultIsPrintedInWords(t *testing.T) {
	for r, want := range map[gate.Result]string{
		gate.Unknown:   "unknown",
		gate.Accepted:  "accepted",
		gate.Throttled: "throttled",
		gate.NotSent:   "not sent",
		99:             "Result(99)",
	} {
		assert.Equal(t, want, fmt.Sprint(r))
	}
	assert.Equal(t, gate.Unknown, gate.Outcome{}.Result, "the zero value should be Unknown")
}

func TestErrorTextContainsTheReasonAndTheWait(t *testing.T) {
	for want, e := range map[string]*gate.Error{
		"request cannot be sent before its deadline; earliest in 5s": {RetryAfter: 5 * time.Second, Err: gate.ErrDeadline},
		"pause is longer than MaxWait; earliest in 1h0m0s":           {RetryAfter: time.Hour, Err: gate.ErrPaused},
		"pause is longer than MaxWait":                               {Err: gate.ErrPaused},
		"request refused; earliest in 1ns":                           {RetryAfter: 1},
		"request refused":                                            {},
	} {
		assert.EqualError(t, e, want)
	}
}

func TestErrorUnwrapsToItsReason(t *testing.T) {
	reason := errors.New("the bucket is empty")
	assert.ErrorIs(t, &gate.Error{Err: reason}, reason)
	assert.NotErrorIs(t, &gate.Error{Err: gate.ErrPaused}, gate.ErrDeadline)
}

func TestStatsShowAnAccountThatWasNeverThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate.Adaptive{StartWindow: 3}
		_, ok := g.Stats(plain.Key)
		assert.False(t, ok, "Stats should return false before the account exists")

		ctx, cancel := context.WithCancel(t.Context())
		for range 3 + 4 {
			go g.Wait(ctx, plain)
		}
		synctest.Wait()
		assert.Equal(t, gate.Stats{Flying: 3, Waiting: 4}, stats(t, g))
		cancel()
		synctest.Wait()
		assert.Equal(t, gate.Stats{Flying: 3}, stats(t, g))
		for n := range 3 {
			g.Observe(plain, 0, accepted)
			assert.Equal(t, gate.Stats{Flying: 2 - n}, stats(t, g))
		}
	})
}

func TestStatsShowAThrottledAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(gate.Adaptive)
		held := enter(t, g, 0) // in flight since before the 429
		throttle(t, g, 20*time.Second)
		s := stats(t, g)
		assert.GreaterOrEqual(t, s.Pause, 20*time.Second)
		assert.Less(t, s.Pause, 21*time.Second)
		s.Pause = 0
		assert.Equal(t, gate.Stats{Throttled: true, Flying: 1}, s)

		time.Sleep(5 * time.Second)
		assert.LessOrEqual(t, stats(t, g).Pause, 16*time.Second, "Pause should be the time left until the pause ends")

		left := make(chan gate.Ticket, 20)
		for range cap(left) {
			go func() { left <- enter(t, g, 0) }()
		}
		synctest.Wait()
		assert.Equal(t, 20, stats(t, g).Waiting)
		first := <-left
		s = stats(t, g)
		assert.True(t, s.Throttled)
		assert.Zero(t, s.Pause)
		assert.Positive(t, s.Pace)
		assert.Equal(t, 20+1, s.Flying+s.Waiting)

		g.Observe(plain, first, accepted)
		g.Observe(plain, held, accepted)
		for range 19 {
			g.Observe(plain, <-left, accepted)
		}
		s = stats(t, g)
		assert.True(t, s.Throttled, "Throttled should stay true after the first 429")
		assert.Zero(t, s.Flying)
		assert.Zero(t, s.Waiting)
	})
}

func stats(t *testing.T, g *gate.Adaptive) gate.Stats {
	t.Helper()
	s, ok := g.Stats(plain.Key)
	require.True(t, ok, "the gate should know the account")
	return s
}

func TestAllVisitsEachAccountOnce(t *testing.T) {
	g := new(gate.Adaptive)
	for range g.All() {
		t.Error("a new gate should not know any account")
	}
	for _, key := range []string{"a", "b", "c"} {
		r := gate.Request{Key: key}
		ticket, err := g.Wait(t.Context(), r)
		require.NoError(t, err)
		if key == "b" {
			g.Observe(r, ticket, throttled(time.Hour))
		}
	}
	all := map[string]gate.Stats{}
	for key, s := range g.All() {
		assert.NotContains(t, all, key)
		s.Pause = 0
		all[key] = s
	}
	assert.Equal(t, map[string]gate.Stats{"a": {Flying: 1}, "b": {Throttled: true}, "c": {Flying: 1}}, all)
}

func TestAllStopsWhenTheLoopBreaks(t *testing.T) {
	g := new(gate.Adaptive)
	for _, key := range []string{"a", "b", "c"} {
		_, err := g.Wait(t.Context(), gate.Request{Key: key})
		require.NoError(t, err)
	}
	visited := 0
	for range g.All() {
		visited++
		break
	}
	assert.Equal(t, 1, visited)
}

func TestStatsCanBeReadWhileRangingOverAll(t *testing.T) {
	g := new(gate.Adaptive)
	enter(t, g, 0)
	for key, s := range g.All() {
		again, ok := g.Stats(key)
		assert.True(t, ok)
		assert.Equal(t, s, again)
		g.Observe(plain, 0, accepted)
	}
}

func TestForgottenAccountHasNoStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(gate.Adaptive)
		g.Observe(plain, enter(t, g, 0), accepted)
		time.Sleep(time.Hour)
		_, ok := g.Stats(plain.Key)
		assert.False(t, ok)
		for key := range g.All() {
			t.Errorf("account %q should have been forgotten", key)
		}
	})
}

func TestRequestThatWasNotSentReturnsItsTurn(t *testing.T) {
	notSent := gate.Outcome{Result: gate.NotSent}
	t.Run("before any throttling", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := &gate.Adaptive{StartWindow: 1}
			ticket := enter(t, g, 0)
			left := make(chan gate.Ticket, 1)
			go func() { left <- enter(t, g, 0) }()
			synctest.Wait()
			require.Empty(t, left)
			g.Observe(plain, ticket, notSent)
			synctest.Wait()
			require.Len(t, left, 1)
			assert.Equal(t, gate.Stats{Flying: 1}, stats(t, g))
		})
	})
	t.Run("after throttling", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := new(gate.Adaptive)
			throttle(t, g, time.Minute)
			g.Observe(plain, enter(t, g, 0), throttled(time.Minute)) // from now on, only one probe at a time
			ticket := enter(t, g, 0)
			start := time.Now()
			g.Observe(plain, ticket, notSent)
			enter(t, g, 0)
			assert.Zero(t, time.Since(start), "the next request should get the turn")
		})
	})
	t.Run("without growing the window", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := &gate.Adaptive{StartWindow: 10}
			for range 100 {
				var tickets []gate.Ticket
				for range 10 {
					tickets = append(tickets, enter(t, g, 0))
				}
				for _, ticket := range tickets {
					g.Observe(plain, ticket, notSent)
				}
			}
			assert.Equal(t, 10, admitted(t, g), "the window should not have grown")
		})
	})
}

// admitted returns how many requests, up to 100, the gate admits at once.
func admitted(t *testing.T, g *gate.Adaptive) (n int) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for n < 100 {
		if _, err := g.Wait(ctx, plain); err != nil {
			break
		}
		n++
	}
	return n
}
