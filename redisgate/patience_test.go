package redisgate

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// A turnstile records when calls to a gate's Wait return.
type turnstile struct {
	gate.Gate
	mu    sync.Mutex
	times []time.Time
}

func (s *turnstile) Wait(ctx context.Context, r gate.Request) (gate.Ticket, error) {
	ticket, err := s.Gate.Wait(ctx, r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times = append(s.times, time.Now())
	return ticket, err
}

// longest returns the longest gap between two admissions, counting only the time after
// the given moment. The result means something only if callers keep sending requests all
// that time.
func (s *turnstile) longest(after time.Time) (gap time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	times := slices.DeleteFunc(append(slices.Clone(s.times), time.Now()), func(at time.Time) bool { return at.Before(after) })
	last := after
	for _, at := range times {
		gap, last = max(gap, at.Sub(last)), at
	}
	return gap
}

// Whatever happens, no request may wait longer than patience for a reply. The margin
// covers the time between two requests from one caller, and the time between two
// requests from a process that is alone and keeps to its share of the pace.
func TestNoRequestWaitsLongerThan400msForAReply(t *testing.T) {
	const margin = 60 * time.Millisecond
	for name, trouble := range map[string]func(w *world, leader *Gate){
		"server frozen":         func(w *world, _ *Gate) { w.relay.freeze() },
		"server slow":           func(w *world, _ *Gate) { w.relay.setDelay(time.Second) },
		"server a bit slow":     func(w *world, _ *Gate) { w.relay.setDelay(310 * time.Millisecond) },
		"server getting slower": func(w *world, _ *Gate) { go w.slow(10 * time.Millisecond) },
		"connections cut":       func(w *world, _ *Gate) { w.relay.cut() },
		"leader's connection dead during a renewal": func(w *world, leader *Gate) {
			held := w.relay.holdOnce(func(b []byte) bool { return isRenewal(b, leader) })
			w.t.Cleanup(func() { assert.True(w.t, held()) })
		},
		"leader dead": func(_ *world, leader *Gate) { leader.die() },
		"leader dead, and its successor does not reply": func(w *world, leader *Gate) {
			leader.die()
			go func() {
				time.Sleep(200 * time.Millisecond)
				b, err := json.Marshal(message{Notice: &notice{leader.names.of("k"), state{Leader: "another"}}})
				assert.NoError(w.t, err)
				w.server.Publish(leader.names.all, string(b))
			}()
		},
		"leader closed": func(_ *world, leader *Gate) { leader.Close() },
	} {
		for _, phase := range []time.Duration{0, 50, 130, 190} {
			t.Run(fmt.Sprint(name, ", phase ", int(phase), " ms"), func(t *testing.T) {
				inVirtualTime(t, func(t *testing.T, w *world) {
					gates, _ := w.gates(3)
					a := newAccount(1e9, 1e9, time.Second)
					a.trip = 40 * time.Millisecond
					k := fleet1.Learned{Pace: 200, Lo: 200, Best: 200, Burst: 1, Burst0: 1, Silence: 1, Holding: 10}
					_, err := gates[0].take(t.Context(), lease{name: gates[0].names.of("k"), known: state{Learned: &k, Members: 3}})
					require.NoError(t, err)
					throttle(t, gates[0], "k", time.Second)
					leader := leaderOf(t, gates, "k")
					stiles := make([]*turnstile, len(gates))
					for i, g := range gates {
						stiles[i] = &turnstile{Gate: g}
					}
					others := append(slices.Clone(stiles[:leader]), stiles[leader+1:]...)
					c := start(others, 2, 1<<40, "k", a)
					time.Sleep(4*time.Second + phase*time.Millisecond)
					begin := time.Now()
					for _, s := range others {
						assert.Less(t, s.longest(begin.Add(-time.Second)), 100*time.Millisecond, "too long a gap between requests, even before the trouble")
					}
					trouble(w, gates[leader])
					time.Sleep(3 * time.Second)
					for _, s := range others {
						assert.LessOrEqual(t, s.longest(begin), patience+margin)
					}
					c.left.Store(0)
					w.relay.thaw()
					w.relay.setDelay(0)
					c.wait(t)
				})
			})
		}
	}
}

// slow makes the server slower in steps, up to a delay of almost one second.
func (w *world) slow(by time.Duration) {
	for d := by; d < time.Second; d += by {
		time.Sleep(by)
		w.relay.setDelay(d)
	}
}

// A process that has been alone may know of a pause that its leader has not heard of. The leader's
// turns come back to it, and it must not hand them out again until the pause is over.
func TestTurnsAreNotHandedOutAgainAndAgainToAProcessWithALongerPause(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, _ := w.gates(2)
		throttle(t, gates[0], "k", time.Second)
		other := gates[1-leaderOf(t, gates, "k")]
		leave := func() {
			ticket, err := other.Wait(t.Context(), gate.Request{Key: "k"})
			assert.NoError(t, err)
			other.Observe(gate.Request{Key: "k"}, ticket, gate.Outcome{Result: gate.Accepted})
		}
		leave()
		other.visit("k", func(now time.Duration, p fleet1.Pacer, _ int, _ func() fleet1.History) fleet1.Pacer {
			p.(*link).pause = now + 10*time.Second
			return p
		})
		began, commands := time.Now(), w.server.CommandCount()
		other.visit("k", func(now time.Duration, p fleet1.Pacer, _ int, _ func() fleet1.History) fleet1.Pacer {
			p.(*link).report(func(r *report) { r.Waiting = 1 }) // as if a request had begun to wait before
			return p
		})
		go func() { // others give up, and the process has reports of other accounts to send
			for time.Since(began) < 9*time.Second {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
				_, err := other.Wait(ctx, gate.Request{Key: "k"})
				assert.Error(t, err)
				cancel()
				time.Sleep(10 * time.Millisecond)
				other.out.ring()
			}
		}()
		leave()
		assert.InDelta(t, 10, time.Since(began).Seconds(), 0.5)
		assert.Less(t, w.server.CommandCount()-commands, 300)
	})
}
