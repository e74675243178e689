package main

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/bench/internal/sim"
)

// A fleet has the same controller and the same queues as a single process, so it should reach the
// same goals. Its leader, however, hears of outcomes late, and the random numbers of a fleet cannot
// be seeded. The bounds are therefore lower than what four processes reach today: 9 goals for limits
// on the number in flight, 0.93 of the other calls, between 2.2 and 6.7 calls per second, then 140
// and 21.7 per second, and 0.92 of the limit.
//
//	go test -v -run FleetReaches ./overload
func TestAFleetReachesAsManyGoalsOfRowsAsRecorded(t *testing.T) {
	t.Parallel()
	if raceDetector {
		t.Skip("this test measures figures, and finds no races that other tests miss")
	}
	for _, tt := range []struct {
		prefix string
		goal   float64 // instead of that of a row's first aim; 0: no other
		least  int64
	}{
		{"in-flight/50", 0, 8},
		{"endpoint/limited", 0.8, 3},
		{"found/late-turns", 1, 1},
		{"found/burst-in-flight", 125, 2},
		{"found/fault-in-flight", 19, 2},
		{"pool/20", 0.8, 4},
	} {
		t.Run(tt.prefix, func(t *testing.T) {
			t.Parallel()
			var reached int64
			for _, r := range rowsNamed(tt.prefix) {
				r.goals = slices.Clone(r.goals)
				r.goals[0].goal = cmp.Or(tt.goal, r.goals[0].goal)
				reached += inAFleet(t, r)
			}
			t.Logf("%d goals were reached", reached)
			assert.GreaterOrEqual(t, reached, tt.least)
		})
	}
}

// rowsNamed returns the rows whose names begin with prefix.
func rowsNamed(prefix string) (rows []row) {
	for _, f := range families {
		for _, r := range f.rows {
			if strings.HasPrefix(r.name, prefix) {
				rows = append(rows, r)
			}
		}
	}
	return rows
}

// inAFleet runs a row in a fleet, and returns how many of its goals were reached.
func inAFleet(t *testing.T, r row) (reached int64) {
	r.situation.Seed = *rowSeed
	record := r.situation.RunIn(t, func(t *testing.T) sim.Client { return fleetOf(t, *fleetProcesses, r.settings) })
	for _, a := range r.goals {
		figure := a.of(record)
		t.Logf("%s: %s: %s, goal %v", r.name, a.name, number3(figure), a)
		if a.holds(figure, a.goal) {
			reached++
		}
	}
	return reached
}
