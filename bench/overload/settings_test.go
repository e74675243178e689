package main

import (
	"net/http"
	"reflect"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/bench/internal/peers"
	"github.com/iamhttp/iamhttp/bench/internal/sim"
	"github.com/iamhttp/iamhttp/internal/bracket"
)

// When one setting is halved or raised by half, the share of goals that are met may move
// by at most this many percentage points: mostMoved if all goals are counted,
// mostMovedOfKind if only the goals of one kind are counted.
const (
	mostMoved       = 2.0
	mostMovedOfKind = 5.0
)

// kinds are prefixes of the goals' names; the empty prefix stands for all goals.
var kinds = []string{"", "sent per success", "makespan"}

// A controller that is tuned to the simulation would become much worse if one of its
// settings changed. With -v, the log shows how far each setting moves the share of goals
// that are met. A goal with an exception counts as met if the figure is within the
// exception's bound.
func TestResultsDependLittleOnEachSettingOfTheGate(t *testing.T) {
	if raceDetector {
		t.Skip("this test measures figures, and finds no races that other tests miss")
	}
	standard := bracket.Standard
	defer func() { bracket.Standard = standard }()

	base := sharesOfGoals(t, 0)
	t.Logf("%-11s %8s %8s %8s %8s", "points", "", "all", "sent", "makespan")
	t.Logf("%-11s %8s %8.2f %8.2f %8.2f", "unchanged", "", base[0], base[1], base[2])
	check := func(name string, value float64, startWindow int) {
		shares := sharesOfGoals(t, startWindow)
		t.Logf("%-11s %8.4g %+8.2f %+8.2f %+8.2f", name, value, shares[0]-base[0], shares[1]-base[1], shares[2]-base[2])
		for i, kind := range kinds {
			most := mostMovedOfKind
			if kind == "" {
				most = mostMoved
			}
			assert.InDelta(t, base[i], shares[i], most, "%s = %.4g changes the share of met goals too much, for goals whose names begin with %q", name, value, kind)
		}
	}
	for i := range reflect.TypeFor[bracket.Constants]().NumField() {
		name := reflect.TypeFor[bracket.Constants]().Field(i).Name
		for _, by := range []float64{0.5, 1.5} {
			value := by * reflect.ValueOf(standard).Field(i).Float()
			if name == "Decay" {
				value = min(value, 0.95) // at 1 a throttled burst would never shrink
			}
			reflect.ValueOf(&bracket.Standard).Elem().Field(i).SetFloat(value)
			check(name, value, 0)
			bracket.Standard = standard
		}
	}
	for _, window := range []int{32, 96} { // the default is 64
		check("StartWindow", float64(window), window)
	}
}

// sharesOfGoals runs a part of the matrix through the gate. For each kind of goal, it
// returns the percentage of goals that are met.
func sharesOfGoals(t *testing.T, startWindow int) []float64 {
	wrap := func(base http.RoundTripper, o peers.Options) http.RoundTripper {
		return &iamhttp.Transport{Base: base, Gate: seededGate(startWindow, 0), MaxAttempts: o.Attempts}
	}
	fleet := []contestant{{peers.Peer{Name: "gate", Wrap: wrap}, 20}}
	// The limits that double are left out to save time.
	servers := slices.DeleteFunc(slices.Clone(sim.Servers), func(s sim.Server) bool { return s.Change > 1 })
	scenarios := sim.Matrix(servers, []sim.RetryAfter{sim.Seconds, sim.Absent},
		[]sim.Arrivals{{Calls: 1000}, {Calls: 1000, Load: 2}}, sim.AllAnswers, 1)
	shares := make([]share, len(kinds))
	for results := range inOrder(scenarios, fleet, false) {
		for i, kind := range kinds {
			shares[i].add(kind, results[0].Scenario, results[0])
		}
	}
	percent := make([]float64, len(kinds))
	for i, s := range shares {
		require.NotZero(t, s.applied)
		percent[i] = s.percent()
	}
	return percent
}
