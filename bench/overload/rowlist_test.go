package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/bench/internal/sim"
	"github.com/iamhttp/iamhttp/gate"
)

// A family is a group of similar rows. about is the text above these rows in ROWS.md.
type family struct {
	about string
	rows  []row
}

// families are the groups of rows, in the order of ROWS.md.
var families = []family{
	{"Each call has its own timeout, and more calls are made than the limit allows. `×3` means three times as many.", deadlineRows()},
	{"An outage of half a minute, with a pool of 50 workers and a limit of 100/s: requests get a 503, a 429 or no response. " +
		"The figures are the worst of 36 seeds.", outageRows()},
	{"The limit changes, or other clients (strangers) also use the limit for a while. `tb100-0.1` is a token bucket of 100/s that holds the " +
		"tokens of 0.1 s, and `pool50` is 50 workers, each of which makes one call after another.", changeRows()},
	{"A service without a limit throttles a single request by chance. `500` is the number of calls per second.", strayRows()},
	{"A limit of 5000/s, with 500 workers.", highRows()},
	{"For ten minutes, the service throttles one request in a hundred by chance. If all callers pause after each 429, about 286 calls per second " +
		"succeed without Retry-After (pauses of 0.25 s), 91 with 1 s, and 20 with 5 s; the goal is half of that. The figures are the worst of 8 " +
		"seeds.", chanceRows()},
	{"Reads and writes on one host have separate limits, and the writes exceed theirs. In `shared-limit`, reads and writes share one limit. " +
		"With `default-key`, GateKey is nil, so reads and writes have separate keys; with `key-by-host`, they share one.", twoLimitRows()},
	{"The service refuses every PUT. One PUT per minute (`rare`) or two share the key with 5 or 20 GETs per second, which it accepts.", refusedRows()},
	{"One endpoint is refused more often than the others, which have no limit and get 20 calls per second. In `limited`, it gets 3 calls per second and accepts one; in `refusing` and `polled`, it refuses every request of one call in three seconds, or of three workers. In `two-…`, this applies to two endpoints. In `shared`, seven endpoints share a limit of 100/s, and get 1.2 times as many calls.", endpointRows()},
	{"The account is almost quiet, and then 60 or 200 calls are made at once. Or 100 requests stay open for an hour (watches) while 10 calls per second " +
		"are made. Or, without a limit, 300 stay open before 100 calls are made at once.", quietRows()},
	{"About once per second, an interactive call is made, while 10,000 bulk calls are queued.", laneRows()},
	{"The service refuses requests above a maximum number in flight. `20-2s` means 500 calls at once, at most 20 requests in flight, and responses " +
		"that take 2 s; `pool-20` means 100 workers and at most 20 requests in flight. The ideal keeps as many in flight as the service allows, " +
		"counted at the caller. At the service, a request is in flight for 10 ms less, so a figure can be below 1. In a burst, 64 requests are in flight at " +
		"first (StartWindow), so 500 calls take at least 1.13 requests per success if the service accepts one at a time, and 1.12 if it accepts five.", inFlightRows()},
	{"A limit of 1440, 360 or 100 per hour, which accepts one request at a time.", slowRows()},
	{"One worker makes one call after another, at a limit of 20/s without a burst.", loneRows()},
	{"Workers make one call after another, and ask for more than the limit allows. `4-tb50` is 4 workers and a token bucket of 50/s that holds the tokens of half " +
		"a second; `fw` is a fixed window of one second, and `fw10s` one of ten.", poolRows()},
	{"A fixed (`fw`) or sliding (`sw`) window of one second, and 1.2 times as many calls as it allows, each with a timeout of 5 s.", windowRows()},
	{"1000 calls at once. The service refuses requests with the given status, which is listed in AlsoRetry.", codeRows()},
	{"Processes that do not communicate share a limit of 100/s. In `10-at-1`, ten processes share a limit of 1/s. The figures are " +
		"the medians of 5 seeds, because chance decides who gets more.", fleetRows()},
	{"For ten minutes, 100 clients that do not communicate make occasional calls: in total, 1.2 times as many as the limit of 40 per minute allows.",
		clientsRows()},
	{"Long waits, many accounts, bans, a limit that drops to zero, and callers that cancel their calls.", otherRows()},
	{"In `costs`, some requests count as ten against a limit of 100/s. In `curve`, the limit follows a sine curve between 50/s and 150/s for ten minutes.", unevenRows()},
	{"Situations found by random draws, in which far fewer calls succeeded with the gate than without it. `late-turns` has timeouts of 320 ms " +
		"and responses of 300 ms; in `long-pause`, an outage ends with a Retry-After of a minute.", foundRows()},
}

// The following aims are used by several rows.

func sentAtMost(goal float64) aim {
	return aim{"requests per success", goal, false, (*sim.Record).SentPerOK}
}

var noneFails = aim{"calls that fail", 0, false, func(r *sim.Record) float64 { return float64(r.Failed()) }}

// answeredOf is the number of calls that succeed in a stretch of time, divided by the
// number that the first limit allows.
func answeredOf(from, until time.Duration, goal float64) aim {
	return aim{fmt.Sprintf("share of the limit, %v to %v", from, until), goal, true, func(r *sim.Record) float64 {
		return float64(r.Answered(from, until)) / r.Situation.Limits[0].Allows(from, until)
	}}
}

// regained is the number of seconds from a change until calls succeed at 90% of a rate, or
// never.
func regained(change time.Duration, rate, goal float64) aim {
	return aim{"seconds to 90%", goal, false, func(r *sim.Record) float64 {
		if after, ok := r.Regained(change, 0.9*rate); ok {
			return after.Seconds()
		}
		return never
	}}
}

// makespanOf is the time until all calls have succeeded, divided by the ideal time. It is
// never if a call did not succeed.
func makespanOf(ideal time.Duration, goal float64) aim {
	return aim{"makespan, × ideal", goal, false, func(r *sim.Record) float64 {
		if r.OK() < len(r.Calls) {
			return never
		}
		return float64(r.Makespan()) / float64(ideal)
	}}
}

