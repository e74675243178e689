package iamhttp

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/internal/bracket"
	"github.com/iamhttp/iamhttp/internal/fleet"
)

// What an account knows is not to be seen from outside, until much later.

// leave is Wait of a request that need not wait.
func leave(t *testing.T, g *AdaptiveGate, key string) {
	t.Helper()
	_, err := g.Wait(t.Context(), key, 0)
	require.NoError(t, err)
}

// queueUp starts a Wait that has to wait, and returns where its error will be.
func queueUp(ctx context.Context, g *AdaptiveGate, resend int) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := g.Wait(ctx, "k", resend)
		done <- err
	}()
	synctest.Wait()
	return done
}

func TestTheWindowGrowsByHalfARequestForEachAnswerWhileHalfOfItIsUsed(t *testing.T) {
	for _, tt := range []struct{ window, flying, want int64 }{
		{10, 1, 20}, {10, 4, 20}, {10, 5, 21}, {10, 10, 21},
		{-1, 100, math.MaxInt64},
	} {
		t.Run(fmt.Sprintf("%d of %d", tt.flying, tt.window), func(t *testing.T) {
			g := &AdaptiveGate{StartWindow: int(tt.window)}
			for range tt.flying {
				leave(t, g, "k")
			}
			g.Observe("k", 0, false, 0)
			a := g.account("k")
			assert.Equal(t, tt.want, a.window.Load(), "in halves of requests")
			assert.Equal(t, tt.flying-1, a.flying.Load())
		})
	}
}

func TestTheWindowGrowsForAnAnswerThatSomebodyWaitedForToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &AdaptiveGate{StartWindow: 10}
		for range 10 {
			leave(t, g, "k")
		}
		eleventh := queueUp(t.Context(), g, 0)
		assert.Empty(t, eleventh)
		g.Observe("k", 0, false, 0)
		require.NoError(t, <-eleventh)
		assert.EqualValues(t, 21, g.account("k").window.Load(), "and the account is open again")
	})
}

func TestAnAnswerToNothingMakesNoRoom(t *testing.T) {
	g := new(AdaptiveGate)
	a := g.account("k")
	for range 3 {
		g.Observe("k", 0, false, 0)
	}
	assert.Zero(t, a.flying.Load())
}

// Two seconds without an answer count from the latest one, or from when the
// first one had to wait.
func TestWithoutAnswersTheWindowGrowsByHalfEveryTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &AdaptiveGate{StartWindow: 10}
		for range 10 {
			leave(t, g, "k")
		}
		time.Sleep(time.Minute)
		start := time.Now()
		left := map[time.Duration]int{}
		var mu sync.Mutex
		ctx, cancel := context.WithCancel(t.Context())
		for range 100 {
			go func() {
				if _, err := g.Wait(ctx, "k", 0); err == nil {
					mu.Lock()
					left[time.Since(start)]++
					mu.Unlock()
				}
			}()
		}
		synctest.Wait()
		time.Sleep(1500 * time.Millisecond)
		g.Observe("k", 0, false, 0)
		time.Sleep(4500 * time.Millisecond)
		cancel()
		synctest.Wait()
		assert.Equal(t, map[time.Duration]int{
			0:                       5, // half the window, as none had come for long
			3500 * time.Millisecond: 2, // 14 in flight, and 10.5 becomes 15.5
			5500 * time.Millisecond: 7, // 23
		}, left)
	})
}

func TestBeyondTheWindowRequestsLeaveThatComeOverTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &AdaptiveGate{StartWindow: 10}
		for range 10 {
			leave(t, g, "k")
		}
		start := time.Now()
		for range 50 { // 200 ms for 10
			time.Sleep(20 * time.Millisecond)
			leave(t, g, "k")
		}
		assert.Equal(t, time.Second, time.Since(start), "nobody waited")
		ctx, cancel := context.WithCancel(t.Context())
		early := queueUp(ctx, g, 0)
		assert.Empty(t, early, "it comes too early")
		cancel()
		require.Error(t, <-early)
		time.Sleep(time.Hour)
		start = time.Now()
		for range 5 {
			leave(t, g, "k")
		}
		assert.Zero(t, time.Since(start), "half the window is saved up")
		leave(t, g, "k")
		assert.Equal(t, 5*longAnswer, time.Since(start), "and no more: 65 are in flight, of 10, 15, 22, 33, 50, 75")
		assert.EqualValues(t, 10+50+5+1, g.account("k").flying.Load())
	})
}

