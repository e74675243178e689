package main

import (
	"flag"
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/bench/internal/sim"
)

var update = flag.Bool("update", false, "write FIGURES.md, ROWS.md, PEERS.md, STATED.md and SUMMARY.md")

// figures counts how often each goal was reached, over any number of runs.
type figures struct {
	mu         sync.Mutex
	runs       int
	goals      []tally   // for each goal: all runs to which the goal applies
	held       []tally   // for each goal: the runs to which the goal applies, but no exception
	exceptions [][]tally // for each exception and each goal: the runs in which the exception's bound replaces the goal's own
}

// A tally counts how often a goal was reached.
type tally struct {
	applied, reached int          // number of runs, and how many of them were within the goal's own bound
	worst            float64      // worst figure of a run
	at               sim.Scenario // scenario of the run with the worst figure
}

func (c *tally) add(g goal, r sim.Result) {
	c.applied++
	if g.reached(r) {
		c.reached++
	}
	f := g.figure(r)
	if c.applied == 1 || f > c.worst || math.IsNaN(f) ||
		f == c.worst && r.Scenario.String() < c.at.String() { // the order of runs must not matter
		c.worst, c.at = f, r.Scenario
	}
}

func newFigures() *figures {
	f := &figures{goals: make([]tally, len(goals)), held: make([]tally, len(goals)), exceptions: make([][]tally, len(exceptions))}
	for i := range exceptions {
		f.exceptions[i] = make([]tally, len(goals))
	}
	return f
}

func (f *figures) add(r sim.Result) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.runs++
	for i, g := range goals {
		if !g.applies(r.Scenario, r) {
			continue
		}
		f.goals[i].add(g, r)
		if e := g.exceptionIn(r.Scenario, r); e >= 0 {
			f.exceptions[e][i].add(g, r)
		} else {
			f.held[i].add(g, r)
		}
	}
}

// exception adds up an exception's tallies for all goals.
func (f *figures) exception(i int) tally {
	var sum tally
	for _, c := range f.exceptions[i] {
		if c.applied > 0 && (sum.applied == 0 || c.worst > sum.worst || math.IsNaN(c.worst)) {
			sum.worst, sum.at = c.worst, c.at
		}
		sum.applied += c.applied
		sum.reached += c.reached
	}
	return sum
}

// check is called after all scenarios of the matrix have run. It checks that each goal
// and each exception applies to some run, that each exception is needed, and that no
// exception's bound is too high.
func (f *figures) check(t *testing.T) {
	for i, g := range goals {
		assert.NotZero(t, f.goals[i].applied, "the goal %q does not apply to any run", g.name)
	}
	for i, e := range exceptions {
		for j, g := range goals {
			if c := f.exceptions[i][j]; c.applied > 0 {
				assert.NotEqual(t, c.applied, c.reached, "the goal %q is reached in all runs of the exception %q, so it does not need this exception", g.name, e.where)
			}
		}
		sum := f.exception(i)
		assert.NotZero(t, sum.applied, "the exception %q does not apply to any run", e.where)
		assert.GreaterOrEqual(t, sum.worst, 0.95*e.bound, "the exception %q has too high a bound", e.where)
	}
}

func (f *figures) summary() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\ngoal\tbound\treached\tof\tworst without exceptions\tin")
	for i, g := range goals {
		fmt.Fprintf(w, "%s\t%.4g\t%d\t%d\t%.4g\t%v\n", g.name, g.bound, f.goals[i].reached, f.goals[i].applied, f.held[i].worst, f.held[i].at)
	}
	fmt.Fprintln(w, "\nexception\tbound\tneeded\tof\tworst\tin")
	for i, e := range exceptions {
		c := f.exception(i)
		fmt.Fprintf(w, "%s\t%.4g\t%d\t%d\t%.4g\t%v\n", e.where, e.bound, c.applied-c.reached, c.applied, c.worst, c.at)
	}
	w.Flush()
	return b.String()
}

