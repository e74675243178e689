package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What the peers draw at random themselves is not seeded, so that their figures
// move from run to run: the worst, the time
// of the last call, by 20 % in six runs.
func TestTheSummaryOfThePeersIsCurrent(t *testing.T) {
	current(t, "SUMMARY.md", peersSummary(t), 0.25)
}

// peersSummary is the table of all peers in one scenario, in which the limit is
// met at once.
func peersSummary(t *testing.T) string {
	const clients = "gate,iamhttp,loop-1s,go-retryablehttp,failsafe-go,rehttp,azcore,aws-standard,aws-adaptive,go-github-ratelimit"
	scenarios, err := scenarios("tb100/0.1", "seconds", "1000@once", "10ms", "1")
	require.NoError(t, err)
	fleet, err := contestants(clients, "0,20")
	require.NoError(t, err)

	var b strings.Builder
	for results := range inOrder(scenarios, fleet, false) {
		fmt.Fprintf(&b, "%s; written by `go test -run Summary ./overload -update`. \"20\" is with 20 attempts instead of the client's default.\n\n",
			describe(results[0].Scenario))
		fmt.Fprintln(&b, "| client | sent per success | failed | time, × ideal | sent while told to wait | 20: sent per success | failed | time, × ideal |")
		fmt.Fprintln(&b, "|---|--:|--:|--:|--:|--:|--:|--:|")
		for i, r := range results {
			perOK, ratio := perOKAndRatio(r)
			if fleet[i].attempts == 20 { // the same row
				fmt.Fprintf(&b, " %s | %d | %s |\n", perOK, r.Failed, ratio)
				continue
			}
			fmt.Fprintf(&b, "| %s | %s | %d | %s | %d |", fleet[i].Name, perOK, r.Failed, ratio, r.Forbidden)
			if !fleet[i].Capped {
				b.WriteString(" | | |\n")
			}
		}
	}
	return b.String()
}