func p99Of(name string, goal float64) aim {
	return aim{strings.TrimSpace(name + " p99 in seconds"), goal, false, func(r *sim.Record) float64 {
		part := r.Of(name)
		if part.OK() == 0 {
			return never
		}
		return sim.Quantile(part.Latency(), 0.99).Seconds()
	}}
}

func limit(rate, depth float64, course ...sim.Change) []sim.Limit {
	return []sim.Limit{{Server: sim.Bucket(rate, depth), Course: course}}
}

func deadlineRows() []row {
	rows := []row{{
		name: "told/1000", seeds: 8, // at some, jitter decides that the gate learns the limit a second later
		situation: sim.Situation{
			Limits: limit(20, 1), RetryAfter: sim.Seconds, Answers: "10ms", Length: time.Minute,
			Callers: []sim.Callers{{Once: 1000, Apart: 20 * time.Microsecond, Timeout: 3 * time.Second}},
		},
		goals: []aim{
			{"seconds until failed calls return, mean", 0.3, false, func(r *sim.Record) float64 { return sim.Mean(r.Told()).Seconds() }},
			{"share of the 79 calls that can succeed", 0.9, true, func(r *sim.Record) float64 { return float64(r.OK()) / 79 }},
		},
	}}
	const end = 2 * time.Minute
	for _, load := range []float64{1.5, 3, 10} {
		rows = append(rows, row{
			name: fmt.Sprintf("deadline/×%v", load),
			situation: sim.Situation{
				Limits: limit(50, 1), RetryAfter: sim.Seconds, Answers: "50ms", Length: end,
				Callers: []sim.Callers{{Rate: 50 * load, Timeout: 2 * time.Second}},
			},
			goals: []aim{answeredOf(0, end, 0.97), sentAtMost(1.05)},
		})
	}
	rows = append(rows, row{
		name: "deadline/mixed×3",
		situation: sim.Situation{
			Limits: limit(50, 1), RetryAfter: sim.Seconds, Answers: sim.LogNormal, Length: end,
			Callers: []sim.Callers{{Rate: 150, Timeout: time.Second / 2, Most: 5 * time.Second}},
		},
		goals: []aim{answeredOf(0, end, 0.97), sentAtMost(1.05)},
	})
	// The calls that wait longest have hardly more time left than the response takes.
	rows = append(rows, row{
		name: "deadline/in-flight5", seeds: 12,
		situation: sim.Situation{
			InFlight: 5, RetryAfter: sim.Seconds, Answers: "300ms", Way: 5 * time.Millisecond, Length: end,
			Callers: []sim.Callers{{Rate: 25, Timeout: 720 * time.Millisecond}},
		},
		// Without a gate, at least 13.5 calls per second succeed. The limit allows 17.
		goals: []aim{{"successes per second", 0.97 * 13.5, true, func(r *sim.Record) float64 {
			return float64(r.OK()) / end.Seconds()
		}}, sentAtMost(1.05)},
	})
	for _, load := range []float64{1.2, 2} {
		rows = append(rows, row{
			name: fmt.Sprintf("deadline/long-tail×%v", load),
			situation: sim.Situation{
				Limits: limit(20, 1), RetryAfter: sim.Absent, Answers: sim.LongTail, Way: 5 * time.Millisecond, Length: 10 * time.Minute,
				Callers: []sim.Callers{{Rate: 20 * load, Timeout: 10 * time.Second}},
			},
			// Without a gate, the share is 0.97: some responses take more than ten seconds.
			goals: []aim{answeredOf(0, 10*time.Minute, 0.94), sentAtMost(1.1)},
		})
	}
	for _, load := range []float64{1.2, 3} {
		rows = append(rows, row{
			name: fmt.Sprintf("timeout/30s×%v", load),
			situation: sim.Situation{
				Limits: limit(50, 1), RetryAfter: sim.Seconds, Answers: "50ms", Length: 5 * time.Minute,
				Callers: []sim.Callers{{Rate: 50 * load, Timeout: 30 * time.Second}},
			},
			goals: []aim{{"share of the limit, worst of five minutes", 0.97, true, func(r *sim.Record) float64 {
				worst := never
				for m := range time.Duration(5) {
					worst = min(worst, float64(r.Answered(m*time.Minute, (m+1)*time.Minute))/3000)
				}
				return worst
			}}},
		})
	}
	return rows
}

// An outage lasts half a minute. Some of its responses look like those of a rate limit.
func outageRows() []row {
	const from, until = time.Minute, 90 * time.Second
	var rows []row
	for _, o := range []struct {
		name       string
		retryAfter string
		goal       float64
		faults     []sim.Fault
	}{
		{"mixed", "", 25, []sim.Fault{{Status: 503, Share: 1. / 3}, {Silence: 5 * time.Second, Share: 1. / 3}, {Status: 429, Share: 1}}},
		{"mixed", "1", 16, []sim.Fault{{Status: 503, Share: 1. / 3}, {Silence: 5 * time.Second, Share: 1. / 3}, {Status: 429, Share: 1}}},
		{"half503", "", 25, []sim.Fault{{Status: 503, Share: 0.5}, {Status: 429, Share: 1}}},
		{"half429", "", 25, []sim.Fault{{Status: 429, Share: 0.5}}},
		{"most429", "1", 16, []sim.Fault{{Status: 429, Share: 0.9}}},
		{"all503", "", 15, []sim.Fault{{Status: 503, Share: 1}}},
	} {
		for i := range o.faults {
			o.faults[i].From, o.faults[i].Until = from, until
			if o.faults[i].Status == 429 {
				o.faults[i].RetryAfter = o.retryAfter
			}
		}
		name := "outage/" + o.name
		if o.retryAfter != "" {
			name += "-RA" + o.retryAfter
		}
		rows = append(rows, row{
			name: name,
			situation: sim.Situation{
				Limits: limit(100, 1), RetryAfter: sim.Seconds, Answers: "50ms", Length: until + 3*time.Minute,
				Callers: []sim.Callers{{Workers: 50}}, Faults: o.faults,
			},
			seeds: 36,
			goals: []aim{regained(until, 100, o.goal)},
		})
	}
	return rows
}

