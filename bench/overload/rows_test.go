package main

import (
	"cmp"
	"flag"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/bench/internal/sim"
)

var (
	rowGates = flag.String("gates", "gate", "the `names` of the strategies that the rows are run with")
	rowSeed  = flag.Uint64("seed", 1, "the first `seed` of the rows")
	rowSeeds = flag.Int("seeds", 0, "the `number` of seeds of each row, of which the worst counts; 0: the row's own")
)

// A row is a situation that users of cloud APIs meet, and what the gate is to
// reach in it.
type row struct {
	name      string
	situation sim.Situation
	seeds     int // of which the worst counts; 0: one
	settings  settings
	goals     []aim
}

// An aim is a figure of a row with its goal. The bound that the gate is held to
// where it does not reach the goal yet is in reached.
type aim struct {
	name  string
	goal  float64
	least bool // the goal is the least and not the most
	of    func(*sim.Record) float64
}

// never is a figure of what did not happen before the end of the run.
var never = math.Inf(1)

func (a aim) holds(figure, bound float64) bool {
	if a.least {
		return figure >= bound
	}
	return figure <= bound // not if it is NaN, as nothing was answered
}

// worse compares two figures.
func (a aim) worse(x, y float64) bool {
	return math.IsNaN(x) || !math.IsNaN(y) && x != y && a.holds(y, x)
}

func (a aim) String() string {
	if a.least {
		return "≥ " + number3(a.goal)
	}
	return "≤ " + number3(a.goal)
}

// number3 is a figure with three digits.
func number3(f float64) string {
	switch {
	case math.IsInf(f, 0):
		return "never"
	case math.IsNaN(f):
		return "none"
	case math.Abs(f) >= 100:
		return fmt.Sprintf("%.0f", f)
	}
	return fmt.Sprintf("%.3g", f)
}

// run returns the worst figure of each goal over the seeds, and all of them.
func (r row) run(t *testing.T, s strategy) (worst []float64, all [][]float64) {
	all = make([][]float64, len(r.goals))
	for i := range cmp.Or(*rowSeeds, r.seeds, 1) {
		situation := r.situation
		situation.Seed = *rowSeed + uint64(i)
		record := situation.Run(t, s.client(r.settings))
		for j, a := range r.goals {
			all[j] = append(all[j], a.of(record))
		}
	}
	for j, a := range r.goals {
		worst = append(worst, slices.MinFunc(all[j], func(x, y float64) int {
			switch {
			case a.worse(x, y):
				return -1
			case a.worse(y, x):
				return 1
			}
			return 0
		}))
	}
	return worst, all
}

// The rows, with what the gate reaches, and others beside it. Run one or some of
// them by name, and see CONTRIBUTING.md for more:
//
//	go test -v -run 'Rows/deadline' ./overload -gates gate -seeds 5
func TestTheGateInTheRows(t *testing.T) {
	if raceDetector {
		t.Skip("measures, and finds no races that others do not")
	}
	var chosen []strategy
	for name := range strings.SplitSeq(*rowGates, ",") {
		i := slices.IndexFunc(strategies, func(s strategy) bool { return s.name == name })
		require.GreaterOrEqual(t, i, 0, "no strategy %q", name)
		chosen = append(chosen, strategies[i])
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			figures := make([][]float64, len(chosen))
			seeds := make([][][]float64, len(chosen))
			for i, s := range chosen {
				figures[i], seeds[i] = r.run(t, s)
			}
			var b strings.Builder
			w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
			for j, a := range r.goals {
				fmt.Fprintf(w, "\n%s: %s\tgoal %v", r.name, a.name, a)
				for i, s := range chosen {
					met := "met"
					if !a.holds(figures[i][j], a.goal) {
						met = "MISSED"
					}
					fmt.Fprintf(w, "\t%s %s %s", s.name, number3(figures[i][j]), met)
					if len(seeds[i][j]) > 1 {
						slices.Sort(seeds[i][j])
						fmt.Fprintf(w, " (median %s)", number3(seeds[i][j][len(seeds[i][j])/2]))
					}
				}
			}
			w.Flush()
			t.Logf("%s\n%.1f s", b.String(), time.Since(began).Seconds())
		})
	}
}
