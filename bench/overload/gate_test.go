package main

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/bench/internal/sim"
)

func gate(base http.RoundTripper) func(*http.Request) (*http.Response, error) {
	return (&http.Client{Transport: &iamhttp.Transport{Base: base, Gate: &iamhttp.AdaptiveGate{}, MaxAttempts: 20}}).Do
}

// thousands are the arrivals of a thousand calls.
func thousands() []sim.Arrivals {
	return slices.DeleteFunc(slices.Clone(sim.AllArrivals), func(a sim.Arrivals) bool { return a.Calls != 1000 })
}

// matrix is everything with a thousand calls, and a part of it with ten times
// as many. The race detector, which changes no figure, gets a part.
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

// With -v it ends with how far each goal was reached.
func TestTheGateReachesItsGoals(t *testing.T) {
	tallies := make([]tally, len(goals))
	scenarios := matrix()
	t.Cleanup(func() {
		t.Log(summary(tallies))
		if tallies[0].applied < len(scenarios) || raceDetector {
			return // not all were run
		}
		for i, g := range goals {
			assert.NotZero(t, tallies[i].applied, "%s applies nowhere", g.name)
		}
	})
	for _, s := range scenarios {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			r := s.Run(t, gate, false)
			for i, g := range goals {
				tallies[i].add(g, r)
				if !g.met(s, r) {
					t.Errorf("%s: %.4g, not %.4g; %v", g.name, g.figure(r), g.bound, r)
				}
			}
		})
	}
}

// A tally counts how often a goal was reached.
type tally struct {
	mu           sync.Mutex
	applied, met int
	worst        float64
	at           sim.Scenario
}

func (c *tally) add(g goal, r sim.Result) {
	if !g.applies(r.Scenario, r) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.applied++
	if g.met(r.Scenario, r) {
		c.met++
	}
	if f := g.figure(r); c.applied == 1 || f > c.worst || math.IsNaN(f) {
		c.worst, c.at = f, r.Scenario
	}
}

func summary(tallies []tally) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\ngoal\tbound\tmet\tof\tworst\tin")
	for i, g := range goals {
		c := &tallies[i]
		fmt.Fprintf(w, "%s\t%.4g\t%d\t%d\t%.4g\t%v\n", g.name, g.bound, c.met, c.applied, c.worst, c.at)
	}
	w.Flush()
	return b.String()
}

// A controller that was tuned to these servers would reach its goals there, and
// fail with servers that are a little different. The goals are those of the
// original servers, though the ideal is that of the other.
func TestTheGateIsNotTunedToTheServersOfTheMatrix(t *testing.T) {
	if raceDetector {
		t.Skip("measures, and finds no races that others do not")
	}
	limit := func(s *sim.Server, by float64) { s.Limit *= by }
	size := func(s *sim.Server, by float64) { // of the bucket, or of the window
		s.Depth = time.Duration(float64(s.Depth) * by)
		if s.Algorithm != sim.TokenBucket {
			s.Window = time.Duration(float64(s.Window) * by)
		}
	}
	variants := []struct {
		name   string
		change func(*sim.Server, float64)
		by     float64
		share  float64 // of the goals that apply
	}{
		{"as they are", limit, 1, 0},
		{"limit -30 %", limit, 0.7, 0}, {"limit +30 %", limit, 1.3, 0},
		{"size -30 %", size, 0.7, 0}, {"size +30 %", size, 1.3, 0},
	}
	t.Run("variants", func(t *testing.T) {
		for i := range variants {
			v := &variants[i]
			t.Run(v.name, func(t *testing.T) {
				t.Parallel()
				applied, met := 0, 0
				for _, s := range sim.Matrix(sim.Servers, []sim.RetryAfter{sim.Seconds}, thousands(), sim.AllAnswers, 1) {
					changed := s
					v.change(&changed.Server, v.by)
					r := changed.Run(t, gate, false)
					for _, g := range goals {
						if g.applies(s, r) {
							applied++
							if g.met(s, r) {
								met++
							}
						}
					}
				}
				require.NotZero(t, applied)
				v.share = float64(met) / float64(applied)
			})
		}
	})
	for _, v := range variants[1:] {
		t.Logf("%s: %.1f %% of the goals, %.1f %% with the servers as they are", v.name, 100*v.share, 100*variants[0].share)
		assert.InDelta(t, variants[0].share, v.share, 0.1, v.name)
	}
}