// The limit changes, or strangers come and go.
func changeRows() []row {
	const at = 2 * time.Minute
	pool := func(name string, workers int, limits []sim.Limit, change time.Duration, rate, goal float64) row {
		return row{
			name: name,
			situation: sim.Situation{
				Limits: limits, RetryAfter: "1", Answers: "10ms", Length: change + 3*time.Minute,
				Callers: []sim.Callers{{Workers: workers}},
			},
			goals: []aim{regained(change, rate, goal)},
		}
	}
	var rows []row
	for _, s := range []struct {
		rate, depth float64
		workers     int
	}{{100, 1, 50}, {100, 0.1, 50}, {100, 1, 10}, {100, 1, 1000}, {5, 1, 50}} {
		for _, c := range []struct{ times, goal float64 }{{2, 30}, {4, 45}, {10, 60}} {
			if s.workers == 10 && c.times == 10 {
				continue // ten workers cannot exceed that limit
			}
			name := fmt.Sprintf("step/tb%v-%v-pool%d×%v", s.rate, s.depth, s.workers, c.times)
			rows = append(rows, pool(name, s.workers, limit(s.rate, s.depth, sim.Change{At: at, Times: c.times}), at, s.rate*c.times, c.goal))
		}
	}
	for _, workers := range []int{10, 50, 1000} {
		for _, d := range []struct {
			name  string
			times float64
			lasts time.Duration
		}{{"tenth", 0.1, 30 * time.Second}, {"hundredth", 0.01, time.Minute}, {"nothing", 0, 30 * time.Second}} {
			until := at + d.lasts
			rows = append(rows, pool(fmt.Sprintf("dip/%s-pool%d", d.name, workers), workers,
				limit(100, 1, sim.Change{At: at, Times: d.times}, sim.Change{At: until, Times: 1}), until, 100, 30))
		}
		for _, share := range []float64{0.5, 0.8, 1.5} {
			until := at + time.Minute
			limits := limit(100, 1)
			limits[0].Strangers = []sim.Presence{{From: at, Until: until, Share: share}}
			rows = append(rows, pool(fmt.Sprintf("strangers/%.0f%%-pool%d", 100*share, workers), workers, limits, until, 100, 30))
		}
	}
	return rows
}

// A service without a limit throttles one request by chance.
func strayRows() []row {
	const at = 20 * time.Second
	var rows []row
	for _, rate := range []float64{200, 500, 4000} {
		for _, retryAfter := range []string{"", "1", "30"} {
			if rate == 4000 && retryAfter == "" {
				continue // slow to run, and shows no more than the row with a rate of 500
			}
			seconds, _ := strconv.Atoi(retryAfter)
			rows = append(rows, row{
				name: fmt.Sprintf("stray/%v-RA%d", rate, seconds),
				situation: sim.Situation{
					Answers: "50ms", Length: at + time.Duration(seconds+40)*time.Second,
					Callers: []sim.Callers{{Rate: rate}},
					Faults:  []sim.Fault{{From: at, Until: at + time.Minute, Share: 1, Count: 1, Status: 429, RetryAfter: retryAfter}},
				},
				goals: []aim{regained(at, rate, float64(seconds+5))},
			})
		}
	}
	return rows
}

func highRows() []row {
	return []row{{
		name: "high/5000",
		situation: sim.Situation{
			Limits: limit(5000, 0.1), RetryAfter: sim.Seconds, Answers: "50ms", Length: time.Minute,
			Callers: []sim.Callers{{Workers: 500}},
		},
		goals: []aim{answeredOf(10*time.Second, 30*time.Second, 0.9), answeredOf(30*time.Second, time.Minute, 0.9)},
	}}
}

// The service throttles one request in a hundred by chance, all the time. most is the
// number of calls per second if a hundred calls, which take 0.1 s, alternate with pauses,
// which last 0.25 s without Retry-After.
func chanceRows() []row {
	const length = 10 * time.Minute
	var rows []row
	for _, c := range []struct {
		retryAfter string
		most       float64
	}{{"", 286}, {"1", 91}, {"5", 20}} {
		rows = append(rows, row{
			name: "chance/RA" + cmp.Or(c.retryAfter, "0"), seeds: 8,
			situation: sim.Situation{
				Answers: "100ms", Length: length,
				Callers: []sim.Callers{{Workers: 100}},
				Faults:  []sim.Fault{{Until: length, Share: 0.01, Status: 429, RetryAfter: c.retryAfter}},
			},
			goals: []aim{{"successes per second, second half", c.most / 2, true, func(r *sim.Record) float64 {
				return float64(r.Answered(length/2, length)) / (length / 2).Seconds()
			}}},
		})
	}
	return rows
}