// An answer may find that requests wait, and when it has the lock that they
// have left.
func TestAnAnswerWidensTheWindowThatHasOpenedMeanwhile(t *testing.T) {
	g := &AdaptiveGate{StartWindow: 10}
	for range 10 {
		leave(t, g, "k")
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := g.Wait(canceled, "k", 0)
	require.ErrorIs(t, err, context.Canceled)
	a := g.account("k")
	assert.EqualValues(t, 20, a.window.Load(), "nobody waits any more")
	a.mu.Lock()
	a.window.Store(-1)
	done := make(chan struct{})
	go func() {
		g.Observe("k", 0, false, 0)
		close(done)
	}()
	for range 1000 { // until it waits for the lock, or soon will
		runtime.Gosched()
	}
	a.window.Store(20)
	a.mu.Unlock()
	<-done
	assert.EqualValues(t, 21, a.window.Load())
}

// Everybody at work, nobody may see the window of an account narrower than it
// began.
func TestTheWindowIsNeverNarrowerThanAtTheBeginning(t *testing.T) {
	g := &AdaptiveGate{StartWindow: 2}
	a := g.account("k")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 2000 {
				_, err := g.Wait(context.Background(), "k", 0)
				if w := a.window.Load(); !assert.NoError(t, err) || w >= 0 && !assert.GreaterOrEqual(t, w, a.start) {
					return
				}
				g.Observe("k", 0, false, 0)
			}
		})
	}
	wg.Wait()
	assert.Zero(t, a.flying.Load())
	assert.Zero(t, a.waiting())
}

func TestTheHistoryTellsWhenEverySixteenthAnswerCame(t *testing.T) {
	const ms = time.Millisecond
	for name, tt := range map[string]struct {
		answers int64
		want    []bracket.Mark
	}{
		"none":                     {0, []bracket.Mark{{}, {}}},
		"a few":                    {40, []bracket.Mark{{}, {At: 16 * ms, Accepted: 16}, {At: 32 * ms, Accepted: 32}, {At: 40 * ms, Accepted: 40}}},
		"as many as are kept":      {255, append(every16th(0, 15), bracket.Mark{At: 255 * ms, Accepted: 255})},
		"one more":                 {256, append(every16th(1, 16), bracket.Mark{At: 256 * ms, Accepted: 256})},
		"more, without the oldest": {1000, append(every16th(47, 62), bracket.Mark{At: 1000 * ms, Accepted: 1000})},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := new(AdaptiveGate)
				a := g.account("k")
				leave(t, g, "k")
				for range tt.answers {
					leave(t, g, "k")
					time.Sleep(ms)
					g.Observe("k", 0, false, 0)
				}
				h := a.history()
				assert.Equal(t, tt.want, h.Marks)
				assert.Equal(t, time.Duration(tt.answers)*ms, h.Now)
				assert.Equal(t, 1, h.Flying)
			})
		})
	}
}

// every16th are the marks of one answer in a millisecond.
func every16th(from, to int64) (marks []bracket.Mark) {
	for i := from; i <= to; i++ {
		marks = append(marks, bracket.Mark{At: time.Duration(16*i) * time.Millisecond, Accepted: 16 * i})
	}
	return marks
}

func TestWhatIsInFlightAtTheFirstRefusalCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(AdaptiveGate)
		f := new(others)
		fleet.Join(g, f)
		for range 3 {
			leave(t, g, "k")
		}
		time.Sleep(time.Minute)
		g.Observe("k", 0, true, 0)
		assert.Equal(t, 3, f.history.Flying, "the refused one too")
		assert.Equal(t, time.Minute, g.account("k").refused)
		g.Observe("k", 0, false, 0)
		g.Observe("k", 0, false, 0)
		a := g.account("k")
		p := a.pacer.(*turnstile)
		assert.Equal(t, []string{"accepted", "accepted"}, p.told)
		p.turns = 1
		leave(t, g, "k")
		g.Observe("k", 1, false, 0)
		assert.Len(t, p.told, 4, "idle, accepted")
		assert.EqualValues(t, 3, a.accepted.Load())
	})
}

func TestAnAnswerLetsTheNextOneLeaveIfItsTurnHasCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(AdaptiveGate)
		p := closed()
		fleet.Join(g, &others{known: p})
		p.turns = 1
		leave(t, g, "k")
		next := queueUp(t.Context(), g, 0)
		p.turns = 1
		assert.Empty(t, next, "nobody knows of the turn")
		g.Observe("k", 1, false, 0)
		synctest.Wait()
		require.Len(t, next, 1)
		assert.NoError(t, <-next)
	})
}

