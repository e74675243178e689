package main

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/bench/internal/sim"
)

// thousands returns the arrivals with a thousand calls.
func thousands() []sim.Arrivals {
	return slices.DeleteFunc(slices.Clone(sim.AllArrivals), func(a sim.Arrivals) bool { return a.Calls != 1000 })
}

// matrix returns all scenarios with a thousand calls, and some with ten thousand. With
// the race detector, matrix returns only some of these scenarios to save time: the
// figures are the same with and without the race detector.
func matrix() []sim.Scenario {
	if raceDetector {
		return sim.Matrix(sim.Servers, []sim.RetryAfter{sim.Seconds}, thousands(), []sim.Answers{sim.LogNormal}, 1)
	}
	tenThousand := []sim.Arrivals{{Calls: 10000}, {Calls: 10000, Load: 2}}
	fast := slices.DeleteFunc(slices.Clone(sim.Servers), func(s sim.Server) bool { return s.Rate() < 100 })
	return slices.Concat(
		sim.Matrix(sim.Servers, sim.RetryAfters, thousands(), sim.AllAnswers, 1),
		sim.Matrix(sim.Servers, []sim.RetryAfter{sim.Seconds}, tenThousand, []sim.Answers{sim.LogNormal}, 1),
		sim.Matrix(fast, []sim.RetryAfter{sim.Seconds}, tenThousand, []sim.Answers{sim.Fast, sim.Slow}, 1))
}

// With -v, the test logs how often each goal was reached, and how often each exception was
// needed.
func TestTheGateReachesItsGoals(t *testing.T) {
	scenarios := matrix()
	f := newFigures()
	t.Run("in", func(t *testing.T) {
		for _, s := range scenarios {
			t.Run(s.String(), func(t *testing.T) {
				t.Parallel()
				r := s.Run(t, gated, false)
				f.add(r)
				for _, g := range goals {
					if !g.met(s, r) {
						t.Errorf("%s: got %.4g, want at most %.4g: %v", g.name, g.figure(r), g.boundIn(s, r), r)
					}
				}
			})
		}
	})
	t.Log(f.summary())
	if f.runs < len(scenarios) || raceDetector {
		return // only a part of the matrix was run
	}
	f.check(t)
	current(t, "FIGURES.md", f.markdown(), 0.01)
}

// The goals for loads below the limit mean something only if the server throttles nothing
// in those scenarios when there is no gate.
func TestBelowTheLimitTheGateDelaysNoCall(t *testing.T) {
	bare := func(base http.RoundTripper) func(*http.Request) (*http.Response, error) {
		return (&http.Client{Transport: &iamhttp.Transport{Base: base}}).Do
	}
	var below atomic.Int64
	t.Run("in", func(t *testing.T) {
		for _, s := range matrix() {
			if s.Arrivals.Load == 0 || s.Arrivals.Load >= 1 {
				continue
			}
			t.Run(s.String(), func(t *testing.T) {
				t.Parallel()
				without := s.Run(t, bare, false)
				if !belowLimit(s, without) {
					return
				}
				below.Add(1)
				with := s.Run(t, gated, false)
				assert.Zero(t, without.Refused)
				assert.Equal(t, without.Sent, with.Sent)
				assert.Equal(t, without.Latency, with.Latency)
			})
		}
	})
	t.Logf("%d scenarios below the limit were compared", below.Load())
	assert.NotZero(t, below.Load())
}

// A controller that is tuned to the servers of the matrix would reach its goals with those
// servers, and miss the goals with servers that are a little different. Whether a goal
// applies depends on the original server and on the ideal of the changed server.
func TestTheGateIsNotTunedToTheServersOfTheMatrix(t *testing.T) {
	if raceDetector {
		t.Skip("this test measures figures, and finds no races that other tests miss")
	}
	limit := func(s *sim.Server, by float64) { s.Limit *= by }
	size := func(s *sim.Server, by float64) { // changes the bucket size or the window length
		s.Depth = time.Duration(float64(s.Depth) * by)
		if s.Algorithm != sim.TokenBucket {
			s.Window = time.Duration(float64(s.Window) * by)
		}
	}
	variants := []struct {
		name    string
		change  func(*sim.Server, float64)
		by      float64
		percent float64 // percentage of the goals that are met
	}{
		{"unchanged", limit, 1, 0},
		{"limit -30%", limit, 0.7, 0}, {"limit +30%", limit, 1.3, 0},
		{"size -30%", size, 0.7, 0}, {"size +30%", size, 1.3, 0},
	}
	t.Run("variants", func(t *testing.T) {
		for i := range variants {
			v := &variants[i]
			t.Run(v.name, func(t *testing.T) {
				t.Parallel()
				var all share
				for _, s := range sim.Matrix(sim.Servers, []sim.RetryAfter{sim.Seconds}, thousands(), sim.AllAnswers, 1) {
					changed := s
					v.change(&changed.Server, v.by)
					all.add("", s, changed.Run(t, gated, false))
				}
				require.NotZero(t, all.applied)
				v.percent = all.percent()
			})
		}
	})
	for _, v := range variants[1:] {
		t.Logf("%s: %.1f%% of the goals are met, compared with %.1f%% with unchanged servers", v.name, v.percent, variants[0].percent)
		assert.InDelta(t, variants[0].percent, v.percent, 10, "%s: the percentage of goals that are met differs too much from that with unchanged servers", v.name)
	}
}

// A share counts how many goals apply, and how many of these are met, in all runs
// together.
type share struct{ applied, met int }

// add counts the goals whose names begin with kind.
func (c *share) add(kind string, s sim.Scenario, r sim.Result) {
	for _, g := range goals {
		if strings.HasPrefix(g.name, kind) && g.applies(s, r) {
			c.applied++
			if g.met(s, r) {
				c.met++
			}
		}
	}
}

func (c *share) percent() float64 { return 100 * float64(c.met) / float64(c.applied) }