// Reads and writes have separate limits, or share one limit.
func twoLimitRows() []row {
	const length = 2 * time.Minute
	apart := []sim.Limit{{Server: sim.Bucket(200, 1), Method: "GET"}, {Server: sim.Bucket(5, 1), Method: "POST"}}
	readers := sim.Callers{Name: "read", Method: "GET", Rate: 50}
	writers := sim.Callers{Name: "write", Method: "POST", Rate: 10}
	burst := sim.Callers{Name: "write", Method: "POST", Once: 200, From: 10 * time.Second}
	soon := aim{"share of the reads that take less than 0.1 s", 0.99, true, func(r *sim.Record) float64 {
		reads := r.Of("read").Made(0, length-time.Second)
		n, _ := slices.BinarySearch(reads.Latency(), 100*time.Millisecond)
		return float64(n) / float64(len(reads.Calls))
	}}
	writes := aim{"share of the writes' limit", 0.9, true, func(r *sim.Record) float64 {
		return float64(r.Of("write").OK()) / r.Situation.Limits[1].Allows(0, length)
	}}
	var rows []row
	for _, k := range []struct {
		name string
		set  settings
	}{{"key-by-host", settings{key: gate.KeyByHost}}, {"default-key", settings{}}} {
		situation := sim.Situation{Limits: apart, RetryAfter: sim.Seconds, Answers: "20ms", Length: length, Callers: []sim.Callers{readers, writers}}
		rows = append(rows, row{name: "two-limits/" + k.name, situation: situation, settings: k.set, goals: []aim{soon, writes}})
		situation.Callers = []sim.Callers{readers, burst}
		rows = append(rows, row{name: "two-limits/burst-" + k.name, situation: situation, settings: k.set, goals: []aim{soon}})
		situation.Callers = []sim.Callers{readers, writers}
		situation.Limits = limit(40, 1)
		rows = append(rows, row{name: "shared-limit/" + k.name, situation: situation, settings: k.set, goals: []aim{answeredOf(0, length, 0.95), sentAtMost(1.15)}})
	}
	return rows
}

// A call may be refused whatever the pace, for example because of what it asks for.
func refusedRows() []row {
	const length = 10 * time.Minute
	var rows []row
	for _, retryAfter := range []sim.RetryAfter{sim.Absent, "2"} {
		for _, load := range []struct {
			name       string
			gets, puts float64
		}{{"rare", 20, 1. / 60}, {"often", 5, 2. / 60}} {
			rows = append(rows, row{
				name: fmt.Sprintf("refused/%s-RA%s", load.name, map[sim.RetryAfter]string{sim.Absent: "0", "2": "2"}[retryAfter]),
				situation: sim.Situation{
					Limits:     []sim.Limit{{Server: sim.Bucket(1e-6, 1), Method: "PUT"}},
					RetryAfter: retryAfter, Answers: "50ms", Length: length,
					Callers: []sim.Callers{
						{Name: "get", Method: "GET", Rate: load.gets, Timeout: 10 * time.Second},
						{Name: "put", Method: "PUT", Rate: load.puts, Timeout: 20 * time.Second},
					},
				},
				settings: settings{key: gate.KeyByHost}, seeds: 12,
				goals: []aim{{"share of the GETs that succeed", 0.97, true, func(r *sim.Record) float64 {
					gets := r.Of("get")
					return float64(gets.OK()) / float64(len(gets.Calls))
				}}},
			})
		}
	}
	return rows
}

// An endpoint may have a limit of its own, or refuse all requests from the first one on.
// Often, however, all endpoints share one limit, although some are refused more often by
// chance.
func endpointRows() []row {
	const length = 10 * time.Minute
	others := []sim.Callers{{Name: "others", Rate: 20, Timeout: 10 * time.Second}}
	share := aim{"share of the other calls that succeed", 0.97, true, func(r *sim.Record) float64 {
		others := r.Of("others")
		return float64(others.OK()) / float64(len(others.Calls))
	}}
	var rows []row
	for _, retryAfter := range []sim.RetryAfter{sim.Absent, "1", "5"} {
		for _, endpoint := range []struct {
			name    string
			limit   float64
			callers sim.Callers
		}{
			{"limited", 1, sim.Callers{Rate: 3, Timeout: 20 * time.Second}},
			{"refusing", 1e-6, sim.Callers{Rate: 1. / 3, Timeout: 20 * time.Second}},
			{"polled", 1e-6, sim.Callers{Workers: 3}},
		} {
			c := endpoint.callers
			c.Method, c.Path = "POST", "/v3/users/1/jobs"
			rows = append(rows, row{
				name: fmt.Sprintf("endpoint/%s-RA%s", endpoint.name, map[sim.RetryAfter]string{sim.Absent: "0", "1": "1", "5": "5"}[retryAfter]),
				situation: sim.Situation{
					Limits:     []sim.Limit{{Server: sim.Bucket(endpoint.limit, 1), Method: "POST"}},
					RetryAfter: retryAfter, Answers: "50ms", Length: length, Callers: append(others, c),
				},
				settings: settings{key: gate.KeyByHost}, seeds: 12, goals: []aim{share},
			})

			two := rows[len(rows)-1]
			two.name = strings.Replace(two.name, "/", "/two-", 1)
			other := c
			other.Method, other.Path = "PUT", "/v3/users/1/roles"
			two.situation.Limits = append(slices.Clip(two.situation.Limits), sim.Limit{Server: sim.Bucket(endpoint.limit, 1), Method: "PUT"})
			two.situation.Callers = append(slices.Clip(two.situation.Callers), other)
			rows = append(rows, two)
		}
	}
	shared := sim.Situation{Limits: limit(100, 0.1), RetryAfter: sim.Seconds, Answers: "50ms", Length: length}
	for _, name := range []string{"users", "groups", "projects", "roles", "tokens", "regions", "policies"} {
		shared.Callers = append(shared.Callers, sim.Callers{Path: "/v3/" + name, Rate: 120. / 7, Timeout: 5 * time.Second})
	}
	return append(rows, row{name: "endpoint/shared", situation: shared, seeds: 12, goals: []aim{answeredOf(0, length, 0.9), sentAtMost(1.05)}})
}