func (f *figures) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, `# The goals of the gate, and how often it reaches them

Written by %[1]sgo test -run Goals ./overload -update%[1]s after %[2]d simulated runs. Each goal is an upper bound for a figure.
"Reached" is the number of runs within the bound, and "of" is the number of runs to which the goal applies. "Worst" is the worst figure
outside the exceptions below, which have their own bounds, and "in" is the run with that figure.

A run's name lists the server, the kind of Retry-After, the calls, and the response time. %[1]stb100/0.1%[1]s is a token bucket of 100
requests/s that holds the tokens of 0.1 s. This time is the bucket's depth; a depth of at most 0.1 s is shallow. %[1]sfw%[1]s is a fixed window, and
%[1]ssw%[1]s a sliding window. %[1]s×0.5%[1]s means that the limit is halved halfway through the run, and %[1]s+50%%%[1]s that other clients (strangers) send
requests at half of the limit. %[1]s60%[1]s is a Retry-After of 60 s, even if that is wrong. %[1]s1000@2%[1]s means 1000 calls, made at twice the available
rate.

In the goals, "makespan" is the time until the last success, divided by the ideal time, "many calls" are 10,000, and "jitter" means that
response times vary.

| goal | bound | reached | of | worst | in |
|---|--:|--:|--:|--:|---|
`, "`", f.runs)
	for i, g := range goals {
		in := ""
		if f.held[i].worst > 0 {
			in = fmt.Sprintf("`%v`", f.held[i].at)
		}
		fmt.Fprintf(&b, "| %s | %.4g | %d | %d | %.3g | %s |\n", g.name, g.bound, f.goals[i].reached, f.goals[i].applied, f.held[i].worst, in)
	}
	b.WriteString(`
## Exceptions

In these runs, a goal has a different bound, for the reason given below the table. "Needed" counts runs that exceed the goal's own
bound, once per goal.

| goal | where | bound | needed | worst | in |
|---|---|--:|--:|--:|---|
`)
	for i, e := range exceptions {
		c := f.exception(i)
		fmt.Fprintf(&b, "| %s | %s | %.4g | %d of %d | %.3g | `%v` |\n", strings.Join(e.goals, "; "), e.where, e.bound, c.applied-c.reached, c.applied, c.worst, c.at)
	}
	b.WriteString("\n")
	for i, e := range exceptions {
		if i > 0 && e.why == exceptions[i-1].why {
			continue
		}
		fmt.Fprintf(&b, "- **%s.** %s\n", strings.ToUpper(e.where[:1])+e.where[1:], e.why)
	}
	return b.String()
}

// current writes text to the file if -update is set. Otherwise it checks that the file has
// the same words as text, and about the same numbers: a number may differ by the fraction
// share, plus one unit in its last digit. Text between backquotes is not compared.
func current(t *testing.T, name, text string, share float64) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
		return
	}
	file, err := os.ReadFile(name)
	require.NoError(t, err)
	assert.NoError(t, same(string(file), text, share), "%s is out of date; run go test ./overload -update", name)
}

var (
	quoted = regexp.MustCompile("`[^`]*`")
	number = regexp.MustCompile(`[0-9]+(\.[0-9]+)?`)
)

// same compares two texts. It returns an error that describes the first difference that
// current does not allow.
func same(is, want string, share float64) error {
	is, want = quoted.ReplaceAllString(is, ""), quoted.ReplaceAllString(want, "")
	a, b := strings.Split(is, "\n"), strings.Split(want, "\n")
	if len(a) != len(b) {
		return fmt.Errorf("the file has %d lines, want %d", len(a), len(b))
	}
	for i := range a {
		if number.ReplaceAllString(a[i], "#") != number.ReplaceAllString(b[i], "#") {
			return fmt.Errorf("the file has %q, want %q", a[i], b[i])
		}
		now := number.FindAllString(b[i], -1)
		for j, s := range number.FindAllString(a[i], -1) {
			was, _ := strconv.ParseFloat(s, 64)
			is, _ := strconv.ParseFloat(now[j], 64)
			_, fraction, _ := strings.Cut(s, ".")
			if unit := math.Pow10(-len(fraction)); math.Abs(was-is) > share*max(was, is)+1.01*unit {
				return fmt.Errorf("the file has %s, want %s in %q", s, now[j], b[i])
			}
		}
	}
	return nil
}

func TestGeneratedFileMayDifferOnlyBetweenBackquotesAndSlightlyInItsNumbers(t *testing.T) {
	const text = "1.25 of 1000 in `tb10`"
	assert.NoError(t, same(text, "1.26 of 1009 in `tb500`", 0.01))
	assert.Error(t, same(text, "1.28 of 1000 in `tb10`", 0.01))
	assert.Error(t, same(text, "1.25 of 1200 in `tb10`", 0.01))
	assert.Error(t, same(text, "1.25 from 1000 in `tb10`", 0.01))
	assert.Error(t, same(text, text+"\n", 0.01))
}
