package main

import (
	"time"

	"github.com/iamhttp/iamhttp/bench/internal/sim"
)

// A goal is a figure of the gate's that must not exceed a bound wherever it
// applies.
type goal struct {
	name    string
	applies func(sim.Scenario, sim.Result) bool // the result, for its ideal
	figure  func(sim.Result) float64
	bound   float64
}

// met reports whether a result reaches the goal, or need not.
func (g goal) met(s sim.Scenario, r sim.Result) bool {
	return !g.applies(s, r) || g.figure(r) <= g.bound // not if the figure is NaN, as nothing was served
}

var goals = []goal{
	{"no call fails", everywhere, func(r sim.Result) float64 { return float64(r.Failed) }, 0},
	{"nothing is sent while a Retry-After is in force", everywhere, func(r sim.Result) float64 { return float64(r.Forbidden) }, 0},

	{"sent per success, over time, shallow or many calls", all(overTime, either(shallow, manyCalls)), sim.Result.SentPerOK, 1.15},
	{"sent per success, over time", overTime, sim.Result.SentPerOK, 1.35},
	{"sent per success, at once, fewer than 300 tokens", all(atOnce, answersSoon, fewTokens), sim.Result.SentPerOK, 1.2},
	{"sent per success, at once", atOnce, sim.Result.SentPerOK, 1.5},

	{"makespan, depth of a second or fixed window", all(long, steady, either(deep, fixedWindow)), sim.Result.MakespanRatio, 1.15},
	{"makespan, one token, constant answers", all(long, steady, oneToken, not(jitter)), sim.Result.MakespanRatio, 1.3},
	{"makespan, shallow", all(long, steady, tokenBucket, shallow, not(oneToken)), sim.Result.MakespanRatio, 1.5},
	{"makespan, limit that changes", all(long, predictable, changes), sim.Result.MakespanRatio, 2.1},
	{"makespan, short run, depth of a second", all(shortRun, depth(time.Second)), sim.Result.MakespanRatio, 1.1},
	{"makespan, short run, depth of 0.1 s", all(shortRun, depth(100*time.Millisecond)), sim.Result.MakespanRatio, 1.6},

	{"throttled below the limit", belowLimit, func(r sim.Result) float64 { return float64(r.Refused) }, 0},
	{"median latency below the limit", belowLimit, func(r sim.Result) float64 {
		return float64(sim.Quantile(r.Latency, 0.5)) / float64(sim.Quantile(r.IdealLatency, 0.5))
	}, 1.01},
}

type condition = func(sim.Scenario, sim.Result) bool

func all(cs ...condition) condition {
	return func(s sim.Scenario, r sim.Result) bool {
		for _, c := range cs {
			if !c(s, r) {
				return false
			}
		}
		return true
	}
}

func either(a, b condition) condition {
	return func(s sim.Scenario, r sim.Result) bool { return a(s, r) || b(s, r) }
}

func not(c condition) condition {
	return func(s sim.Scenario, r sim.Result) bool { return !c(s, r) }
}

func everywhere(sim.Scenario, sim.Result) bool    { return true }
func atOnce(s sim.Scenario, _ sim.Result) bool    { return s.Arrivals.Load == 0 }
func overTime(s sim.Scenario, _ sim.Result) bool  { return s.Arrivals.Load != 0 }
func manyCalls(s sim.Scenario, _ sim.Result) bool { return s.Arrivals.Calls >= 10000 }
func jitter(s sim.Scenario, _ sim.Result) bool    { return s.Answers == sim.LogNormal }
func changes(s sim.Scenario, _ sim.Result) bool   { return s.Server.Change != 0 }
func oneToken(s sim.Scenario, _ sim.Result) bool {
	return s.Server.Algorithm == sim.TokenBucket && s.Server.Tokens() == 1
}
func fewTokens(s sim.Scenario, _ sim.Result) bool   { return s.Server.Tokens() < 300 }
func answersSoon(s sim.Scenario, _ sim.Result) bool { return s.Answers != sim.Slow }
func tokenBucket(s sim.Scenario, _ sim.Result) bool { return s.Server.Algorithm == sim.TokenBucket }
func fixedWindow(s sim.Scenario, _ sim.Result) bool { return s.Server.Algorithm == sim.FixedWindow }

func shallow(s sim.Scenario, _ sim.Result) bool {
	return s.Server.Algorithm == sim.TokenBucket && s.Server.Depth <= 100*time.Millisecond
}

func deep(s sim.Scenario, r sim.Result) bool {
	return s.Server.Algorithm == sim.TokenBucket && s.Server.Depth >= time.Second && !oneToken(s, r)
}

func depth(d time.Duration) condition {
	return func(s sim.Scenario, _ sim.Result) bool {
		return s.Server.Algorithm == sim.TokenBucket && s.Server.Depth == d
	}
}

// predictable: neither others nor the server's words make the makespan a
// matter of luck.
func predictable(s sim.Scenario, _ sim.Result) bool {
	return s.Server.Strangers == 0 && s.Server.Algorithm != sim.SlidingWindow && s.RetryAfter != sim.Sixty &&
		!(s.Server.Tokens() == 1 && s.Answers == sim.LogNormal)
}

func steady(s sim.Scenario, r sim.Result) bool { return predictable(s, r) && s.Server.Change == 0 }

func long(_ sim.Scenario, r sim.Result) bool { return r.IdealMakespan >= time.Minute }

func shortRun(s sim.Scenario, r sim.Result) bool {
	return steady(s, r) && atOnce(s, r) && s.Server.Rate() == 100 && s.Arrivals.Calls == 1000 && s.Answers == sim.Fast
}

// belowLimit: at half the limit, with room for chance, nobody has to wait in
// the ideal.
func belowLimit(s sim.Scenario, r sim.Result) bool {
	return overTime(s, r) && s.Arrivals.Load < 1 && s.Server.Tokens() >= 10 && sim.Quantile(r.IdealWait, 1) == 0
}