// Time without requests, and requests that stay open, say nothing about the time that a
// response takes.
func quietRows() []row {
	noneFailed := aim{"burst calls that fail", 0, false, func(r *sim.Record) float64 { return float64(r.Of("burst").Failed()) }}
	burst := func(at time.Duration) sim.Callers {
		return sim.Callers{Name: "burst", Once: 60, From: at, Timeout: 30 * time.Second}
	}
	// A burst takes three seconds if a pause of a second is followed by 40 calls at 20/s.
	goals := []aim{noneFailed, p99Of("burst", 3.1)}
	once := sim.Situation{
		Limits: limit(20, 1), RetryAfter: "1", Answers: "50ms", Length: 3 * time.Minute,
		Callers: []sim.Callers{{Once: 1}, burst(time.Minute)},
	}
	rounds := once
	rounds.Callers = []sim.Callers{{Rate: 2}}
	for at := 20 * time.Second; at < rounds.Length; at += 30 * time.Second {
		rounds.Callers = append(rounds.Callers, burst(at))
	}
	rows := []row{
		{name: "quiet/one-burst", seeds: 8, situation: once, goals: goals},
		{name: "quiet/bursts", seeds: 8, situation: rounds, goals: goals},
	}
	const minute = time.Minute
	late := burst(25 * minute)
	late.Once = 200
	rows = append(rows, row{
		name: "quiet/after-two-strays", seeds: 8,
		situation: sim.Situation{
			RetryAfter: "1", Answers: "50ms", Length: 27 * minute,
			Callers: []sim.Callers{{Rate: 0.1}, late},
			Faults: []sim.Fault{
				{From: 2 * minute, Until: 25 * minute, Share: 1, Count: 1, Status: 429, RetryAfter: "1"},
				{From: 4 * minute, Until: 25 * minute, Share: 1, Count: 1, Status: 429, RetryAfter: "1"},
			},
		},
		goals: []aim{noneFailed, p99Of("burst", 15)},
	})
	window := sim.Situation{
		Limits:     []sim.Limit{{Server: sim.Server{Algorithm: sim.FixedWindow, Limit: 150, Window: minute}}},
		RetryAfter: sim.Seconds, Answers: "50ms", Length: 27 * minute,
		Callers: []sim.Callers{{Once: 150, From: 5 * time.Second}, {Once: 150, From: 15*minute + 5*time.Second}, burst(25 * minute)},
	}
	for at := 35 * time.Second; at < 25*minute; at += 5 * minute {
		window.Callers = append(window.Callers, sim.Callers{Once: 20, From: at})
	}
	rows = append(rows, row{name: "quiet/window", seeds: 8, situation: window, goals: []aim{noneFailed, p99Of("burst", 10)}})
	for _, apart := range []time.Duration{2 * time.Millisecond, 37 * time.Millisecond} {
		rows = append(rows, row{
			name: fmt.Sprintf("watches/%v-apart", apart), seeds: 8,
			situation: sim.Situation{
				Limits: limit(20, 1), RetryAfter: "1", Answers: "50ms", Way: 5 * time.Millisecond, Length: 5 * time.Minute,
				Callers: []sim.Callers{
					{Name: "watch", Once: 100, Apart: apart, Answers: "1h"},
					{Name: "other", Rate: 10, Timeout: 15 * time.Second},
				},
			},
			goals: []aim{{"share of the other calls that succeed", 0.97, true, func(r *sim.Record) float64 {
				other := r.Of("other").Made(0, 4*time.Minute)
				return float64(other.OK()) / float64(len(other.Calls))
			}}},
		})
	}
	return append(rows, row{
		name: "watches/no-limit",
		situation: sim.Situation{
			RetryAfter: "1", Answers: "50ms", Way: 5 * time.Millisecond, Length: 2 * time.Minute,
			Callers: []sim.Callers{
				{Name: "watch", Once: 300, Apart: 20 * time.Millisecond, Answers: "1h"},
				{Name: "burst", Once: 100, From: time.Minute, Timeout: 5 * time.Second},
			},
		},
		goals: []aim{noneFailed, p99Of("burst", 0.2)},
	})
}

// Each of many clients receives too few responses to learn the limit. Without a gate, a
// call takes 38 s and 4.7 requests, and the last call ends after 11.5 minutes.
func clientsRows() []row {
	const clients, length = 100, 10 * time.Minute
	s := sim.Situation{
		Limits:  []sim.Limit{{Server: sim.Server{Algorithm: sim.FixedWindow, Limit: 40, Window: time.Minute}}},
		Answers: "50ms", Length: time.Hour,
	}
	for p := range clients {
		s.Callers = append(s.Callers, sim.Callers{Process: p, Rate: 1.2 * 40. / 60 / clients, Until: length})
	}
	return []row{{name: "clients/100", situation: s, goals: []aim{
		{"seconds for a call, mean", 40, false, func(r *sim.Record) float64 { return sim.Mean(r.Latency()).Seconds() }},
		{"minutes until the last success", 13, false, func(r *sim.Record) float64 { return r.Makespan().Minutes() }},
		sentAtMost(4.7), // as without a gate
	}}}
}

func laneRows() []row {
	return []row{{
		name: "lanes/10000",
		situation: sim.Situation{
			Limits: limit(100, 1), RetryAfter: sim.Seconds, Answers: "10ms", Length: 3 * time.Minute,
			Callers: []sim.Callers{
				{Name: "bulk", Once: 10000},
				{Name: "interactive", Rate: 1, From: time.Second, Until: 90 * time.Second, Timeout: 10 * time.Second, Context: interactive},
			},
		},
		goals: []aim{
			p99Of("interactive", 1.04),
			{"interactive calls that fail", 0, false, func(r *sim.Record) float64 { return float64(r.Of("interactive").Failed()) }},
			{"bulk successes per second, first 90 s", 95, true, func(r *sim.Record) float64 {
				return float64(r.Of("bulk").Answered(0, 90*time.Second)) / 90
			}},
		},
	}}
}

