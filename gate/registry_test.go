package gate

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestKeysUsedOnceAreForgottenWhileMoreArrive(t *testing.T) {
	g := new(Adaptive)
	for i := range 5000 {
		key := fmt.Sprint(i)
		leave(t, g, key)
		g.Observe(Request{Key: key}, 0, accepted)
		require.LessOrEqual(t, g.live.Load(), int64(fewAccounts))
	}
}

// A sweep looks at all accounts, so one that finds next to nothing to forget must not be
// followed by another one for each new key. Here, each sweep forgets only the key that
// caused it, whose account is then created again.
func TestSweepThatForgetsLittleRunsAgainOnlyWhenTheNumberOfKeysHasDoubled(t *testing.T) {
	g := new(Adaptive)
	leave(t, g, "first")
	a := g.account("first")
	sweeps, latest := []int{}, int64(0)
	for i := 2; i <= 3*fewAccounts; i++ {
		a.accepted.Add(1)
		leave(t, g, fmt.Sprint(i)) // stays in flight
		if a.seen != latest {
			sweeps, latest = append(sweeps, i), a.seen
		}
	}
	assert.Equal(t, []int{fewAccounts, 2 * (fewAccounts - 1)}, sweeps)
}

func TestUnusedKeyIsForgottenByTheSecondSweepEvenIfItWasForgottenBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(Adaptive)
		for range 3 {
			leave(t, g, "k")
			g.Observe(plain, 0, accepted)
			time.Sleep(keepQuiet + time.Second)
			assert.EqualValues(t, 1, g.live.Load(), "the first sweep should keep the key, because it was used before that sweep")
			time.Sleep(keepQuiet)
			assert.Zero(t, g.live.Load())
			g.mu.Lock()
			assert.Nil(t, g.sweeper, "no timer should keep an unused gate alive")
			g.mu.Unlock()
		}
	})
}

// The sweep marks an account as forgotten before it removes it from the map.
func TestAccountThatIsBeingForgottenIsReplaced(t *testing.T) {
	g := new(Adaptive)
	old := g.account("k")
	require.True(t, old.retire(true))
	leave(t, g, "k")
	assert.NotSame(t, old, g.account("k"))
	assert.EqualValues(t, 1, g.live.Load())
}

func TestAccountIsForgottenOnlyIfItIsNeitherInUseNorWorthKeeping(t *testing.T) {
	quiet := func(a *account) { a.seen = a.accepted.Load() }
	paused := func(ago time.Duration) func(*account) {
		return func(a *account) {
			quiet(a)
			a.adopt(closed())
			a.throttled = a.now() - ago
		}
	}
	throttled := paused(keepQuiet)
	for name, tt := range map[string]struct {
		hurry bool
		set   func(*account)
		want  bool
	}{
		"the account has not been used since the latest sweep":              {false, quiet, true},
		"the account has been used since the latest sweep":                  {false, func(a *account) {}, false},
		"the account has been used, and the sweep is in a hurry":            {true, func(a *account) {}, true},
		"the window has grown, and the sweep is in a hurry":                 {true, func(a *account) { a.window.Add(1) }, false},
		"the window has grown, and the account has not been used":           {false, func(a *account) { quiet(a); a.window.Add(1) }, true},
		"a request is in flight":                                            {true, func(a *account) { a.flying.Add(1) }, false},
		"a request waits":                                                   {false, func(a *account) { quiet(a); a.lanes.push(new(waiter), Normal) }, false},
		"the account was already forgotten":                                 {false, func(a *account) { quiet(a); a.gone = true }, false},
		"a pause is in force":                                               {false, func(a *account) { throttled(a); a.pacer.(*turnstile).pause = a.now() + 1 }, false},
		"a pause is over, and began ten minutes ago":                        {false, func(a *account) { throttled(a); a.pacer.(*turnstile).pause = a.now() }, true},
		"a pause began less than ten minutes ago":                           {false, paused(keepQuiet - 1), false},
		"a pause is over, and the sweep is in a hurry":                      {true, throttled, false},
		"after a pause, a request has been accepted since the latest sweep": {false, func(a *account) { throttled(a); a.seen-- }, false},
		"after a pause, a request has failed since the latest sweep":        {false, func(a *account) { throttled(a); a.ticket++ }, false},
		"after a pause, a request is still in flight":                       {false, func(a *account) { throttled(a); a.tickets[1] = sent{} }, false},
		"a pause began less than ten silences ago":                          {false, func(a *account) { paused(20*time.Minute - 1)(a); a.pacer.(*turnstile).silence = 2 * time.Minute }, false},
		"a pause began ten silences ago":                                    {false, func(a *account) { paused(20 * time.Minute)(a); a.pacer.(*turnstile).silence = 2 * time.Minute }, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := new(Adaptive)
				a := g.account("k")
				leave(t, g, "k")
				g.Observe(plain, 0, accepted)
				time.Sleep(time.Minute)
				tt.set(a)
				window := a.window.Load()
				assert.Equal(t, tt.want, a.retire(tt.hurry))
				if tt.want {
					assert.True(t, a.gone)
					assert.Negative(t, a.window.Load(), "the next request should have to take the lock")
				} else {
					assert.Equal(t, window, a.window.Load())
					assert.Equal(t, a.accepted.Load()+int64(a.ticket), a.seen)
				}
			})
		})
	}
}
