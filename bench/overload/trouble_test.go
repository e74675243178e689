package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/bench/internal/sim"
)

// In the rows, a fault or a change meets one limit and one load. Here, each meets several, and
// the gate must not be worse off for a long time afterwards.
const (
	troubleFrom  = 2 * time.Minute
	troubleLeast = 0.75 // lower bound of the share of what is possible, from a minute after the trouble; the goal is 0.97
	troubleMean  = 0.97 // lower bound of the mean of these shares
)

// A trouble is something that happens to a service from troubleFrom on, for a while.
type trouble struct {
	name   string
	lasts  time.Duration
	fault  sim.Fault // Share 0: none
	times  float64   // factor by which the limit is multiplied; 0: none
	stays  bool      // whether the limit stays as it is then
	others float64   // share of the limit that strangers use
}

var troubles = []trouble{
	{name: "every request gets a 503", lasts: 30 * time.Second, fault: sim.Fault{Share: 1, Status: 503}},
	{name: "every request fails at once", lasts: 30 * time.Second, fault: sim.Fault{Share: 1, Silence: time.Millisecond}},
	{name: "no request gets a response", lasts: 20 * time.Second, fault: sim.Fault{Share: 1, Silence: 5 * time.Second}},
	{name: "half of the requests are throttled", lasts: 30 * time.Second, fault: sim.Fault{Share: 0.5, Status: 429}},
	{name: "one request is told to wait for half a minute", lasts: 30 * time.Second, fault: sim.Fault{Share: 1, Count: 1, Status: 429, RetryAfter: "30"}},
	{name: "the limit falls to a tenth", lasts: time.Minute, times: 0.1},
	{name: "the limit falls to a fifth for good", lasts: time.Second, times: 0.2, stays: true},
	{name: "strangers use the limit", lasts: time.Minute, others: 1.2},
}

// troubled returns a situation with the trouble, and how many calls per second can succeed after
// it. Callers are workers if load is 0, and otherwise make load times as many calls as the limit
// allows at first.
func troubled(t trouble, server sim.Server, retryAfter sim.RetryAfter, load float64) (sim.Situation, float64) {
	until := troubleFrom + t.lasts
	s := sim.Situation{
		Limits: []sim.Limit{{Server: server}}, RetryAfter: retryAfter, Answers: "50ms", Way: 5 * time.Millisecond, Length: until + 3*time.Minute,
		Callers: []sim.Callers{{Workers: 30, Timeout: 20 * time.Second}}, Seed: 1,
	}
	possible := server.Rate()
	if t.stays {
		possible *= t.times
	}
	if load > 0 {
		s.Callers = []sim.Callers{{Rate: load * server.Rate(), Timeout: 10 * time.Second}}
		possible = min(possible, load*server.Rate())
	}
	if t.fault.Share > 0 {
		f := t.fault
		f.From, f.Until = troubleFrom, until
		if f.Status == 429 && f.RetryAfter == "" && retryAfter != sim.Absent {
			f.RetryAfter = string(retryAfter)
		}
		s.Faults = []sim.Fault{f}
	}
	if t.times > 0 {
		s.Limits[0].Course = []sim.Change{{At: troubleFrom, Times: t.times}}
		if !t.stays {
			s.Limits[0].Course = append(s.Limits[0].Course, sim.Change{At: until, Times: 1})
		}
	}
	if t.others > 0 {
		s.Limits[0].Strangers = []sim.Presence{{From: troubleFrom, Until: until, Share: t.others}}
	}
	return s, possible
}

// The first minute after the trouble, in which the gate learns, does not count.
//
//	go test -v -run Recovers ./overload
func TestTheGateRecoversFromPlainTrouble(t *testing.T) {
	t.Parallel()
	if raceDetector {
		t.Skip("this test measures figures, and finds no races that other tests miss")
	}
	type run struct {
		name      string
		situation sim.Situation
		possible  float64
	}
	var all []run
	for _, tr := range troubles {
		for _, server := range []sim.Server{sim.Bucket(100, 0.1), sim.Bucket(5, 1), {Algorithm: sim.FixedWindow, Limit: 200, Window: 10 * time.Second}} {
			for _, retryAfter := range []sim.RetryAfter{sim.Absent, "1"} {
				for _, load := range []float64{0, 0.7, 1.5} {
					s, possible := troubled(tr, server, retryAfter, load)
					all = append(all, run{fmt.Sprintf("%s: %v", tr.name, s), s, possible})
				}
			}
		}
	}
	shares, lines := make([]float64, len(all)), make([]string, len(all))
	eachDraw(len(all), func(i int, _ uint64) {
		s := all[i].situation
		from := s.Length - 2*time.Minute
		answered := s.Run(new(testing.T), strategies[0].client(s, settings{})).Answered(from, s.Length)
		shares[i] = min(1, float64(answered)/(all[i].possible*(s.Length-from).Seconds()))
		lines[i] = fmt.Sprintf("%.3f: %s", shares[i], all[i].name)
	})
	slices.Sort(lines) // the worst first
	sum := 0.0
	for _, share := range shares {
		sum += share
	}
	mean := sum / float64(len(shares))
	t.Logf("the worst of %d situations (mean %.3f):\n%s", len(all), mean, strings.Join(lines[:min(len(lines), *drawsShown)], "\n"))
	assert.GreaterOrEqual(t, slices.Min(shares), troubleLeast, "the worst situation")
	assert.GreaterOrEqual(t, mean, troubleMean, "the mean")
}