// In two rows, some requests count as ten; in the last row, the limit changes every second.
func unevenRows() []row {
	const length = 10 * time.Minute
	units := func(goal float64) aim {
		return aim{"share of the limit", goal, true, func(r *sim.Record) float64 {
			spent := float64(r.Of("light").OK() + 10*r.Of("heavy").OK())
			return spent / r.Situation.Limits[0].Allows(0, length)
		}}
	}
	var rows []row
	for name, c := range map[string]struct{ light, heavy float64 }{"one-in-10": {90, 10}, "one-in-100": {99, 1}} {
		rows = append(rows, row{
			name: "costs/" + name,
			situation: sim.Situation{
				Limits: limit(100, 1), RetryAfter: sim.Seconds, Answers: "50ms", Length: length,
				Callers: []sim.Callers{
					{Name: "light", Rate: c.light, Timeout: 10 * time.Second},
					{Name: "heavy", Rate: c.heavy, Timeout: 10 * time.Second, Cost: 10},
				},
			},
			goals: []aim{units(0.97), sentAtMost(1.1)},
		})
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.name, b.name) })
	var curve []sim.Change
	for at := time.Duration(0); at < length; at += time.Second {
		curve = append(curve, sim.Change{At: at, Times: 1 + math.Sin(2*math.Pi*at.Seconds()/length.Seconds())/2})
	}
	return append(rows, row{
		name: "curve/50-150",
		situation: sim.Situation{
			Limits: limit(100, 1, curve...), RetryAfter: sim.Seconds, Answers: "50ms", Length: length,
			Callers: []sim.Callers{{Rate: 200, Timeout: 10 * time.Second}},
		},
		goals: []aim{answeredOf(0, length, 0.97), sentAtMost(1.1)},
	})
}

// These rows are simplified draws from TestTheGateIsNotWorseInRandomDrawsThanRecorded.
func foundRows() []row {
	answered := func(from, until time.Duration, perSecond float64) aim {
		return aim{fmt.Sprintf("successes per second, %v to %v", from, until), 0.97 * perSecond, true, func(r *sim.Record) float64 {
			return float64(r.Answered(from, until)) / (until - from).Seconds()
		}}
	}
	const outage, over = 70 * time.Second, 94 * time.Second
	return []row{{
		name: "found/late-turns", seeds: 12,
		situation: sim.Situation{
			Limits: limit(1.3, 2, sim.Change{At: 20 * time.Second, Times: 10}), RetryAfter: "1", Answers: "300ms", Length: 2 * time.Minute,
			Callers: []sim.Callers{{Workers: 2, Timeout: 320 * time.Millisecond}},
			Faults:  []sim.Fault{{From: 20 * time.Second, Until: 55 * time.Second, Share: 0.36, Status: 503}},
		},
		goals: []aim{answered(85*time.Second, 115*time.Second, 6.6), sentAtMost(1.3)},
	}, {
		name: "found/burst-in-flight",
		situation: sim.Situation{
			InFlight: 47, RetryAfter: "1", Answers: "300ms", Way: 5 * time.Millisecond, Length: time.Minute,
			Callers: []sim.Callers{{Workers: 82}},
		},
		goals: []aim{answered(5*time.Second, time.Minute, 47/0.31), sentAtMost(1.05)},
	}, {
		name: "found/fault-in-flight", seeds: 12,
		situation: sim.Situation{
			InFlight: 23, RetryAfter: "1", Answers: "1s", Way: 5 * time.Millisecond, Length: 130 * time.Second,
			Callers: []sim.Callers{{Rate: 54, Timeout: 29 * time.Second}},
			Faults: []sim.Fault{
				{From: 41 * time.Second, Until: 52 * time.Second, Share: 1. / 3, Status: 503},
				{From: 41 * time.Second, Until: 52 * time.Second, Share: 1. / 3, Silence: 5 * time.Second},
				{From: 41 * time.Second, Until: 52 * time.Second, Share: 1, Status: 429},
			},
		},
		goals: []aim{answered(85*time.Second, 130*time.Second, 23/1.01), sentAtMost(1.05)},
	}, {
		name: "found/long-pause", seeds: 12,
		situation: sim.Situation{
			Limits:     limit(8, 3, sim.Change{At: outage, Times: 0}, sim.Change{At: over, Times: 1}),
			RetryAfter: sim.Seconds, Answers: sim.LogNormal, Length: 5 * time.Minute,
			Callers: []sim.Callers{{Rate: 5.7}},
			Faults:  []sim.Fault{{From: outage, Until: over, Share: 0.7, Status: 429}},
		},
		goals: []aim{regained(over, 5.7, 90), sentAtMost(1.05)},
	}, {
		name: "found/few-workers", seeds: 4,
		situation: sim.Situation{
			Limits: limit(8.9, 0.47), RetryAfter: "1", Answers: "300ms", Length: 150 * time.Second,
			Callers: []sim.Callers{{Workers: 4, Timeout: 940 * time.Millisecond, Most: 4700 * time.Millisecond}},
		},
		goals: []aim{answered(30*time.Second, 150*time.Second, 8.4), sentAtMost(1.05)},
	}, {
		name: "found/early-dip",
		situation: sim.Situation{
			Limits:     limit(34, 1, sim.Change{At: 14 * time.Second, Times: 0.1}, sim.Change{At: 24 * time.Second, Times: 1}),
			RetryAfter: sim.Seconds, Answers: "50ms", Length: 70 * time.Second,
			Callers: []sim.Callers{{Rate: 26, Timeout: 55 * time.Second}},
		},
		goals: []aim{regained(24*time.Second, 26, 25), sentAtMost(1.05)},
	}, {
		name: "found/backlog-after-dip",
		situation: sim.Situation{
			Limits:     limit(27, 3.6, sim.Change{At: 23 * time.Second, Times: 0.1}, sim.Change{At: 38 * time.Second, Times: 1}),
			RetryAfter: "1", Answers: "1s", Length: 75 * time.Second,
			Callers: []sim.Callers{{Rate: 9.3}},
		},
		goals: []aim{answered(55*time.Second, 75*time.Second, 9.3), sentAtMost(1.1)},
	}}
}

