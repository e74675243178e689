package iamhttp

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/internal/bracket"
	"github.com/iamhttp/iamhttp/internal/fleet"
)

// turnstile is a Pacer that lets out as many as it is told to.
type turnstile struct {
	*bracket.Controller
	turns int
	pause time.Duration
}

func (p *turnstile) Next(now time.Duration, _ int) time.Duration {
	if p.turns == 0 {
		return max(p.pause, now+time.Hour)
	}
	return max(p.pause, now)
}

func (p *turnstile) Sent(time.Duration, int) bracket.Send {
	p.turns--
	return bracket.Send{Turn: 1}
}

func (p *turnstile) Earliest(time.Duration, int) time.Duration { return p.pause }
func (p *turnstile) Paused() time.Duration                     { return p.pause }

// others is a fleet that knows what it is told.
type others struct {
	share     int
	known     *turnstile
	opened    func()
	throttled []string
	forgotten []string
}

func (f *others) Opened(string) (int, fleet.Pacer) {
	if f.opened != nil {
		f.opened()
	}
	if f.known == nil {
		return f.share, nil
	}
	return f.share, f.known
}

func (f *others) Throttled(key string, h fleet.History, retryAfter time.Duration) fleet.Pacer {
	f.throttled = append(f.throttled, key)
	return &turnstile{Controller: h.Close(retryAfter), pause: h.Now + retryAfter}
}

func (f *others) Forgotten(key string) { f.forgotten = append(f.forgotten, key) }

func closed() *turnstile {
	h := fleet.History{Marks: []bracket.Mark{{}}}
	return &turnstile{Controller: h.Close(0)}
}

func TestWhatTheFleetSaysDecidesOverAnOpenAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(AdaptiveGate)
		visit := fleet.Join(g, &others{})
		require.False(t, visit("k", nil), "nobody uses the account")
		ticket, err := g.Wait(t.Context(), "k", 0)
		require.NoError(t, err)
		g.Observe("k", ticket, false, 0)

		p := closed()
		require.True(t, visit("k", func(now time.Duration, old fleet.Pacer, _ int, history func() fleet.History) fleet.Pacer {
			assert.Nil(t, old)
			assert.Equal(t, int64(1), history().Marks[len(history().Marks)-1].Accepted)
			return p
		}))
		left := 0
		for range 3 {
			go func() {
				_, err := g.Wait(context.Background(), "k", 0)
				assert.NoError(t, err)
				left++
			}()
		}
		synctest.Wait()
		assert.Zero(t, left)
		for n := range 3 {
			visit("k", func(time.Duration, fleet.Pacer, int, func() fleet.History) fleet.Pacer {
				p.turns = 1
				return p
			})
			synctest.Wait()
			assert.Equal(t, n+1, left, "one for each turn")
		}
	})
}

func TestAPauseOfTheFleetTurnsThoseAwayWhoCannotOutlastIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(AdaptiveGate)
		p := closed()
		visit := fleet.Join(g, &others{known: p})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		refused := make(chan error, 1)
		go func() {
			_, err := g.Wait(ctx, "k", 0)
			refused <- err
		}()
		synctest.Wait()
		visit("k", func(now time.Duration, _ fleet.Pacer, _ int, _ func() fleet.History) fleet.Pacer {
			p.pause = now + time.Minute
			return p
		})
		var e *GateError
		require.ErrorAs(t, <-refused, &e)
		assert.Equal(t, time.Minute, e.RetryAfter)
	})
}

func TestTheFleetIsToldOfTheFirstRefusalAndOfForgottenKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(AdaptiveGate)
		f := new(others)
		fleet.Join(g, f)
		for _, key := range []string{"a", "b"} {
			ticket, err := g.Wait(t.Context(), key, 0)
			require.NoError(t, err)
			g.Observe(key, ticket, key == "a", time.Second)
		}
		assert.Equal(t, []string{"a"}, f.throttled)
		time.Sleep(3 * keepQuiet)
		synctest.Wait()
		assert.ElementsMatch(t, []string{"a", "b"}, f.forgotten)
	})
}

// The gate asks the fleet before it knows whether it will keep the account.
func TestEachOpenedIsForgottenThoughTwoCallersCreateTheAccount(t *testing.T) {
	g := new(AdaptiveGate)
	f := &others{share: 1}
	fleet.Join(g, f)
	opened := 0
	f.opened = func() {
		if opened++; opened == 1 {
			_, err := g.Wait(t.Context(), "k", 0) // which is faster
			require.NoError(t, err)
		}
	}
	_, err := g.Wait(t.Context(), "k", 0)
	require.NoError(t, err)
	assert.Equal(t, 2, opened)
	assert.Equal(t, []string{"k"}, f.forgotten)
}

func TestTheStartWindowIsDividedAmongTheFleet(t *testing.T) {
	g := &AdaptiveGate{StartWindow: 8}
	fleet.Join(g, &others{share: 4})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	left := 0
	for {
		if _, err := g.Wait(ctx, "k", 0); err != nil {
			break
		}
		left++
	}
	assert.Equal(t, 2, left)
}
