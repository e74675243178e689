package gate

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// A member is the Pacer of a process in a fleet whose leader gives own accounts to endpoints.
type member struct {
	turnstile
	separate    map[uint64]time.Duration
	separations int
	row         *fleet1.Row
	sharing     int
	missed      int
	to          []fleet1.Endpoint // of accepted requests
}

func (m *member) Ranked(_ fleet1.Lanes, missed int)      { m.missed = missed }
func (m *member) SeparateUntil(key uint64) time.Duration { return m.separate[key] }
func (m *member) Separations() int                       { return m.separations }
func (m *member) Sharing() int                           { return max(m.sharing, 1) }
func (m *member) Row() *fleet1.Row                       { return m.row }
func (m *member) Accepted(_ time.Duration, s fleet1.Send) {
	m.to = append(m.to, s.To)
}

// A fleet has a Pacer for the key "k".
type fleet struct {
	others
	member *member
}

func (f *fleet) Opened(key string) (int, fleet1.Pacer) {
	if key == "k" {
		return 2, f.member
	}
	return 2, nil
}

// inFleet returns a gate in a fleet, and a function that gives /jobs an own account for a
// minute.
func inFleet() (g *Adaptive, f *fleet, separate func(*testing.T)) {
	g, f = new(Adaptive), &fleet{member: &member{turnstile: *closed(), separate: make(map[uint64]time.Duration)}}
	visit := g.Join(f)
	return g, f, func(t *testing.T) {
		require.True(t, visit("k", func(now time.Duration, p fleet1.Pacer, _ int, _ func() fleet1.History) fleet1.Pacer {
			f.member.separate[jobs.endpoint().Route] = now + time.Minute
			f.member.separations++
			return p
		}))
	}
}

func TestRequestsLeaveForTheOwnAccountThatTheLeaderGivesToTheirEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, f, separate := inFleet()
		waiting := make(chan error, 2)
		for _, r := range []Request{jobs, users} {
			go func() {
				ticket, err := g.Wait(t.Context(), r)
				if err == nil {
					g.Observe(r, ticket, Outcome{Result: Accepted})
				}
				waiting <- err
			}()
		}
		synctest.Wait()
		require.Empty(t, waiting, "there are no turns")
		separate(t)
		synctest.Wait()
		require.Len(t, waiting, 1)
		require.NoError(t, <-waiting)
		exchange(t, g, jobs, Outcome{}) // which says nothing
		s, _ := g.Stats("k")
		assert.Equal(t, 1, s.Waiting)
		assert.Zero(t, s.Flying)
		require.True(t, g.Join(f)("k", func(_ time.Duration, p fleet1.Pacer, _ int, _ func() fleet1.History) fleet1.Pacer {
			f.member.turns = 1
			return p
		}))
		synctest.Wait()
		require.Len(t, waiting, 1)
		require.NoError(t, <-waiting)
		assert.Equal(t, []fleet1.Endpoint{users.endpoint()}, f.member.to)
	})
}

// A process has only a part of the outcomes, so its own refusals in a row say little.
func TestRequestsToOthersGoFirstIfTheLeaderKnowsOfRefusalsInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, f, _ := inFleet()
		f.member.row = &fleet1.Row{Routes: []uint64{jobs.endpoint().Route}, N: 5, Resource: jobs.endpoint().Resource, Same: 5}
		sent := make(chan string, 200)
		call := func(r Request) {
			go func() {
				_, err := g.Wait(t.Context(), r)
				assert.NoError(t, err)
				sent <- r.Path
			}()
			synctest.Wait()
		}
		for range 100 {
			call(jobs)
		}
		for range 100 {
			call(users)
		}
		admit := func(turns int) {
			g.Join(f)("k", func(_ time.Duration, p fleet1.Pacer, _ int, _ func() fleet1.History) fleet1.Pacer {
				f.member.turns = turns
				return p
			})
			synctest.Wait()
		}
		admit(50)
		n := 0
		for range 50 {
			if <-sent == jobs.Path {
				n++
			}
		}
		assert.Less(t, n, 15)
		admit(150)
	})
}

