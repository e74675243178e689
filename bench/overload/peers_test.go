package main

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/bench/internal/sim"
)

// A peersTable is a table in PEERS.md. It has a line for each strategy, and a column for
// each aim. The figures are medians; the goals are ignored.
type peersTable struct {
	about string
	rows  []row
}

// highest returns an aim for a figure that should be high, and lowest for a figure that
// should be low. Neither aim has a goal.
func highest(name string, of func(*sim.Record) float64) aim { return aim{name, 0, true, of} }
func lowest(name string, of func(*sim.Record) float64) aim  { return aim{name, 0, false, of} }

var peersTables = []peersTable{
	{"The service of ATB's authors (see `atb` below), with a load that is our guess: 20 clients that do not communicate make 10 calls each, all at once. The service " +
		"accepts 40 requests per minute and does not send Retry-After. Jain's index shows how evenly the clients were served in the first half of the ideal time.",
		[]row{paperBurst()}},
	{"The same service, and 100 clients that make occasional calls for ten minutes: in total, 1.2 times as many as the limit allows.",
		[]row{paperSteady()}},
	{"One client makes 300 calls at once, against a token bucket of 20 requests per second that holds the tokens of one second: with and without Retry-After.",
		[]row{onceAgainst20("with", sim.Seconds), onceAgainst20("without", sim.Absent)}},
	{"Timeout: calls with a timeout of 2 s, three times as many as the limit of 20/s allows. In flight: 200 calls at once, to a service that accepts " +
		"at most 20 requests at a time and takes 2 s for each.",
		[]row{deadlines20(), inFlight20()}},
	{"20 workers and a limit of 20/s. Trouble: for 20 s, requests get a 503, a 429 or no response. × 4: the limit becomes four times as high. A tenth: the " +
		"limit drops to a tenth for half a minute. The share is the share of the limit that is used in the following minute. Stray: a service without a " +
		"limit gets 100 calls per second, and throttles one request with Retry-After: 1.",
		[]row{trouble20(), step20(), dip20(), stray100()}},
}

// perMinute is the limit for which ATB's authors chose their settings: their service fills
// its bucket once a minute. All that we know about their loads is "up to 100 clients"; how
// many calls the clients make, and when, is our guess.
var perMinute = []sim.Limit{{Server: sim.Server{Algorithm: sim.FixedWindow, Limit: 40, Window: time.Minute}}}

var (
	sentEach = lowest("requests per success", (*sim.Record).SentPerOK)
	fails    = lowest("calls that fail, %", func(r *sim.Record) float64 { return math.Round(100 * float64(r.Failed()) / float64(len(r.Calls))) })
)

// unlessTheyFail replaces a figure with never if more than 1% of the calls fail, which would
// make the figure meaningless.
func unlessTheyFail(of func(*sim.Record) float64) func(*sim.Record) float64 {
	return func(r *sim.Record) float64 {
		if r.Failed() > len(r.Calls)/100 {
			return never
		}
		return of(r)
	}
}

func paperBurst() row {
	const clients, calls, ideal = 20, 10, 4 * time.Minute
	s := sim.Situation{Limits: perMinute, Answers: "50ms", Length: time.Hour}
	for p := range clients {
		s.Callers = append(s.Callers, sim.Callers{Process: p, Once: calls})
	}
	return row{name: "burst", situation: s, goals: []aim{
		sentEach, makespanOf(ideal, 0), fails,
		highest("Jain's index", func(r *sim.Record) float64 { return r.Jain(0, ideal/2) }),
	}}
}

func paperSteady() row {
	const clients, length = 100, 10 * time.Minute
	s := sim.Situation{Limits: perMinute, Answers: "50ms", Length: time.Hour}
	for p := range clients {
		s.Callers = append(s.Callers, sim.Callers{Process: p, Rate: 1.2 * authors.rate / clients, Until: length})
	}
	return row{name: "steady", situation: s, goals: []aim{
		sentEach, fails,
		lowest("seconds for a call, mean", unlessTheyFail(func(r *sim.Record) float64 { return sim.Mean(r.Latency()).Seconds() })),
		lowest("minutes until the last success", unlessTheyFail(func(r *sim.Record) float64 { return r.Makespan().Minutes() })),
	}}
}

func onceAgainst20(name string, ra sim.RetryAfter) row {
	const calls, ideal = 300, 14 * time.Second
	goals := []aim{sentEach, makespanOf(ideal, 0)}
	if ra != sim.Absent {
		goals = append(goals, lowest("sent while told to wait", func(r *sim.Record) float64 { return float64(r.Forbidden) }))
	}
	return row{name: name, situation: sim.Situation{
		Limits: limit(20, 1), RetryAfter: ra, Answers: "50ms", Length: 10 * time.Minute, Callers: []sim.Callers{{Once: calls}},
	}, goals: goals}
}