// A waiter that is let out and gives up in the same moment has either left, or
// the next goes instead of it.
func TestATurnThatWasGivenUpIsTheNextOnes(t *testing.T) {
	for name, begin := range map[string]func(t *testing.T, g *AdaptiveGate) (free func(a *account)){
		"before any throttling": func(t *testing.T, g *AdaptiveGate) func(*account) {
			leave(t, g, "k")
			return func(a *account) { a.landed() }
		},
		"after it": func(t *testing.T, g *AdaptiveGate) func(*account) {
			p := closed()
			fleet.Join(g, &others{known: p})
			return func(*account) { p.turns = 1 }
		},
	} {
		t.Run(name, func(t *testing.T) {
			for range 50 { // which of the two it is, is a matter of chance
				synctest.Test(t, func(t *testing.T) {
					g := &AdaptiveGate{StartWindow: 1}
					free := begin(t, g)
					ctx, cancel := context.WithCancel(t.Context())
					hasty := queueUp(ctx, g, 0)
					patient := queueUp(t.Context(), g, 0)
					a := g.account("k")
					a.mu.Lock()
					cancel()
					free(a)
					a.dispatch()
					a.mu.Unlock()
					left := 1
					if err := <-hasty; err == nil {
						left += len(a.tickets) // before throttling, free has taken it out of those in flight
						a.mu.Lock()
						free(a)
						a.dispatch()
						a.mu.Unlock()
					} else {
						assert.ErrorIs(t, err, context.Canceled)
					}
					synctest.Wait()
					require.Len(t, patient, 1)
					require.NoError(t, <-patient)
					assert.EqualValues(t, left, int(a.flying.Load())+len(a.tickets))
				})
			}
		})
	}
}

func TestKeysThatAreUsedOnceAreForgottenWhileTheyCome(t *testing.T) {
	g := new(AdaptiveGate)
	for i := range 5000 {
		key := fmt.Sprint(i)
		leave(t, g, key)
		g.Observe(key, 0, false, 0)
		require.LessOrEqual(t, g.live.Load(), int64(fewAccounts))
	}
}

// A sweep in a hurry looks at all accounts. What it must keep is not looked at
// again for each key that comes. The key that makes it necessary is forgotten
// as well, and comes back.
func TestASweepThatForgetsNothingIsNotRepeatedBeforeTheKeysHaveDoubled(t *testing.T) {
	g := new(AdaptiveGate)
	leave(t, g, "first")
	a := g.account("first")
	sweeps, latest := []int{}, int64(0)
	for i := 2; i <= 3*fewAccounts; i++ {
		a.accepted.Add(1)
		leave(t, g, fmt.Sprint(i)) // and is in flight for ever
		if a.seen != latest {
			sweeps, latest = append(sweeps, i), a.seen
		}
	}
	assert.Equal(t, []int{fewAccounts, 2 * (fewAccounts - 1)}, sweeps)
}

func TestAKeyIsForgottenAfterTenQuietMinutesAsOftenAsItComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(AdaptiveGate)
		for range 3 {
			leave(t, g, "k")
			g.Observe("k", 0, false, 0)
			time.Sleep(keepQuiet + time.Second)
			assert.EqualValues(t, 1, g.live.Load(), "it was not quiet all the time")
			time.Sleep(keepQuiet)
			assert.Zero(t, g.live.Load())
			g.mu.Lock()
			assert.Nil(t, g.sweeper, "nothing holds a gate that nobody uses")
			g.mu.Unlock()
		}
	})
}

// The sweep marks an account as forgotten before it takes it out of the map.
func TestAnAccountThatIsBeingForgottenIsReplacedByANewOne(t *testing.T) {
	g := new(AdaptiveGate)
	old := g.account("k")
	require.True(t, old.retire(true))
	leave(t, g, "k")
	assert.NotSame(t, old, g.account("k"))
	assert.EqualValues(t, 1, g.live.Load())
}

// Those who were told the same time must not come back together. A gate takes
// its luck from the nanosecond in which it was born.
func TestAPauseIsLongerByUpToATwentiethOrAQuarterOfASecond(t *testing.T) {
	for asked, most := range map[time.Duration]time.Duration{
		time.Second:      50 * time.Millisecond,
		10 * time.Second: 250 * time.Millisecond,
	} {
		t.Run(asked.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var longer []time.Duration
				for range 200 {
					time.Sleep(time.Nanosecond)
					g := new(AdaptiveGate)
					leave(t, g, "k")
					time.Sleep(time.Hour)
					g.Observe("k", 0, true, asked)
					longer = append(longer, g.account("k").pacer.Paused()-asked-time.Hour)
				}
				assert.InDelta(t, 0, slices.Min(longer), float64(most)/20)
				assert.InDelta(t, most, slices.Max(longer), float64(most)/20)
				assert.GreaterOrEqual(t, slices.Min(longer), time.Duration(0))
				assert.Less(t, slices.Max(longer), most)
			})
		})
	}
}

