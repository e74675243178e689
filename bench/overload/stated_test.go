package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/bench/internal/sim"
)

// stating returns a copy of s that states a multiple of its limit in each 429.
func stating(s sim.Server, multiple float64) sim.Server {
	limit, window := s.Limit*multiple, s.Window.Seconds()
	if limit < 1 {
		limit, window = 10*limit, 10*window
	}
	s.States = fmt.Sprintf("%.0f;w=%.0f", limit, window)
	return s
}

// statements lists the limits that the servers state. Each element has a function, of,
// that makes a server state the limit.
var statements = []struct {
	name  string
	wrong bool
	of    func(sim.Server) sim.Server
}{
	{"the limit", false, func(s sim.Server) sim.Server { return stating(s, 1) }},
	{"ten times the limit", true, func(s sim.Server) sim.Server { return stating(s, 10) }},
	{"a tenth of the limit", true, func(s sim.Server) sim.Server { return stating(s, 0.1) }},
	{"another policy: 30 in a minute", true, func(s sim.Server) sim.Server { s.States = "30;w=60"; return s }},
}

// statedFigures compares runs against servers that state a limit with runs against the same
// servers without a statement.
type statedFigures struct {
	runs, sent, makespan                   int // number of runs, and how many of them meet each of the two goals
	meanSent, mostSent, meanTime, mostTime float64
}

// statedGoals checks whether the gate knew the limit after the first pause. sent is true
// if no more requests were throttled than were in flight when the first 429 arrived.
// makespan is true if the run took no longer than 1.05 times the ideal makespan plus the
// first pause.
func statedGoals(r sim.Result) (sent, makespan bool) {
	return r.Sent <= r.OK+r.FlyingAtFirst, r.Makespan.Seconds() <= 1.05*r.IdealMakespan.Seconds()+r.FirstPause.Seconds()
}

func compare(results, without []sim.Result) (f statedFigures) {
	for i, r := range results {
		sent, makespan := statedGoals(r)
		f.runs++
		if sent {
			f.sent++
		}
		if makespan {
			f.makespan++
		}
		s, m := r.SentPerOK()/without[i].SentPerOK(), r.MakespanRatio()/without[i].MakespanRatio()
		f.meanSent += math.Log(s) / float64(len(results))
		f.meanTime += math.Log(m) / float64(len(results))
		f.mostSent, f.mostTime = max(f.mostSent, s), max(f.mostTime, m)
	}
	f.meanSent, f.meanTime = math.Exp(f.meanSent), math.Exp(f.meanTime)
	return f
}

func TestStatedLimitHelpsIfRightAndDoesNoHarmIfWrong(t *testing.T) {
	if raceDetector {
		t.Skip("this test measures figures, and finds no races that other tests miss")
	}
	servers := slices.DeleteFunc(slices.Clone(sim.Servers), func(s sim.Server) bool {
		return s.Change != 0 || s.Strangers != 0 || s.Algorithm == sim.SlidingWindow
	})
	run := func(servers []sim.Server) (results []sim.Result) {
		for _, s := range sim.Matrix(servers, []sim.RetryAfter{sim.Seconds, sim.Absent}, []sim.Arrivals{{Calls: 1000}}, sim.AllAnswers, 1) {
			r := s.Run(t, gated, false)
			assert.Zero(t, r.Failed, s)
			assert.Zero(t, r.Forbidden, s)
			results = append(results, r)
		}
		return results
	}
	without := run(servers)
	var b strings.Builder
	fmt.Fprintf(&b, `# How much a stated limit helps the gate

Written by %[1]sgo test -run Stated ./overload -update%[1]s. Each token bucket and fixed window of the matrix whose limit is constant and not shared
with strangers gets 1000 calls at once, with Retry-After in seconds and without Retry-After. "Sent" is the number of runs in which no more
requests were throttled than were in flight when the first 429 arrived. "Time" is the number of runs that took at most 1.05 times the ideal
time plus one pause. The other columns divide a run's figure by the figure of the same run without a stated limit: geometric mean and worst
ratio.

| stated | sent, of %[2]d | time, of %[2]d | requests: mean, worst | makespan: mean | worst |
|---|--:|--:|--:|--:|--:|
`, "`", len(without))
	row := func(name string, f statedFigures) {
		fmt.Fprintf(&b, "| %s | %d | %d | %.3f, %.3f | %.3f | %.3f |\n", name, f.sent, f.makespan, f.meanSent, f.mostSent, f.meanTime, f.mostTime)
	}
	row("nothing", compare(without, without))
	for _, s := range statements {
		var stating []sim.Server
		for _, server := range servers {
			stating = append(stating, s.of(server))
		}
		results := run(stating)
		f := compare(results, without)
		row(s.name, f)
		if s.wrong {
			assert.LessOrEqual(t, f.mostSent, 1.02, "in some run, a server that states %s gets more than 2%% more requests than without the statement", s.name)
			assert.LessOrEqual(t, f.mostTime, 1.02, "in some run, calls to a server that states %s take more than 2%% longer than without the statement", s.name)
			continue
		}
		assert.LessOrEqual(t, f.meanSent, 1.0, "on average, a server that states %s gets more requests than without the statement", s.name)
		assert.LessOrEqual(t, f.meanTime, 1.0, "on average, calls to a server that states %s take longer than without the statement", s.name)
		assert.LessOrEqual(t, f.mostSent, 1.01, "in some run, a server that states %s gets more than 1%% more requests than without the statement", s.name)
		// Some extra time is allowed, because the gate stays below the stated rate, and
		// the server rounds the limit that it states.
		assert.LessOrEqual(t, f.mostTime, 1.05, "in some run, calls to a server that states %s take more than 5%% longer than without the statement", s.name)
		for _, r := range results {
			if sent, makespan := statedGoals(r); fixedWindow(r.Scenario, r) && seconds(r.Scenario, r) && r.Scenario.Server.Window.Seconds() > 10 {
				assert.True(t, sent && makespan, "the gate does not know the limit after the first pause: %v", r)
			}
		}
	}
	current(t, "STATED.md", b.String(), 0.01)
}