func deadlines20() row {
	const length = time.Minute
	return row{name: "timeout", situation: sim.Situation{
		Limits: limit(20, 1), RetryAfter: sim.Seconds, Answers: "50ms", Length: length,
		Callers: []sim.Callers{{Rate: 60, Timeout: 2 * time.Second}},
	}, goals: []aim{
		highest("share of the limit", func(r *sim.Record) float64 { return float64(r.OK()) / (20 * (length + time.Second).Seconds()) }),
		sentEach,
		lowest("seconds until failed calls return, mean", func(r *sim.Record) float64 { return sim.Mean(r.Told()).Seconds() }),
	}}
}

func inFlight20() row {
	return row{name: "in flight", situation: sim.Situation{
		InFlight: 20, Answers: "2s", Way: 5 * time.Millisecond, Length: 10 * time.Minute, Callers: []sim.Callers{{Once: 200}},
	}, goals: []aim{sentEach, makespanOf(20*time.Second, 0)}}
}

// minuteAfter is answeredOf for the minute after the time at.
func minuteAfter(at time.Duration) aim {
	a := answeredOf(at, at+time.Minute, 0)
	a.name = "share"
	return a
}

func pool20(name string, at time.Duration, limits []sim.Limit, faults ...sim.Fault) row {
	return row{name: name, situation: sim.Situation{
		Limits: limits, RetryAfter: sim.Seconds, Answers: "50ms", Length: at + time.Minute, Faults: faults, Callers: []sim.Callers{{Workers: 20}},
	}, goals: []aim{minuteAfter(at)}}
}

func trouble20() row {
	const from, until = 20 * time.Second, 40 * time.Second
	return pool20("trouble", until, limit(20, 1),
		sim.Fault{From: from, Until: until, Status: 503, Share: 1. / 3},
		sim.Fault{From: from, Until: until, Silence: 5 * time.Second, Share: 1. / 3},
		sim.Fault{From: from, Until: until, Status: 429, RetryAfter: "1", Share: 1})
}

func step20() row {
	return pool20("× 4", 30*time.Second, limit(20, 1, sim.Change{At: 30 * time.Second, Times: 4}))
}

func dip20() row {
	return pool20("a tenth", time.Minute, limit(20, 1, sim.Change{At: 30 * time.Second, Times: 0.1}, sim.Change{At: time.Minute, Times: 1}))
}

func stray100() row {
	const at = 10 * time.Second
	return row{name: "stray", situation: sim.Situation{
		Answers: "50ms", Length: at + 40*time.Second, Callers: []sim.Callers{{Rate: 100}},
		Faults: []sim.Fault{{From: at, Until: at + time.Minute, Share: 1, Count: 1, Status: 429, RetryAfter: "1"}},
	}, goals: []aim{regained(at, 100, 0)}}
}

// clearly is the fraction by which a figure must be better than the gate's to be printed in
// bold.
const clearly = 0.05

const peersHead = `# The gate compared with other algorithms

Written by ` + "`go test -run OtherAlgorithms ./overload -update`" + `. All clients except the last two are iamhttp.Transports that make up to 20 attempts,
and all of these except ` + "`none`" + ` have a gate. **Bold** figures are better than the gate's by more than 5%. One figure alone says little: an
algorithm that fails most calls sends few requests. "never" means that calls failed, or that the rate was not regained. All figures are medians of three runs.

`

const peersFoot = `
- ` + "`aimd`" + `: refusals halve the pace, and each second adds a tenth of the halved pace.
- ` + "`atb`, `aatb`" + `: the two algorithms in arXiv 2510.04516, as in the programs that its authors published. Both are given the limit at the start.
  A telemetry server tells AATB's clients what the other clients send.
- ` + "`gradient`" + `: Netflix's Gradient2Limit, which limits the number of requests in flight according to the response times.
- ` + "`google`" + `: the client-side throttling in Site Reliability Engineering, chapter 21: some requests fail without being sent, so that at most
  about twice as many are sent as are accepted.
- ` + "`aws-standard`, `aws-adaptive`" + `: the AWS SDK's retry modes since November 2026, with three attempts. They ignore Retry-After.

Other algorithms are better than the gate in these cases:

- Clients that do not communicate make few calls each, and the limit is 40 per minute. ATB and AATB are given the limit, and send a third to
  six tenths as many requests. The gate gets too few responses to learn the limit, so for occasional calls it is hardly better than none.
- The limit changes, or the service recovers. Without a gate, or with the AWS SDK's standard mode, more calls succeed right away. The price is
  up to 12 times as many requests while the limit is exceeded.
- A single client has the whole limit, and is given the limit. AATB needs hardly any retries then, but it is slow to recover in other cases.

The comments in atb_test.go, gradient_test.go and google_test.go say which parts are our guesses, not the authors' work.
`