func TestThePacerIsToldWhenNobodyWaitedForItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(AdaptiveGate)
		p := closed()
		fleet.Join(g, &others{known: p})
		ctx, cancel := context.WithCancel(t.Context())
		for range 3 {
			queueUp(ctx, g, 0)
		}
		assert.Equal(t, []string{"idle"}, p.told, "by the first")
		cancel()
	})
}

func TestWithoutBudgetLaterRepeatsAreRefusedWhileTheServiceRefusesAll(t *testing.T) {
	for name, tt := range map[string]struct {
		setting, budget float64
		resend, probes  int
		refused         bool
	}{
		"nothing is left":            {0, 0.99, 2, 3, true},
		"with a limit of its own":    {0.01, 0.99, 2, 3, true},
		"enough is left":             {0, 1, 2, 3, false},
		"the first repeat is free":   {0, 0, 1, 3, false},
		"the service took something": {0, 0, 2, 2, false},
		"there is no limit":          {-1, 0, 2, 3, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := &AdaptiveGate{RetryBudget: tt.setting}
			p := closed()
			p.probes = tt.probes
			fleet.Join(g, &others{known: p})
			a := g.account("k")
			a.budget = tt.budget
			err := a.refuse(&waiter{resend: tt.resend})
			if !tt.refused {
				assert.NoError(t, err)
				return
			}
			assert.ErrorIs(t, err, errBudget)
		})
	}
}

// Each call pays when it has to wait for its first send, and however many wait,
// each that pays is paid for.
func TestWhatFirstSendsPay(t *testing.T) {
	for name, tt := range map[string]struct {
		setting      float64
		calls        int
		resend       int
		before, want float64
	}{
		"one pause by default":    {0, 3, 0, 0, 3},
		"or what is set":          {0.25, 3, 0, 0, 0.75},
		"repeats pay nothing":     {0, 3, 1, 0, 0},
		"no limit needs no money": {-1, 3, 0, 5, 5},
		"not without end":         {1, 3, 0, 99.5, 100 + 2}, // two waited when the third came
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &AdaptiveGate{RetryBudget: tt.setting}
				fleet.Join(g, &others{known: closed()})
				a := g.account("k")
				assert.EqualValues(t, freePauses, a.budget)
				a.budget = tt.before
				ctx, cancel := context.WithCancel(t.Context())
				for range tt.calls {
					queueUp(ctx, g, tt.resend)
				}
				assert.Equal(t, tt.want, a.budget)
				cancel()
			})
		})
	}
}

func TestADeadlineIsTooEarlyIfThoseBeforeNeedTheTimeUntilThen(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	g := new(AdaptiveGate)
	p := closed()
	p.gap = s
	fleet.Join(g, &others{known: p})
	a := g.account("k")
	now := 100 * s
	for range 3 {
		a.repeats.push(&waiter{resend: 1})
		a.firsts.push(&waiter{limited: true, deadline: now + 3500*ms})
	}
	for _, tt := range []struct {
		resend   int
		deadline time.Duration
		late     bool
		until    time.Duration // when all before have left
	}{
		{1, 3 * s, true, 3 * s}, {1, 4 * s, false, 3 * s}, {2, 3 * s, true, 3 * s},
		{0, 3 * s, true, 6 * s},
		{0, 3500 * ms, true, 6 * s}, // those give up no earlier than this one
		{0, 4 * s, false, 6 * s},    // and before this one
		{0, 6 * s, false, 6 * s}, {0, 7 * s, false, 6 * s},
	} {
		until, late := a.tooLate(&waiter{resend: tt.resend, limited: true, deadline: now + tt.deadline}, now)
		assert.Equal(t, now+tt.until, until, "%+v", tt)
		assert.Equal(t, tt.late, late, "%+v", tt)
	}
	_, late := a.tooLate(&waiter{}, now)
	assert.False(t, late, "without a deadline")
}

