package main

import (
	"bytes"
	"context"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/examples/internal/account"
	"github.com/iamhttp/iamhttp/examples/internal/interrupt"
	"github.com/iamhttp/iamhttp/iamtest"
)

// play runs the program in virtual time and returns its exit status and output.
func play(t *testing.T, terminal bool, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var out, errs bytes.Buffer
		code = run(t.Context(), args, func(string) string { return "" }, terminal, &out, &errs)
		stdout, stderr = out.String(), errs.String()
	})
	return code, stdout, stderr
}

// row returns the numbers in a row of the table.
func row(t *testing.T, stdout, name string) (numbers [5]float64) {
	t.Helper()
	found := regexp.MustCompile(`(?m)^\| ` + name + ` \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\S+) s \|$`).FindStringSubmatch(stdout)
	require.NotNil(t, found, stdout)
	for i := range numbers {
		require.NoError(t, json.Unmarshal([]byte(found[i+1]), &numbers[i]))
	}
	return numbers
}

const (
	requests = iota
	throttled
	failed
	created
	seconds
)

func TestJobWithAGateNeedsHardlyMoreRequestsOrTimeThanAnIdealClient(t *testing.T) {
	for _, parallel := range []int{10, 50} {
		t.Run("parallelism "+strconv.Itoa(parallel), func(t *testing.T) {
			code, stdout, stderr := play(t, false, "-rate", "20", "-parallel", strconv.Itoa(parallel))
			require.Zero(t, code, stderr)
			asItIs, line, polite, ideal := row(t, stdout, "as is"), row(t, stdout, "one line"), row(t, stdout, "one line and a gate"), row(t, stdout, "ideal")
			assert.Greater(t, asItIs[failed], 200.0, "gophercloud alone does not retry, so most operations must fail")
			assert.Zero(t, line[failed])
			assert.EqualValues(t, 300, line[created])
			assert.Zero(t, polite[failed])
			assert.EqualValues(t, 300, polite[created])
			assert.LessOrEqual(t, polite[requests], 1.05*ideal[requests])
			assert.LessOrEqual(t, polite[seconds], 1.1*ideal[seconds])
			assert.InDelta(t, polite[requests], ideal[requests]+polite[throttled], 0, "every request must be either needed or throttled")
			_, table, _ := strings.Cut(stdout, "\n\n")
			t.Log("\n" + table)
		})
	}
}

func TestLinesShowTheProgressOfEachPhase(t *testing.T) {
	_, stdout, _ := play(t, false, "-each", "50", "-rate", "20", "-only", "one line and a gate")
	progress, _, found := strings.Cut(stdout, "\n\n")
	require.True(t, found)
	for line := range strings.Lines(stdout + usage) {
		assert.LessOrEqual(t, len(line), 1+80, line)
	}
	for line := range strings.Lines(progress) {
		assert.Regexp(t, `^one line and a gate, (plan|apply|destroy): \d+/\d+ in \d+\.\d s, \d+ requests, \d+ throttled\n?$`, line)
	}
	assert.Regexp(t, `(?m)^one line and a gate, apply: 150/150 in `, progress)
	assert.NotContains(t, stdout, "as is")
}

func TestBarIsRedrawnInPlace(t *testing.T) {
	code, stdout, _ := play(t, true, "-each", "20", "-rate", "20", "-only", "one line and a gate")
	require.Zero(t, code)
	assert.Contains(t, stdout, "\r\x1b[?7lone line and a gate, apply ["+strings.Repeat("#", barWidth)+"] 60/60")
}

func TestFailureInTheLastWayIsReported(t *testing.T) {
	code, stdout, stderr := play(t, false, "-rate", "20", "-only", "as is")
	assert.Equal(t, 1, code)
	left := regexp.MustCompile(`clean up, destroy: (\d+)/(\d+) in.*\n\n`).FindStringSubmatch(stdout)
	require.NotNil(t, left, stdout)
	assert.NotEqual(t, "0", left[1])
	assert.Equal(t, left[2], left[1], "all resources that were left behind must be deleted")
	assert.Regexp(t, `^provider: as is: \d+ failed; the first: .*429`, stderr)
}

func TestResourcesAreDeletedAfterAnInterrupt(t *testing.T) {
	const each, parallel = 100, 10
	for name, tt := range map[string]struct {
		phase           string
		total, done     int // the phase's operations: all of them, and the minimum number done before the interrupt
		created, behind int // the minimum number of groups and projects created, and the maximum number of resources left behind
	}{
		"before anything is created":        {"plan", 0, 0, 0, 0},
		"while resources are being created": {"apply", 3 * each, 50, 50, parallel}, // resources that are being created at that moment may be left behind
		"while resources are being read":    {"plan", 3 * each, 50, 2 * each, 0},
		"while resources are being deleted": {"destroy", 3 * each, 50, 2 * each, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				cloud := newService(20)
				show := func(phase string, s state, _ bool) {
					if strings.HasSuffix(phase, ", "+tt.phase) && s.total == tt.total && s.done >= tt.done {
						cancel()
					}
				}
				_, err := do(ctx, ways()[2], &counter{base: cloud}, "", account.Account{}, job{each: each, parallel: parallel, show: show})
				assert.Equal(t, interrupt.Err, err, "cleaning up must not fail, so the interrupt must be the only error")
				assert.GreaterOrEqual(t, cloud.created, tt.created)
				assert.LessOrEqual(t, len(cloud.exists), tt.behind, "%v", cloud.exists)
			})
		})
	}
}

func TestFailureToFindTheRoleIsReported(t *testing.T) {
	for name, tt := range map[string]struct {
		answer iamtest.Answer
		want   string
	}{
		"no such role":    {iamtest.Answer{Body: `{"roles":[]}`}, `look up the role: there is no role "member"`},
		"unexpected JSON": {iamtest.Answer{Body: `{"roles":7}`}, "look up the role: json: cannot unmarshal"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cloud := newService(100)
				cloud.On("GET /v3/roles", tt.answer)
				r, err := do(t.Context(), ways()[2], &counter{base: cloud}, "", account.Account{}, job{each: 1, parallel: 1, show: func(string, state, bool) {}})
				require.NoError(t, err)
				require.ErrorContains(t, r.first, tt.want)
				assert.NotContains(t, r.first.Error(), "%!")
			})
		})
	}
}

func TestInvalidFlagsAreRefused(t *testing.T) {
	for _, args := range [][]string{
		{"-each", "0"}, {"-each", "9223372036854775807"}, {"-parallel", "x"}, {"-parallel", "1000000000000"}, {"-rate", "-1"}, {"-rate", "1000000000000"},
		{"-only", "two lines"}, {"-only", ""}, {"-plain=maybe"}, {"-what"}, {"apply"},
	} {
		code, stdout, stderr := play(t, false, args...)
		assert.Equal(t, 2, code)
		assert.Empty(t, stdout)
		assert.Regexp(t, `^provider: .*; -h lists the settings\n$`, stderr)
	}
	code, stdout, _ := play(t, false, "-h")
	assert.Zero(t, code)
	assert.Equal(t, usage, stdout)
}
