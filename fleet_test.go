package iamhttp

import (
	"context"
	"fmt"
	"runtime"
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
	turns  int
	pause  time.Duration
	gap    time.Duration // between two, as far as it is known in advance
	probes int
	told   []string

	probing bool
	silence time.Duration
}

func (p *turnstile) Accepted(time.Duration, bracket.Send) { p.told = append(p.told, "accepted") }
func (p *turnstile) Idle(time.Duration)                   { p.told = append(p.told, "idle") }
func (p *turnstile) Probing() bool                        { return p.probing }
func (p *turnstile) Silence() time.Duration               { return p.silence }
func (p *turnstile) Probes() int                          { return p.probes }
func (p *turnstile) Unsend(bracket.Send)                  { p.turns++ }

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

func (p *turnstile) Earliest(now time.Duration, ahead int) time.Duration {
	return max(p.pause, now+time.Duration(ahead)*p.gap)
}
func (p *turnstile) Paused() time.Duration { return p.pause }

// others is a fleet that knows what it is told.
type others struct {
	share     int
	known     *turnstile
	opened    func()
	throttled []string
	history   fleet.History // of the latest
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
	f.throttled, f.history = append(f.throttled, key), h
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
	for name, tt := range map[string]struct {
		pause time.Duration
		err   error
		away  int // of four, with deadlines after 1 and 2 minutes, in turn
	}{
		"as they have to be back earlier":        {time.Minute, errTooLate, 2},
		"or in that very moment":                 {2 * time.Minute, errTooLate, 4},
		"as nobody waits longer than MaxPause":   {time.Hour, errLongPause, 4},
		"and those who can wait for it may wait": {time.Second, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := new(AdaptiveGate)
				p := closed()
				visit := fleet.Join(g, &others{known: p})
				a := g.account("k")
				time.Sleep(time.Minute)
				refused := make(chan error, 4)
				for i := range 4 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+i%2)*time.Minute)
					defer cancel()
					go func() {
						_, err := g.Wait(ctx, "k", i/2)
						refused <- err
					}()
				}
				synctest.Wait()
				visit("k", func(now time.Duration, _ fleet.Pacer, _ int, _ func() fleet.History) fleet.Pacer {
					p.pause = now + tt.pause
					return p
				})
				synctest.Wait()
				require.Len(t, refused, tt.away)
				for range tt.away {
					var e *GateError
					require.ErrorAs(t, <-refused, &e)
					assert.Equal(t, tt.pause, e.RetryAfter)
					assert.ErrorIs(t, e, tt.err)
				}
				assert.Equal(t, 4-tt.away, a.waiting())
			})
		})
	}
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

func TestTheFleetIsAskedOnceThoughManyCallersCreateTheAccount(t *testing.T) {
	g := new(AdaptiveGate)
	f := &others{share: 1}
	fleet.Join(g, f)
	opened := 0
	f.opened = func() { opened++ }
	left := make(chan error)
	for range defaultStartWindow {
		go func() {
			_, err := g.Wait(t.Context(), "k", 0)
			left <- err
		}()
	}
	for range defaultStartWindow {
		require.NoError(t, <-left)
	}
	assert.Equal(t, 1, opened)
	assert.Empty(t, f.forgotten)
}

func TestWhatTheFleetLearnsWhileAnAccountIsCreatedFindsIt(t *testing.T) {
	g := new(AdaptiveGate)
	f := new(others)
	visit := fleet.Join(g, f)
	found := make(chan bool)
	p := closed()
	f.opened = func() { // what it is told, then news
		go func() {
			found <- visit("k", func(time.Duration, fleet.Pacer, int, func() fleet.History) fleet.Pacer { return p })
		}()
		runtime.Gosched()
	}
	a := g.account("k")
	require.True(t, <-found)
	assert.Equal(t, fleet.Pacer(p), a.pacer)
}

func TestNobodyLeavesAnAccountThatTheFleetKnowsWhileItIsCreated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(AdaptiveGate)
		f := &others{known: closed()}
		fleet.Join(g, f)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		refused := make(chan error)
		call := func() {
			_, err := g.Wait(ctx, "k", 0)
			refused <- err
		}
		f.opened = func() { // and neither do those who come meanwhile
			for range 3 {
				go call()
			}
			runtime.Gosched()
		}
		go call()
		for range 4 {
			require.ErrorIs(t, <-refused, context.DeadlineExceeded)
		}
	})
}

func TestTheStartWindowIsDividedAmongTheFleet(t *testing.T) {
	for _, tt := range []struct{ window, share, want int }{
		{8, 0, 8}, {8, 1, 8}, {8, 2, 4}, {8, 4, 2},
		{0, 4, 16},
		{2, 4, 1}, // nobody is left without
		{-1, 4, 1000},
	} {
		t.Run(fmt.Sprintf("%d among %d", tt.window, tt.share), func(t *testing.T) {
			g := &AdaptiveGate{StartWindow: tt.window}
			fleet.Join(g, &others{share: tt.share})
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			left := 0
			for left < 1000 {
				if _, err := g.Wait(ctx, "k", 0); err != nil {
					break
				}
				left++
			}
			assert.Equal(t, tt.want, left)
		})
	}
}

func TestAVisitTellsWhetherThereIsAnAccount(t *testing.T) {
	g := new(AdaptiveGate)
	visit := fleet.Join(g, &others{})
	called := 0
	look := func(time.Duration, fleet.Pacer, int, func() fleet.History) fleet.Pacer {
		called++
		return nil
	}
	assert.False(t, visit("k", look), "nobody uses it")
	a := g.account("k")
	assert.True(t, visit("k", look), "though it stays open")
	require.True(t, a.retire(true))
	assert.False(t, visit("k", look), "it is about to be forgotten")
	assert.Equal(t, 1, called)
}