func TestWhoseTurnItIs(t *testing.T) {
	repeat, first := "the repeat", "the first send"
	for name, tt := range map[string]struct {
		resend           int
		probing, waiting bool // whether a first send waits
		throttled        bool
		want             string
	}{
		"repeats leave before first sends":        {lateResend, false, true, true, repeat},
		"the first after a pause is no late one":  {lateResend, true, true, true, first},
		"another repeat may be":                   {lateResend - 1, true, true, true, repeat},
		"and a late one if there is nobody else":  {lateResend, true, false, true, repeat},
		"before any throttling there is no pause": {lateResend, true, true, false, repeat},
	} {
		t.Run(name, func(t *testing.T) {
			a := new(AdaptiveGate).account("k")
			if tt.throttled {
				p := closed()
				p.probing = tt.probing
				a.adopt(p)
			}
			a.repeats.push(&waiter{resend: tt.resend})
			if tt.waiting {
				a.firsts.push(new(waiter))
			}
			w := a.pop()
			got := first
			if w.resend > 0 {
				got = repeat
			}
			assert.Equal(t, tt.want, got)
			assert.Zero(t, w.queue.n)
		})
	}
}

func TestWhoWaitsIsWokenWhenTheTurnComesThoughItMoves(t *testing.T) {
	for name, tt := range map[string]struct{ before, after time.Duration }{
		"earlier": {time.Minute, time.Second},
		"later":   {time.Second, time.Minute},
		"not":     {time.Minute, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := new(AdaptiveGate)
				p := closed()
				fleet.Join(g, &others{known: p})
				for range 2 { // the timer is new, and used again
					start, now := time.Now(), g.account("k").now()
					p.turns, p.pause = 2, now+tt.before
					first := queueUp(t.Context(), g, 0)
					p.pause = now + tt.after
					second := queueUp(t.Context(), g, 0)
					require.NoError(t, <-first)
					require.NoError(t, <-second)
					assert.Equal(t, tt.after, time.Since(start))
				}
			})
		})
	}
}

func TestWhatAnAccountIsRememberedFor(t *testing.T) {
	quiet := func(a *account) { a.seen = a.accepted.Load() }
	refused := func(ago time.Duration) func(*account) {
		return func(a *account) {
			quiet(a)
			a.adopt(closed())
			a.refused = a.now() - ago
		}
	}
	throttled := refused(keepQuiet)
	for name, tt := range map[string]struct {
		hurry bool
		set   func(*account)
		want  bool
	}{
		"nothing":                           {false, quiet, true},
		"it was used lately":                {false, func(a *account) {}, false},
		"lately, which does not matter":     {true, func(a *account) {}, true},
		"its window":                        {true, func(a *account) { a.window.Add(1) }, false},
		"its window, for a while":           {false, func(a *account) { quiet(a); a.window.Add(1) }, true},
		"what is in flight":                 {true, func(a *account) { a.flying.Add(1) }, false},
		"who waits":                         {false, func(a *account) { quiet(a); a.firsts.push(new(waiter)) }, false},
		"that it is forgotten":              {false, func(a *account) { quiet(a); a.gone = true }, false},
		"a pause":                           {false, func(a *account) { throttled(a); a.pacer.(*turnstile).pause = a.now() + 1 }, false},
		"a pause that is over":              {false, func(a *account) { throttled(a); a.pacer.(*turnstile).pause = a.now() }, true},
		"one that began lately":             {false, refused(keepQuiet - 1), false},
		"one that began lately, in a hurry": {true, throttled, false},
		"answers after it":                  {false, func(a *account) { throttled(a); a.seen-- }, false},
		"a pace with an answer to come":     {false, func(a *account) { throttled(a); a.tickets[1] = bracket.Send{} }, false},
		"one of long silences":              {false, func(a *account) { refused(20*time.Minute - 1)(a); a.pacer.(*turnstile).silence = 2 * time.Minute }, false},
		"ten silences long":                 {false, func(a *account) { refused(20 * time.Minute)(a); a.pacer.(*turnstile).silence = 2 * time.Minute }, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := new(AdaptiveGate)
				a := g.account("k")
				leave(t, g, "k")
				g.Observe("k", 0, false, 0)
				time.Sleep(time.Minute)
				tt.set(a)
				window := a.window.Load()
				assert.Equal(t, tt.want, a.retire(tt.hurry))
				if tt.want {
					assert.True(t, a.gone)
					assert.Negative(t, a.window.Load(), "whoever comes takes the lock")
				} else {
					assert.Equal(t, window, a.window.Load())
					assert.Equal(t, a.accepted.Load(), a.seen)
				}
			})
		})
	}
}
