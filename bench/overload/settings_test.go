package main

import (
	"net/http"
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/bench/internal/peers"
	"github.com/iamhttp/iamhttp/bench/internal/sim"
	"github.com/iamhttp/iamhttp/internal/bracket"
)

// mostMoved is by how many points the share of goals that are met may move when
// one setting is half as large or half as large again.
const mostMoved = 5

// A controller that was tuned to the simulation would stand on edges. With -v
// it ends with how far each setting moves the share of goals that are met,
// exceptions being goals of their own.
func TestNoSettingOfTheGateIsAnEdge(t *testing.T) {
	if raceDetector {
		t.Skip("measures, and finds no races that others do not")
	}
	standard := bracket.Standard
	defer func() { bracket.Standard = standard }()

	base := shareOfGoals(t, 0)
	t.Logf("%-22s %6.2f %%", "as it is", base)
	check := func(name string, value, percent float64) {
		t.Logf("%-11s %10.4g %6.2f %% %+6.2f", name, value, percent, percent-base)
		assert.InDelta(t, base, percent, mostMoved, "%s %.4g", name, value)
	}
	for i := range reflect.TypeFor[bracket.Constants]().NumField() {
		name := reflect.TypeFor[bracket.Constants]().Field(i).Name
		for _, by := range []float64{0.5, 1.5} {
			value := by * reflect.ValueOf(standard).Field(i).Float()
			if name == "Decay" {
				value = min(value, 0.95) // at 1 a burst that is refused would come again, and again
			}
			reflect.ValueOf(&bracket.Standard).Elem().Field(i).SetFloat(value)
			check(name, value, shareOfGoals(t, 0))
			bracket.Standard = standard
		}
	}
	for _, window := range []int{32, 96} {
		check("StartWindow", float64(window), shareOfGoals(t, window))
	}
}

// shareOfGoals runs a part of the matrix through the gate and returns how many of
// the goals are met, in per cent.
func shareOfGoals(t *testing.T, startWindow int) float64 {
	wire := func(base http.RoundTripper, attempts int) peers.Do {
		gate := &iamhttp.AdaptiveGate{StartWindow: startWindow}
		return (&http.Client{Transport: &iamhttp.Transport{Base: base, Gate: gate, MaxAttempts: attempts}}).Do
	}
	fleet := []contestant{{peers.Peer{Name: "gate", Wire: wire}, 20}}
	scenarios := sim.Matrix(sim.Servers, []sim.RetryAfter{sim.Seconds, sim.Absent},
		[]sim.Arrivals{{Calls: 1000}, {Calls: 1000, Load: 2}}, sim.AllAnswers, 1)
	var all share
	for results := range inOrder(scenarios, fleet, false) {
		all.add(results[0].Scenario, results[0])
	}
	require.NotZero(t, all.applied)
	return all.percent()
}
