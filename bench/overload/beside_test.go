package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/bench/internal/sim"
)

// besideDraws is the number of draws that DRAWS.md compares all strategies in. Without
// -update, a few show that this still works.
const (
	besideDraws = 200
	fewDraws    = 10
)

const drawsHead = `# The gate and other algorithms in random situations

Written by ` + "`go test -run AllStrategies ./overload -update`" + `. The clients are those of [PEERS.md](PEERS.md). Each of %d random draws is a situation in which
enough calls succeed without a gate for a comparison. The first three columns are the shares of the draws in which at least 97%%, 90%% or half as
many calls succeed as with ` + "`none`" + `, with an allowance for chance. The last column is the median of the requests per success.

The goal for the gate is 97%% in all draws. It is out of reach: ` + "`oracle`" + ` misses it in %.0f%% of the draws, although that gate knows all limits, how
they will change, and what other clients will take of them. It has to obey Retry-After and cannot know how long a response will take. In %.0f%%,
no client reaches the goal with at least 3%% fewer requests per success than ` + "`none`" + `, which was run twice.

| client | ≥ 97%% | ≥ 90%% | ≥ half | requests per success |
|---|--:|--:|--:|--:|
`

// DRAWS.md shows how far the goal for random draws can be reached.
func TestAllStrategiesRunInRandomDraws(t *testing.T) {
	t.Parallel()
	if raceDetector {
		t.Skip("this test measures figures, and finds no races that other tests miss")
	}
	n := fewDraws
	if *update {
		n = besideDraws
	}
	contestants := append(slices.Clone(strategies), strategy{"oracle", oracles})
	all := make([][]drawn, n) // a drawn for each contestant
	eachDraw(n, func(i int, seed uint64) { all[i] = beside(sim.Draw(seed), contestants) })
	all = slices.DeleteFunc(all, func(ds []drawn) bool { return ds == nil })
	require.NotEmpty(t, all)

	goal := drawsReach[0].answered
	outOfReach := shareOf(all, func(ds []drawn) bool {
		return !slices.ContainsFunc(ds, func(d drawn) bool { return d.ratio() >= goal && d.sentWith < goal*d.sentWithout })
	})
	oracle := len(contestants) - 1
	missed := shareOf(all, func(ds []drawn) bool { return ds[oracle].ratio() < goal })
	var b strings.Builder
	fmt.Fprintf(&b, drawsHead, len(all), 100*missed, 100*outOfReach)
	for k, c := range contestants {
		fmt.Fprintf(&b, "| `%s` |", c.name)
		for _, r := range drawsReach {
			fmt.Fprintf(&b, " %.2f |", shareOf(all, func(ds []drawn) bool { return ds[k].ratio() >= r.answered }))
		}
		var sent []float64
		for _, ds := range all {
			sent = append(sent, ds[k].sentWith)
		}
		slices.Sort(sent)
		fmt.Fprintf(&b, " %s |\n", number3(sent[len(sent)/2]))
	}
	t.Log(b.String())
	assert.Less(t, missed, 0.5, "the oracle should usually be as good as no gate")
	if *update {
		require.Positive(t, missed, "DRAWS.md says that the goal is out of reach")
		require.NoError(t, os.WriteFile("DRAWS.md", []byte(b.String()), 0o644))
	}
}

// beside runs a situation with each contestant. It returns nil if too few calls succeed
// without a gate for a comparison.
func beside(s sim.Situation, contestants []strategy) (all []drawn) {
	none := drawn{situation: s}
	none.without, none.sentWithout = tried(s, strategies[1])
	if !none.telling() {
		return nil
	}
	for _, c := range contestants {
		d := none
		d.with, d.sentWith = tried(s, c)
		all = append(all, d)
	}
	return all
}

func shareOf(of [][]drawn, is func([]drawn) bool) float64 {
	n := 0
	for _, ds := range of {
		if is(ds) {
			n++
		}
	}
	return float64(n) / float64(len(of))
}
