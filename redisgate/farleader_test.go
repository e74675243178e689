package redisgate

import (
	"context"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// distant returns the gate of a process that is farther away from the server than the
// others.
func (w *world) distant(delay time.Duration) (*Gate, *logbook) {
	r := newRelay(w.t, w.server.Dial)
	r.setDelay(delay)
	return newGateOf(w.t, w.clientWith(func(o *redis.Options) {
		o.Dialer = func(context.Context, string, string) (net.Conn, error) { return r.pipe() }
	}))
}

// alone reports whether, for the account "k", the gate's process is alone.
func (g *Gate) alone() (alone bool) {
	g.visit("k", func(_ time.Duration, p fleet1.Pacer, _ int, _ func() fleet1.History) fleet1.Pacer {
		l, ok := p.(*link)
		alone = ok && l.solo != nil
		return p
	})
	return alone
}

// A process expects turns within a time that depends on its own distance to the server.
// If the leader were much farther away, turns would arrive too late, and the process would
// stay alone as long as that leader leads. The result of a single run varies by chance, because
// a pace that was learned badly is kept for minutes.
func TestLeaderThatIsTooFarAwayPassesTheLeadOnToANearerProcess(t *testing.T) {
	const runs = 3
	for _, far := range []time.Duration{100, 200, 400} {
		t.Run(fmt.Sprint(int(far), " ms"), func(t *testing.T) {
			accepted := 0
			for range runs {
				inVirtualTime(t, func(t *testing.T, w *world) {
					distant, _ := w.distant(far * time.Millisecond)
					time.Sleep(5 * time.Second)
					a := newAccount(100, 20, time.Second)
					a.trip, a.news = 20*time.Millisecond, far*time.Millisecond+100*time.Millisecond
					first := start([]*Gate{distant}, 50, 1<<40, "k", a)
					time.Sleep(20 * time.Second)
					assert.True(t, distant.leads("k"))
					gates, books := w.gates(4)
					c := start(gates, 50, 1<<40, "k", a)
					time.Sleep(10 * time.Second)
					assert.False(t, distant.leads("k"))
					time.Sleep(50 * time.Second) // the fleet learns the limit
					alone := 0
					_, before, _ := a.counts()
					calls := c.done[0].Load()
					for range 300 {
						time.Sleep(100 * time.Millisecond)
						for _, g := range append(slices.Clone(gates), distant) {
							if g.alone() {
								alone++
							}
						}
					}
					_, after, _ := a.counts()
					accepted += after - before
					assert.Less(t, alone, 15, "each of the 5 processes was checked 300 times, and found alone too often")
					assert.InEpsilon(t, (after-before)/5, c.done[0].Load()-calls, 0.1, "a near process should get its share")
					for _, b := range books {
						assert.Empty(t, b.all())
					}
					for _, c := range []*crowd{first, c} {
						c.left.Store(0)
						c.wait(t)
					}
				})
			}
			assert.Greater(t, accepted/runs, 2600)
		})
	}
}

// A turn travels from the leader to the server and then to the process, so a process that
// is too far away to lead can still follow a leader near the server.
func TestProcessThatIsFarAwayFollowsANearLeader(t *testing.T) {
	for _, far := range []time.Duration{550, 700} {
		t.Run(fmt.Sprint(int(far), " ms"), func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, w *world) {
				distant, book := w.distant(far * time.Millisecond)
				near, _ := w.gates(4)
				gates := append(slices.Clone(near), distant)
				time.Sleep(10 * time.Second)
				assert.False(t, distant.usable(), "without a near leader, the server should count as lost")
				a := newAccount(100, 20, time.Second)
				a.trip = 20 * time.Millisecond
				c := start(gates, 50, 1<<40, "k", a)
				time.Sleep(time.Minute)
				assert.False(t, distant.alone())
				calls := c.done[4].Load()
				_, before, _ := a.counts()
				time.Sleep(time.Minute)
				_, after, _ := a.counts()
				assert.Greater(t, after-before, 5100)
				assert.InEpsilon(t, (after-before)/5, c.done[4].Load()-calls, 0.1)
				assert.Len(t, book.all(), 2)
				for _, g := range near {
					g.Close()
				}
				time.Sleep(30 * time.Second)
				assert.False(t, distant.leads("k"))
				assert.True(t, distant.alone())
				c.left.Store(0)
				c.wait(t)
			})
		})
	}
}

func TestOnlyAMuchNearerProcessOfKnownDistanceGetsTheLead(t *testing.T) {
	const ms = distance(time.Millisecond)
	for name, tt := range map[string]struct {
		own distance
		m   member
		led time.Duration
		far bool
	}{
		"much nearer":               {200 * ms, member{away: ms}, minLead, true},
		"nearer, but not by enough": {200 * ms, member{away: 80 * ms}, minLead, false},
		"both near":                 {1 * ms, member{away: 1}, minLead, false},
		"an old version that does not report its distance": {200 * ms, member{}, minLead, false},
		"much nearer, but gone":                            {200 * ms, member{away: ms, heard: -time.Minute}, minLead, false},
		"much nearer, but the leader has not led for long": {200 * ms, member{away: ms}, minLead - 1, false},
	} {
		g := new(Gate)
		g.away.Store(int64(tt.own))
		l := &leader{g: g, began: -tt.led, control: new(fleet1.Controller), members: map[string]*member{"m": &tt.m}}
		assert.Equal(t, tt.far, l.tooFar(0), name)
	}
}
