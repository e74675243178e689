package main

import (
	"bytes"
	"encoding/xml"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/bench/internal/cli"
)

// A fleet's processes run the test binary, so it must be able to act as a worker.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "worker" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestASmallFleetRuns(t *testing.T) {
	for _, name := range []string{"nginx", "haproxy", "redis-server"} {
		if _, err := command(name); err != nil {
			if os.Getenv("IAMHTTP_E2E") == "required" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	dir := t.TempDir() + "/new"
	var out bytes.Buffer
	require.NoError(t, run([]string{"-processes", "3", "-callers", "10", "-ideal", "2s", "-client", "redisgate", "-svg", dir}, &out))
	assert.Equal(t, 2, strings.Count(out.String(), "| redisgate | "), out.String())
	assert.Contains(t, out.String(), "redisgate: 0 failed, 0.0")
	svg, err := os.ReadFile(dir + "/fleet-haproxy.svg")
	require.NoError(t, err)
	d := xml.NewDecoder(bytes.NewReader(svg))
	for err == nil {
		_, err = d.Token()
	}
	assert.ErrorIs(t, err, io.EOF)
}

func TestWrongFlagsAreRejectedBeforeServersAreStarted(t *testing.T) {
	for _, args := range [][]string{
		{"-processes", "0"}, {"-processes", "9223372036854775807"}, {"-callers", "x"}, {"-callers", "1000000000000"}, {"-rate", "-1"}, {"-rate", "1000000000000"},
		{"-ideal", "0s"}, {"-ideal", "1"}, {"-ideal", "2562047h"}, {"-ideal", "1ns"}, {"-processes", "300", "-ideal", "1s"},
		{"-client", "nonsense"}, {"-client", ""}, {"-server", "nginx,nonsense"}, {"-what"}, {"nonsense"},
		{"-server", "open", "-client", "none"}, {"-server", "nginx,open", "-client", "gates,redisgate-lost"},
	} {
		var stderr strings.Builder
		assert.Equal(t, 2, cli.Run("fleet", usage, func() error { return run(args, io.Discard) }, io.Discard, &stderr), args)
		assert.Regexp(t, `^fleet: .*; -h lists the flags$`, strings.Join(strings.Fields(stderr.String()), " "))
	}
}

func TestServerWithoutALimitNeedsTheClientRedisgate(t *testing.T) {
	err := run([]string{"-server", "open", "-client", "none"}, io.Discard)
	assert.EqualError(t, err, "-server open needs -client redisgate")
	assert.Regexp(t, `open \(nginx\s+without a limit, only with the client redisgate\)`, usage)
	for line := range strings.Lines(usage) {
		assert.LessOrEqual(t, len(line), 1+80, line)
	}
}

func TestRequestCountsAsEarlyDuringARetryAfterThatAnyProcessReceived(t *testing.T) {
	sends := []send{
		{At: 0, Answered: 1000, Status: 429, RetryAfter: 1},
		{At: 500, Answered: 1500, Status: 200}, // sent before the 429 arrived
		{At: 2000, Answered: 3000, Status: 200},
		{At: 500_000, Answered: 501_000, Status: 200},
		{At: 1_001_000, Answered: 1_002_000, Status: 200},
	}
	assert.Equal(t, 1, early(sends), "the fourth request must count as early, but not the third, which was sent within slack of the 429")
}

func TestJainsIndexIsOneForEqualShares(t *testing.T) {
	assert.InDelta(t, 1, jain([]float64{3, 3, 3}), 1e-9)
	assert.InDelta(t, 0.25, jain([]float64{8, 0, 0, 0}), 1e-9)
	assert.InDelta(t, 1, jain(nil), 1e-9)
}

func TestFiguresOfARunAreComputedFromItsReports(t *testing.T) {
	begin := time.UnixMicro(0)
	r := result{plan: plan{server: nginxLimited, rate: 10, processes: 2, calls: 2}, begin: begin, reports: []report{
		{Sends: []send{{At: 0, Answered: 1000, Status: 200}, {At: 1, Answered: 2_000_000, Status: 200}}},
		{Sends: []send{{At: 0, Answered: 1000, Status: 429}, {At: 1, Answered: 3_000_000, Status: 200}}, Failed: 1},
	}}
	r.reckon()
	assert.Equal(t, 4, r.sent)
	assert.Equal(t, 3, r.ok)
	assert.Equal(t, 1, r.failed)
	assert.Equal(t, 3*time.Second, r.makespan)
	assert.InDelta(t, 4.0/3, r.perOK(), 1e-9)
	assert.InDelta(t, 0.5, r.jain, 1e-9, "wrong Jain's index: no call of the second process had succeeded when the first process finished")
}
