package redisgate

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// A throng is a number of callers of one priority in one process.
type throng struct {
	process, callers int
	priority         gate.Priority
}

// turnsOf runs throngs for two minutes, and returns how many calls of each throng were
// accepted in the second minute. The fleet learns the limit in the first one.
func turnsOf(t *testing.T, gates []*Gate, throngs ...throng) []int64 {
	a := newAccount(100, 20, time.Second)
	a.trip = 20 * time.Millisecond
	var stop atomic.Bool
	var wg sync.WaitGroup
	done := make([]atomic.Int64, len(throngs))
	for i, c := range throngs {
		ctx := gate.WithPriority(t.Context(), c.priority)
		for range c.callers {
			wg.Go(func() {
				for !stop.Load() {
					assert.NoError(t, call(ctx, gates[c.process], "k", a))
					done[i].Add(1)
				}
			})
		}
	}
	time.Sleep(time.Minute)
	before := make([]int64, len(done))
	for i := range done {
		before[i] = done[i].Load()
	}
	time.Sleep(time.Minute)
	var calls []int64
	for i := range done {
		calls = append(calls, done[i].Load()-before[i])
	}
	stop.Store(true)
	wg.Wait()
	t.Log(calls)
	return calls
}

func TestUrgentRequestsOfOneProcessGoBeforeTheOthersOfTheFleet(t *testing.T) {
	const rounds = 3
	all := int64(0)
	for range rounds {
		inVirtualTime(t, func(t *testing.T, w *world) {
			gates, _ := w.gates(10)
			throngs := []throng{{0, 50, gate.Interactive}}
			for i := range gates[1:] {
				throngs = append(throngs, throng{i + 1, 50, gate.Bulk})
			}
			calls := turnsOf(t, gates, throngs...)
			bulk := int64(0)
			for _, n := range calls[1:] {
				bulk += n
			}
			share := float64(bulk) / float64(calls[0]+bulk)
			assert.Less(t, share, 0.15)
			assert.Greater(t, share, 0.08, "each priority should keep about a tenth of the turns")
			all += calls[0] + bulk
		})
	}
	assert.Greater(t, all/rounds, int64(5400), "single runs differ by several percent")
}

func TestEachPriorityKeepsATenthOfTheTurnsOfAFleet(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, _ := w.gates(4)
		calls := turnsOf(t, gates,
			throng{0, 50, gate.Interactive}, throng{0, 50, gate.Bulk},
			throng{1, 50, gate.Interactive}, throng{1, 50, gate.Normal},
			throng{2, 50, gate.Normal}, throng{3, 50, gate.Bulk})
		all := int64(0)
		for _, n := range calls {
			all += n
		}
		urgent, normal, bulk := calls[0]+calls[2], calls[3]+calls[4], calls[1]+calls[5]
		assert.Greater(t, float64(urgent), 0.65*float64(all))
		assert.Greater(t, float64(normal), 0.08*float64(all))
		assert.Greater(t, float64(bulk), 0.08*float64(all))
		assert.InEpsilon(t, calls[0], calls[2], 0.1, "processes should share the turns for one priority equally")
	})
}

// A person occasionally makes a call, in a process that is busy with other requests.
func TestUrgentRequestDoesNotWaitForTheNextReport(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, _ := w.gates(5)
		a := newAccount(100, 20, time.Second)
		a.trip = 20 * time.Millisecond
		var stop atomic.Bool
		var wg sync.WaitGroup
		for _, g := range gates {
			for range 50 {
				wg.Go(func() {
					for !stop.Load() {
						assert.NoError(t, call(gate.WithPriority(t.Context(), gate.Bulk), g, "k", a))
					}
				})
			}
		}
		time.Sleep(time.Minute)
		slow := 0
		for i := range 100 {
			began := time.Now()
			ctx, cancel := context.WithTimeout(gate.WithPriority(t.Context(), gate.Interactive), 5*time.Second)
			assert.NoError(t, a.serveUntil(ctx, gates[i%len(gates)]))
			cancel()
			if time.Since(began) > 200*time.Millisecond {
				slow++
			}
			time.Sleep(97 * time.Millisecond)
		}
		assert.LessOrEqual(t, slow, 10, "urgent calls should take 200 ms at most, unless there is a pause")
		stop.Store(true)
		wg.Wait()
	})
}

// ledBy returns a leader with members that have these requests waiting.
func ledBy(waiting map[string]fleet1.Lanes) *leader {
	l := &leader{members: make(map[string]*member)}
	for id, n := range waiting {
		m := &member{id: id, waiting: n}
		l.members[id] = m
		for i := range l.rings {
			l.rings[i] = append(l.rings[i], m)
		}
	}
	return l
}

// A request fails early if its process's share of the pace does not suffice for its
// deadline, so the share must not be underestimated.
func TestLessUrgentRequestsDoNotCountAsRivals(t *testing.T) {
	l := ledBy(map[string]fleet1.Lanes{"urgent": {80, 0, 0}, "normal": {0, 1000, 0}, "both": {80, 1000, 0}, "few": {1, 2, 3}})
	for id, sharing := range map[string]int{"urgent": 2, "normal": 2, "both": 1, "few": 3} {
		assert.Equal(t, sharing, l.sharing(0, l.members[id]), id)
	}
}

// Processes of a version without priorities in its reports are part of the same fleet.
func TestRequestsOfUnknownPriorityCountAsNormal(t *testing.T) {
	m, ok := parse([]byte(`{"r":{"n":"`+defaultNames().of("k")+`","f":"old","w":7}}`), 0)
	require.True(t, ok)
	assert.Equal(t, fleet1.Lanes{0, 7, 0}, m.Report.lanes())
	l := ledBy(map[string]fleet1.Lanes{"old": m.Report.lanes(), "urgent": {1000, 0, 0}, "bulk": {0, 0, 1000}})
	turns := make(map[string]int)
	for i := range 50 {
		m, lane := l.next(0)
		m.give(uint64(i), lane)
		turns[m.id]++
	}
	assert.Equal(t, map[string]int{"urgent": 41, "old": 5, "bulk": 4}, turns, "each priority should get about a tenth of the turns, and the rest should go to urgent requests")
}
