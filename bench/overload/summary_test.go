package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/bench/internal/sim"
)

// The peers' jitter is not seeded. The time of the last call varies most: with iamhttp it
// was between 1.9 and 3.2 times the ideal in 60 runs. Medians of three runs vary less.
func TestTheSummaryOfThePeersIsCurrent(t *testing.T) {
	if raceDetector {
		t.Skip("this test measures figures, and finds no races that other tests miss")
	}
	current(t, "SUMMARY.md", peersSummary(t), 0.35)
}

// peersSummary returns a table that compares ten clients, with three seeds: 1000 calls are
// made at once.
func peersSummary(t *testing.T) string {
	const clients = "gate,iamhttp,loop-1s,go-retryablehttp,failsafe-go,rehttp,azcore,aws-standard,aws-adaptive,go-github-ratelimit"
	scenarios, err := scenarios("tb100/0.1", "seconds", "1000@once", "10ms", "1,2,3")
	require.NoError(t, err)
	fleet, err := contestants(clients, "0,20")
	require.NoError(t, err)
	runs := make([][]sim.Result, len(fleet))
	for results := range inOrder(scenarios, fleet, false) {
		for i, r := range results {
			runs[i] = append(runs[i], r)
		}
	}

	var b strings.Builder
	fmt.Fprintf(&b, "%s; medians of three runs, written by `go test -run Summary ./overload -update`. The last three columns are with 20 attempts instead of the client's default.\n\n",
		describe(scenarios[0]))
	fmt.Fprintln(&b, "| client | sent per success | failed | time, × ideal | sent while told to wait | 20: sent per success | failed | time, × ideal |")
	fmt.Fprintln(&b, "|---|--:|--:|--:|--:|--:|--:|--:|")
	for i, c := range fleet {
		perOK := median(runs[i], sim.Result.SentPerOK)
		failed := median(runs[i], func(r sim.Result) float64 { return float64(r.Failed) })
		ratio := "–"
		if failed == 0 {
			ratio = fmt.Sprintf("%.1f", median(runs[i], sim.Result.MakespanRatio))
		}
		if c.attempts == 20 { // continue the row
			fmt.Fprintf(&b, " %.1f | %.0f | %s |\n", perOK, failed, ratio)
			continue
		}
		forbidden := median(runs[i], func(r sim.Result) float64 { return float64(r.Forbidden) })
		fmt.Fprintf(&b, "| %s | %.1f | %.0f | %s | %.0f |", c.Name, perOK, failed, ratio, forbidden)
		if !c.Capped {
			b.WriteString(" | | |\n")
		}
	}
	return b.String()
}

func median(runs []sim.Result, figure func(sim.Result) float64) float64 {
	figures := make([]float64, len(runs))
	for i, r := range runs {
		figures[i] = figure(r)
	}
	slices.Sort(figures)
	return figures[len(figures)/2]
}