// beside measures a row with each strategy, with three seeds.
func (r row) beside(t *testing.T) map[string][]figure {
	r.seeds = 3
	figures := map[string][]figure{}
	for _, s := range strategies {
		figures[s.name] = r.run(t, s)
	}
	return figures
}

func (a aim) clearlyBetter(x, than float64) bool {
	if a.least {
		return x > than*(1+clearly)
	}
	return x < than*(1-clearly)
}

func (p peersTable) write(b *strings.Builder, figures map[string]map[string][]figure) {
	fmt.Fprintf(b, "%s\n\n| client |", p.about)
	columns := 0
	for _, r := range p.rows {
		for _, a := range r.goals {
			columns++
			if len(p.rows) > 1 {
				fmt.Fprintf(b, " %s:", r.name)
			}
			fmt.Fprintf(b, " %s |", a.name)
		}
	}
	fmt.Fprintf(b, "\n|---|%s\n", strings.Repeat("--:|", columns))
	for _, s := range strategies {
		fmt.Fprintf(b, "| `%s` |", s.name)
		for _, r := range p.rows {
			for i, a := range r.goals {
				cell := number3(figures[r.name][s.name][i].median)
				if a.clearlyBetter(figures[r.name][s.name][i].median, figures[r.name]["gate"][i].median) {
					cell = "**" + cell + "**"
				}
				fmt.Fprintf(b, " %s |", cell)
			}
		}
		b.WriteString("\n")
	}
}

// The gate's figures in PEERS.md must not differ from the measured figures by more than
// 5%. The figures of the other strategies are not checked: see near.
func TestComparisonWithOtherAlgorithmsIsCurrent(t *testing.T) {
	t.Parallel()
	if raceDetector {
		t.Skip("this test measures figures, and finds no races that other tests miss")
	}
	var measured sync.Map
	for _, p := range peersTables {
		for _, r := range p.rows {
			t.Run(r.name, func(t *testing.T) {
				t.Parallel()
				f := r.beside(t)
				t.Log(r.log(strategies, f))
				measured.Store(r.name, f)
			})
		}
	}
	t.Cleanup(func() { // runs after all parallel subtests
		if text, all := peersMarkdown(&measured); all {
			holdPeers(t, text)
		}
	})
}

// peersMarkdown returns the text of PEERS.md. If some rows were not run, all is false,
// and there is no text.
func peersMarkdown(measured *sync.Map) (_ string, all bool) {
	var b strings.Builder
	b.WriteString(peersHead)
	for i, p := range peersTables {
		figures := map[string]map[string][]figure{}
		for _, r := range p.rows {
			f, ok := measured.Load(r.name)
			if !ok {
				return "", false
			}
			figures[r.name] = f.(map[string][]figure)
		}
		if i > 0 {
			b.WriteString("\n")
		}
		p.write(&b, figures)
	}
	b.WriteString(peersFoot)
	return b.String(), true
}

// holdPeers writes PEERS.md with -update. Otherwise it checks that the file is current.
func holdPeers(t *testing.T, text string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile("PEERS.md", []byte(text), 0o644))
		return
	}
	old, err := os.ReadFile("PEERS.md")
	require.NoError(t, err)
	const anew = "PEERS.md is out of date: run go test -run OtherAlgorithms ./overload -update"
	require.Equal(t, number.ReplaceAllString(plain(string(old)), "#"), number.ReplaceAllString(plain(text), "#"), anew)
	was, is := cellsOf(string(old)), cellsOf(text)
	for i := range is {
		assert.NoError(t, is[i].near(was[i]), anew)
	}
}

// A cell is a figure in PEERS.md.
type cell struct {
	client string
	line   int
	value  float64
}

func cellsOf(text string) (all []cell) {
	for i, line := range strings.Split(strings.ReplaceAll(text, "**", ""), "\n") {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		parts := strings.Split(strings.Trim(line, "| "), "|")
		for _, p := range parts[1:] {
			value, err := strconv.ParseFloat(strings.TrimSpace(p), 64)
			if err != nil {
				value = never // the cell's text is never or none
			}
			all = append(all, cell{strings.Trim(parts[0], "` "), i + 1, value})
		}
	}
	return all
}

// near returns an error if the gate's figure differs from the file's by over 5%. It does not
// check other strategies, because their jitter is not seeded, and whether some of their
// calls fail is a matter of chance.
func (c cell) near(was cell) error {
	if c.client != "gate" || c.value == was.value {
		return nil
	}
	if math.Abs(c.value-was.value) <= worsens*max(c.value, was.value) && !math.IsInf(c.value+was.value, 0) {
		return nil
	}
	return fmt.Errorf("%s in line %d: got %s, the file has %s", c.client, c.line, number3(c.value), number3(was.value))
}