func TestARequestThatIsLateOnlyBecauseOfRefusedOnesMayWaitIfTheLeaderKnowsOfThem(t *testing.T) {
	a := &account{pacer: &member{turnstile: *closed()}}
	refused, w := jobs.endpoint(), &waiter{limited: true, deadline: time.Hour, endpoint: users.endpoint()}
	for name, tt := range map[string]struct {
		row *fleet1.Row
		may bool
	}{
		"it knows of them":              {&fleet1.Row{Routes: []uint64{refused.Route}, N: 2, Unsettled: true}, true},
		"outcomes would add nothing":    {&fleet1.Row{Routes: []uint64{refused.Route}, N: 2}, false},
		"it knows of only one":          {&fleet1.Row{Routes: []uint64{refused.Route}, N: 1, Unsettled: true}, false},
		"the refused one is of this":    {&fleet1.Row{Routes: []uint64{w.endpoint.Route}, N: 2, Resource: w.endpoint.Resource, Unsettled: true}, false},
		"the process has no leader now": {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			a.pacer.(*member).row = tt.row
			assert.Equal(t, tt.may, a.mayTestify(w, Normal, 0))
		})
	}
}

// If each process tried as often, every turn of a fleet would be for a request that is late,
// and none would be answered.
func TestTheProcessesOfAFleetTogetherTryLateRequestsAsOftenAsOne(t *testing.T) {
	a := &account{pacer: &member{turnstile: *closed(), sharing: 4}, turned: 1, sentAt: time.Hour}
	a.given = 500 * time.Millisecond / 6 // so that responses take 100 ms
	const ms = time.Millisecond
	for name, tt := range map[string]struct {
		waited, since time.Duration // since a turn was last used
		turned        int
		tries         bool
	}{
		"it has not waited, but too soon":                      {0, 99 * ms, 1, false},
		"it has not waited":                                    {0, 100 * ms, 1, true},
		"it has waited":                                        {10 * ms, 3199 * ms, 1, false},
		"it has waited, and no other of this process did":      {10 * ms, 3199 * ms, 0, false},
		"it has waited for a turn that is not used for long":   {10 * ms, 3200 * ms, 0, true},
		"it has not waited, and no other of this process does": {0, 0, 0, true},
	} {
		a.turned = tt.turned
		now := a.sentAt + tt.since
		assert.Equal(t, tt.tries, a.tries(&waiter{since: now - tt.waited}, now), name)
	}
}

func TestAnOwnAccountOfAFleetIsOneOfTheFleetsAccounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, f, separate := inFleet()
		g.account("k")
		separate(t)
		key := fleet1.OwnKey("k", jobs.endpoint().Route)
		exchange(t, g, jobs, Outcome{Result: Throttled, RetryAfter: time.Second})
		assert.Equal(t, []string{key}, f.throttled)
		visited := g.Join(f)(key, func(_ time.Duration, p fleet1.Pacer, _ int, _ func() fleet1.History) fleet1.Pacer {
			p.(*turnstile).turns = 1
			return p
		})
		assert.True(t, visited)
		exchange(t, g, jobs, Outcome{Result: Accepted})
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		assert.ElementsMatch(t, []string{key, "k"}, f.forgotten)
		n := 0
		g.owned.Range(func(any, any) bool { n++; return true })
		assert.Zero(t, n)
	})
}

func TestRequestsReturnWhenTheLeaderEndsAnOwnAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, f, separate := inFleet()
		g.account("k")
		separate(t)
		exchange(t, g, jobs, Outcome{Result: Throttled, RetryAfter: time.Second}) // now there are no turns in the own account
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		f.member.turns = 1
		waiting := make(chan error, 1)
		go func() {
			_, err := g.Wait(ctx, jobs)
			waiting <- err
		}()
		time.Sleep(59 * time.Second)
		require.Empty(t, waiting)
		time.Sleep(2 * time.Second)
		require.NoError(t, <-waiting)
		synctest.Wait()
		assert.Zero(t, f.member.turns)
	})
}

func TestTheLeaderIsToldHowManyCallersHaveGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, f, _ := inFleet()
		wait := func(ctx context.Context) {
			go func() { _, _ = g.Wait(ctx, users) }()
			synctest.Wait()
		}
		ctx, cancel := context.WithCancel(t.Context())
		for range 3 {
			wait(ctx)
		}
		wait(t.Context())
		assert.Zero(t, f.member.missed)
		cancel()
		synctest.Wait()
		wait(t.Context())
		assert.Equal(t, 3, f.member.missed)
		f.member.turns = 1
		wait(t.Context())
		assert.Equal(t, 3, f.member.missed, "it counts them once, but still counts them after a turn")
		f.member.turns = 3
		wait(t.Context())
	})
}
