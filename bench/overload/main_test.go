package main

import (
	"bytes"
	"encoding/csv"
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/bench/internal/peers"
)

func overload(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, run(args, &out))
	return out.String()
}

func TestFiguresOfClientsWithoutJitterMatchTheArithmetic(t *testing.T) {
	// Every second, each remaining call sends a request; 100 or 10 of these requests succeed.
	table := overload(t, "-server", "tb100/1,tb100/0.1", "-arrivals", "1000@once", "-client", "loop-1s,go-retryablehttp,azcore")
	for _, row := range []string{
		"| loop-1s | 5.50 | 0 | 1.01 |",                   // (1000+…+100)/1000
		"| go-retryablehttp | 8.00 | 500 | – |",           // 5 attempts: (1000+…+600)/500
		"| go-retryablehttp, 20 attempts | 5.50 | 0 |",    // (1000+…+100)/1000
		"| azcore | 8.50 | 600 | – |",                     // 4 attempts: (1000+…+700)/400
		"| loop-1s | 50.50 | 0 | 10.09 |",                 // (1000+990+…+10)/1000
		"| go-retryablehttp | 98.00 | 950 |",              // (1000+…+960)/50
		"| go-retryablehttp, 20 attempts | 90.50 | 800 |", // (1000+…+810)/200
	} {
		assert.Contains(t, table, row)
	}
}

func TestEveryClientSucceedsWithoutRetriesBelowTheLimit(t *testing.T) {
	out := overload(t, "-server", "tb500/1", "-arrivals", "1000@0.5", "-client", "all")
	for _, p := range peers.All {
		assert.Contains(t, out, "\n| "+p.Name+" | 1.00 | 0 | 1.00 |")
	}
}

func TestEachPictureIsXMLWithAPanelForEachContestant(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	overload(t, "-server", "tb100/0.1×2,tb100/1+50%", "-arrivals", "1000@once,1000@onoff1.8", "-client", "gate,aws-standard,loop-1s", "-svg", dir)
	files, err := filepath.Glob(filepath.Join(dir, "*.svg"))
	require.NoError(t, err)
	assert.Len(t, files, 4)
	for _, name := range files {
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		assert.NotContains(t, string(data), "NaN")
		panels := 0
		for d := xml.NewDecoder(bytes.NewReader(data)); ; {
			token, err := d.Token()
			if err == io.EOF {
				break
			}
			require.NoError(t, err, name)
			if e, ok := token.(xml.StartElement); ok && e.Name.Local == "text" && e.Attr[0].Value == "name" {
				panels++
			}
		}
		assert.Equal(t, 5, panels, name) // two of the clients have a second panel, for 20 attempts
	}
}

func TestTheCSVHasALineForEachRun(t *testing.T) {
	name := filepath.Join(t.TempDir(), "figures.csv")
	assert.Empty(t, overload(t, "-server", "tb100/1", "-arrivals", "1000@2", "-retry-after", "all", "-seed", "1,2", "-client", "gate", "-csv", name))
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	lines, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
	require.NoError(t, err)
	assert.Len(t, lines, 1+4*2*2)
}

func TestUnknownNamesAndInvalidNumbersAreQuotedInTheError(t *testing.T) {
	for _, flag := range []string{"-client", "-server", "-arrivals", "-answers", "-retry-after"} {
		err := run([]string{flag, "nonsense"}, io.Discard)
		require.ErrorContains(t, err, `"nonsense"`)
		assert.Contains(t, err.Error(), map[string]string{
			"-client": "go-retryablehttp", "-server": "tb100/0.1", "-arrivals": "1000@once", "-answers": "lognormal", "-retry-after": "date",
		}[flag])
	}
	for _, flag := range []string{"-seed", "-attempts"} {
		for _, n := range []string{"x", "", "1x", "1 2", "-1", "99999999999999999999"} {
			assert.ErrorContains(t, run([]string{flag, n}, io.Discard), strconv.Quote(n), flag)
		}
	}
}

func TestOutputBeginsWithTheVersionOfGo(t *testing.T) {
	first, _, _ := strings.Cut(overload(t, "-server", "tb500/1", "-arrivals", "1000@0.5", "-client", "rehttp"), "\n")
	assert.Regexp(t, `^go1\.`, first)
}