// The service limits the number of requests in flight, whatever their rate.
func inFlightRows() []row {
	var rows []row
	once := func(n int, answers time.Duration, retryAfter sim.RetryAfter, goals ...aim) {
		name := fmt.Sprintf("in-flight/%d-%v", n, answers)
		if retryAfter != sim.Absent {
			name += "-RA" + string(retryAfter)
		}
		ideal := time.Duration((500+n-1)/n) * answers
		if len(goals) == 0 {
			goals = []aim{makespanOf(ideal, 1.3), sentAtMost(1.1)}
			if answers < 500*time.Millisecond {
				goals[0] = makespanOf(ideal, 1+float64(time.Second/4+answers)/float64(ideal))
			}
		}
		rows = append(rows, row{
			name: name,
			situation: sim.Situation{
				InFlight: n, RetryAfter: retryAfter, Answers: sim.Answers(answers.String()), Way: 5 * time.Millisecond,
				Length: 3 * time.Hour, Callers: []sim.Callers{{Once: 500}},
			},
			goals: goals,
		})
	}
	for _, n := range []int{1, 5, 20, 50, 100} {
		for _, answers := range []time.Duration{50 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second, 5 * time.Second} {
			once(n, answers, sim.Absent)
		}
		once(n, 2*time.Second, "1")
	}
	for _, n := range []int{10, 30} {
		const length = 10 * time.Minute
		rows = append(rows, row{
			name: fmt.Sprintf("in-flight/long-tail-%d", n), seeds: 4,
			situation: sim.Situation{
				InFlight: n, RetryAfter: "1", Answers: sim.LongTail, Way: 5 * time.Millisecond,
				Length: length, Callers: []sim.Callers{{Workers: 4 * n, Timeout: 30 * time.Second}},
			},
			goals: []aim{{"share of what the limit allows", 0.95, true, func(r *sim.Record) float64 {
				return float64(r.OK()) / (float64(n) * length.Seconds() / 0.998) // the mean response time
			}}, sentAtMost(1.1)},
		})
	}
	for _, n := range []int{5, 20} {
		for _, retryAfter := range []sim.RetryAfter{sim.Absent, "1"} {
			name := fmt.Sprintf("in-flight/pool-%d", n)
			if retryAfter != sim.Absent {
				name += "-RA1"
			}
			const length = 10 * time.Minute
			rows = append(rows, row{
				name: name,
				situation: sim.Situation{
					InFlight: n, RetryAfter: retryAfter, Answers: "2s", Way: 5 * time.Millisecond,
					Length: length, Callers: []sim.Callers{{Workers: 100}},
				},
				goals: []aim{{"share of what the limit allows", 0.95, true, func(r *sim.Record) float64 {
					return float64(r.OK()) / (float64(n) * length.Seconds() / 2)
				}}, sentAtMost(1.1)},
			})
		}
	}
	return rows
}

func slowRows() []row {
	const length = 2 * time.Hour
	var rows []row
	for _, perHour := range []float64{1440, 360, 100} {
		for _, retryAfter := range []sim.RetryAfter{sim.Seconds, sim.Absent, "1"} {
			name := fmt.Sprintf("slow/%v-per-hour", perHour)
			name += map[sim.RetryAfter]string{sim.Absent: "-RA0", "1": "-RA1"}[retryAfter]
			rows = append(rows, row{
				name: name,
				situation: sim.Situation{
					Limits: limit(perHour/3600, 0), RetryAfter: retryAfter, Answers: "50ms", Length: length,
					Callers: []sim.Callers{{Workers: 3}},
				},
				goals: []aim{sentAtMost(1.3), noneFails, answeredOf(0, length, 0.8)},
			})
		}
	}
	return rows
}

// With one worker, no other request waits when one is sent.
func loneRows() []row {
	const length = 2 * time.Hour
	var rows []row
	for _, retryAfter := range []sim.RetryAfter{sim.Seconds, "30"} {
		for _, timeout := range []time.Duration{0, 10 * time.Second} {
			name := "one-worker/RA" + string(retryAfter)
			if retryAfter == sim.Seconds {
				name = "one-worker/RA1" // at 20/s
			}
			if timeout > 0 {
				name += "-deadline"
			}
			rows = append(rows, row{
				name: name,
				situation: sim.Situation{
					Limits: limit(20, 0), RetryAfter: retryAfter, Answers: "20ms", Way: 5 * time.Millisecond, Length: length,
					Callers: []sim.Callers{{Workers: 1, Timeout: timeout}},
				},
				goals: []aim{answeredOf(0, length, 0.8), sentAtMost(1.05)},
			})
		}
	}
	return rows
}

// Few callers, each of which waits for its response, may never use more than the burst and
// saved-up turns, whatever the pace.
func poolRows() []row {
	const length = 10 * time.Minute
	window := func(n float64, seconds int) sim.Server {
		return sim.Server{Algorithm: sim.FixedWindow, Limit: n * float64(seconds), Window: time.Duration(seconds) * time.Second}
	}
	var rows []row
	for _, r := range []struct {
		name                string
		workers             int
		server              sim.Server
		answers, retryAfter string
	}{
		{"4-tb50-RA5", 4, sim.Bucket(50, 0.5), "50ms", "5"},
		{"20-tb50-RA5", 20, sim.Bucket(50, 0.5), "300ms", "5"},
		{"4-fw9-RA5", 4, window(9, 1), "300ms", "5"},
		{"50-fw9-RA5", 50, window(9, 1), "300ms", "5"},
		{"20-fw50-RA1", 20, window(50, 1), "10ms", "1"},
		{"10-fw10s-RA5", 10, window(50, 10), "10ms", "5"},
	} {
		rows = append(rows, row{
			name: "pool/" + r.name, seeds: 4,
			situation: sim.Situation{
				Limits: []sim.Limit{{Server: r.server}}, RetryAfter: sim.RetryAfter(r.retryAfter), Answers: sim.Answers(r.answers), Length: length,
				Callers: []sim.Callers{{Workers: r.workers, Timeout: 30 * time.Second}},
			},
			goals: []aim{answeredOf(time.Minute, length, 0.9), sentAtMost(1.05)},
		})
	}
	return rows
}

