package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/bench/internal/cli"
	"github.com/iamhttp/iamhttp/bench/internal/peers"
	"github.com/iamhttp/iamhttp/bench/internal/sim"
	"github.com/iamhttp/iamhttp/roundtriptest"
)

func BenchmarkPeers(b *testing.B) {
	all, end, err := calls(fleet(b, compared), scenarios)
	defer func() { require.NoError(b, end()) }()
	require.NoError(b, err)
	for _, c := range all {
		b.Run(c.benchmark(), func(b *testing.B) {
			if err := c.prepare(); err != nil {
				b.Fatal(err)
			}
			if c.waiting == 0 {
				if err := c.check(); err != nil {
					b.Skip(err)
				}
			}
			c.bench(b)
		})
	}
}

func fleet(t testing.TB, names string) []peers.Peer {
	chosen, err := sim.Select(peers.All, names)
	require.NoError(t, err)
	return append([]peers.Peer{peers.Base}, chosen...)
}

// try checks each call, except in scenarios in which calls wait. It returns the error of
// each check, nil if it passed, keyed by benchmark name.
func try(t *testing.T, names string, chosen []scenario) map[string]error {
	t.Helper()
	all, end, err := calls(fleet(t, names), chosen)
	defer func() { require.NoError(t, end()) }()
	require.NoError(t, err)
	faults := map[string]error{}
	for _, c := range all {
		if c.waiting > 0 {
			continue
		}
		require.NoError(t, c.prepare())
		faults[c.benchmark()] = c.check()
	}
	return faults
}

func TestIamhttpMakesEveryCheckedCallCorrectly(t *testing.T) {
	faults := try(t, "iamhttp", scenarios)
	assert.Len(t, faults, 2*8*3)
	for name, err := range faults {
		assert.NoError(t, err, name)
	}
}

func TestEveryComparedPeerRetriesAGET(t *testing.T) {
	i := func(s scenario) bool { return s.name == "4-get" }
	for _, s := range scenarios {
		if i(s) {
			for name, err := range try(t, compared, []scenario{s}) {
				assert.NoError(t, err, name)
			}
		}
	}
}

func TestRetryWithAnEmptyBodyIsDetected(t *testing.T) {
	for _, s := range scenarios {
		if s.name == "4-post" {
			faults := try(t, "go-github-ratelimit", []scenario{s})
			assert.EqualError(t, faults["net=memory/call=4-post/peer=go-github-ratelimit"], "1024 bytes arrived instead of 3072")
		}
	}
}

func TestExemptionsNameExistingTraps(t *testing.T) {
	var traps []string
	for trap := range roundtriptest.Traps() {
		traps = append(traps, trap.Name)
	}
	for _, p := range fleet(t, compared) {
		assert.Subset(t, traps, slices.Collect(maps.Keys(exempted(p.Name))))
	}
}

func TestHandWrittenErrorAgreesWithStatusError(t *testing.T) {
	all, end, err := calls(fleet(t, "iamhttp"), []scenario{scenarios[2]})
	defer func() { require.NoError(t, end()) }()
	require.NoError(t, err)
	var byHand *ownError
	var typed *iamhttp.StatusError
	for _, c := range all[:2] {
		require.NoError(t, c.prepare())
		resp, err := c.do(c.req)
		if err == nil {
			byHand = newOwnError(resp).(*ownError)
		} else {
			errors.As(err, &typed)
		}
	}
	require.NotNil(t, byHand)
	require.NotNil(t, typed)
	assert.Equal(t, message, byHand.Message)
	assert.Equal(t,
		[]any{int(typed.Code), typed.ServiceCode, typed.Message, typed.RequestID, typed.Method, typed.URL, typed.Header(), typed.Body(), typed.Truncated, typed.Attempts},
		[]any{byHand.Code, byHand.ServiceCode, byHand.Message, byHand.RequestID, byHand.Method, byHand.URL, byHand.Header, byHand.Body, byHand.Truncated, byHand.Attempts})
}

func TestWrongFlagsAreRejectedBeforeAnythingIsMeasured(t *testing.T) {
	for _, args := range [][]string{
		{"-rounds", "0"}, {"-rounds", "x"}, {"-peer", "nonsense"}, {"-peer", ""}, {"-call", "nonsense"}, {"-contract=maybe"}, {"-write=maybe"}, {"-write", "-call", "4-get"}, {"-write", "-peer", "iamhttp"}, {"-what"}, {"nonsense"},
	} {
		var stderr strings.Builder
		assert.Equal(t, 2, cli.Run("compare", usage, func() error { return run(args, io.Discard) }, io.Discard, &stderr), args)
		assert.Regexp(t, `^compare: .*; -h lists the flags$`, strings.Join(strings.Fields(stderr.String()), " "))
	}
}

func TestMeasurementsAreWrittenAndDrawn(t *testing.T) {
	r := &report{fleet: fleet(t, "iamhttp,rehttp"), scenarios: scenarios, results: results{}}
	for _, s := range scenarios {
		for _, network := range s.over {
			for i, p := range r.fleet {
				one := sample{}
				for _, unit := range []string{"ns/op", "B/op", "allocs/op", "heap-B/call", "stack-B/call", "cancel-ms"} {
					one[unit] = float64(100 * (i + 1))
				}
				r.results[[3]string{network, s.name, p.Name}] = &series{samples: []sample{one, one}}
			}
		}
	}
	r.results.of("memory", scenarios[0], r.fleet[2]).fault = errors.New("no luck")
	r.results.of("http1", scenarios[0], r.fleet[2]).samples[0]["ns/op"] = 1
	r.results.of("http1", scenarios[0], r.fleet[2]).samples[1]["ns/op"] = 1
	var tables, summary strings.Builder
	r.writeTo(&tables)
	r.writeSummary(&summary)
	assert.Contains(t, tables.String(), "| iamhttp | 200 ns (200) |")
	assert.Contains(t, tables.String(), "| rehttp | fails [1] |")
	assert.Contains(t, tables.String(), "[1] rehttp: no luck.")
	assert.Contains(t, tables.String(), "- http1, GET: 200, ns/op: rehttp 1 ns; iamhttp 200 ns.\n")
	assert.Contains(t, summary.String(), "| iamhttp | 200 ns (200) |")
	picture := r.draw()
	assert.NotContains(t, string(picture), "NaN")
	for d := xml.NewDecoder(bytes.NewReader(picture)); ; {
		_, err := d.Token()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
	}
}
