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
	to          []fleet1.Endpoint // of accepted requests
}

func (*member) Ranked(fleet1.Lanes)                      {}
func (m *member) SeparateUntil(key uint64) time.Duration { return m.separate[key] }
func (m *member) Separations() int                       { return m.separations }
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