// In a window of a second, a burst leaves little for the rest of the window.
func windowRows() []row {
	const length = 10 * time.Minute
	var rows []row
	for _, algorithm := range []sim.Algorithm{sim.FixedWindow, sim.SlidingWindow} {
		for _, n := range []float64{10, 50, 200} {
			rows = append(rows, row{
				name: fmt.Sprintf("window/%s%v", algorithm, n),
				situation: sim.Situation{
					Limits:     []sim.Limit{{Server: sim.Server{Algorithm: algorithm, Limit: n, Window: time.Second}}},
					RetryAfter: sim.Seconds, Answers: "50ms", Length: length,
					Callers: []sim.Callers{{Rate: 1.2 * n, Timeout: 5 * time.Second}},
				},
				goals: []aim{answeredOf(0, length, 0.95), sentAtMost(1.05)},
			})
		}
	}
	return rows
}

// The service throttles with 429, 503 or 403, and the client lists that code in AlsoRetry.
func codeRows() []row {
	var rows []row
	for _, code := range []int{429, 503, 403} {
		rows = append(rows, row{
			name: fmt.Sprintf("code/%d", code),
			situation: sim.Situation{
				Limits: limit(100, 1), RetryAfter: sim.Seconds, Answers: "10ms", Length: time.Hour, Refusal: code,
				Callers: []sim.Callers{{Once: 1000}},
			},
			settings: settings{also: []iamhttp.Code{iamhttp.Code(code)}},
			goals:    []aim{sentAtMost(1.2), makespanOf(9*time.Second, 1.1)},
		})
	}
	return rows
}

// Processes that know nothing of each other share a limit.
func fleetRows() []row {
	jain := func(length time.Duration, goal float64) aim {
		return aim{"Jain's index, last third", goal, true, func(r *sim.Record) float64 { return r.Jain(length*2/3, length) }}
	}
	var rows []row
	for _, depth := range []float64{0.1, 1} {
		for _, n := range []int{2, 5, 20} {
			const length = 10 * time.Minute
			s := sim.Situation{Limits: limit(100, depth), RetryAfter: sim.Seconds, Answers: "50ms", Length: length}
			for p := range n {
				s.Callers = append(s.Callers, sim.Callers{Process: p, Workers: 20})
			}
			rows = append(rows, row{
				name: fmt.Sprintf("fleet/%d-depth%v", n, depth), situation: s, seeds: 5, typical: true,
				goals: []aim{jain(length, 0.95), answeredOf(length*2/3, length, 0.85)},
			})
		}
	}
	const length = time.Hour
	s := sim.Situation{Limits: limit(1, 1), RetryAfter: sim.Seconds, Answers: "50ms", Length: length}
	for p := range 10 {
		s.Callers = append(s.Callers, sim.Callers{Process: p, Workers: 2})
	}
	return append(rows, row{
		name: "fleet/10-at-1", situation: s, seeds: 5, typical: true,
		goals: []aim{jain(length, 0.9), noneFails, answeredOf(length*2/3, length, 0.7)},
	})
}

// The gate did well in these rows when they were written, and must not become worse.
func otherRows() []row {
	return []row{
		{
			name: "patience/200-in-5m",
			situation: sim.Situation{
				Limits:     []sim.Limit{{Server: sim.Server{Algorithm: sim.FixedWindow, Limit: 200, Window: 5 * time.Minute}}},
				RetryAfter: sim.Seconds, Answers: "50ms", Length: time.Hour,
				Callers: []sim.Callers{{Once: 500, Timeout: 16 * time.Minute}},
			},
			goals: []aim{noneFails, sentAtMost(1.3), makespanOf(10*time.Minute, 1.1)},
		},
		{
			name: "accounts/1000",
			situation: sim.Situation{
				Limits: limit(5, 1), RetryAfter: sim.Seconds, Answers: "50ms", Length: 30 * time.Second,
				Callers: []sim.Callers{{Workers: 5000, Hosts: 1000}},
			},
			goals: []aim{{"share of the limit, 10s to 30s", 0.9, true, func(r *sim.Record) float64 {
				return float64(r.Answered(10*time.Second, 30*time.Second)) / (1000 * 5 * 20)
			}}, sentAtMost(1.5)},
		},
		{
			name: "accounts/one-each",
			situation: sim.Situation{
				Answers: "50ms", Length: 30 * time.Second,
				Callers: []sim.Callers{{Rate: 500, Hosts: 1000000}},
			},
			goals: []aim{p99Of("", 0.051), noneFails},
		},
		{
			name: "ban/30s",
			situation: sim.Situation{
				Limits: limit(10, 1), Ban: 30 * time.Second, RetryAfter: sim.Seconds, Answers: "10ms", Length: 3 * time.Hour,
				Callers: []sim.Callers{{Once: 1000}},
			},
			goals: []aim{noneFails, makespanOf(99*time.Second, 3.5)},
		},
		{
			name: "dip/nothing-5m",
			situation: sim.Situation{
				Limits:     limit(100, 1, sim.Change{At: time.Minute, Times: 0}, sim.Change{At: 6 * time.Minute, Times: 1}),
				RetryAfter: "1", Answers: "10ms", Length: 8 * time.Minute,
				Callers: []sim.Callers{{Workers: 50}},
			},
			goals: []aim{regained(6*time.Minute, 100, 30)},
		},
		{
			name: "canceled/half",
			situation: sim.Situation{
				Limits: limit(100, 1), RetryAfter: sim.Seconds, Answers: "10ms", Length: time.Minute,
				Callers: []sim.Callers{{Once: 5000, Canceled: 0.5}},
			},
			goals: []aim{answeredOf(0, 20*time.Second, 0.95), sentAtMost(1.1)},
		},
		{
			name: "canceled/after-1s", seeds: 8,
			situation: sim.Situation{
				Limits: limit(20, 1), RetryAfter: "1", Answers: "50ms", Length: 3 * time.Minute,
				Callers: []sim.Callers{{Workers: 60, GivesUp: time.Second}},
			},
			goals: []aim{answeredOf(0, 3*time.Minute, 0.95), sentAtMost(1.1)},
		},
	}
}
