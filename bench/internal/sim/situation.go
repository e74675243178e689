package sim

import (
	"context"
	"math/rand/v2"
	"time"
)

// A Situation describes a service, its callers, and how both change over time. A Scenario
// shows how long it takes to make a number of calls against a limit; a Situation shows
// how many calls succeed, and how fast, while limits and callers change. Answers, Callers
// and Length must be set; the zero value of any other field is the simplest case.
type Situation struct {
	Limits     []Limit       // rate limits that each host has; empty: no rate limit
	InFlight   int           // number of requests that a host can process at once; has no effect if Way is 0; 0: no such limit
	Ban        time.Duration // time during which a host refuses all requests after each refusal; 0: no ban
	Refusal    int           // status code of a refusal; 0: 429
	RetryAfter RetryAfter    // Retry-After of a refusal: Seconds, Absent, or a fixed number of seconds
	Answers    Answers       // response time
	Way        time.Duration // one-way travel time; 0: half the response time, even for a refusal
	Faults     []Fault       // the first fault that hits a request decides the response
	Callers    []Callers
	Length     time.Duration // length of the run; calls that are still in progress at its end are canceled
	Seed       uint64
}

// A Limit is a rate limit that can change.
type Limit struct {
	Server    Server     // initial limit; its Change, States and Strangers are ignored
	Method    string     // only requests with this method count; empty: all requests
	Course    []Change   // changes to the limit, in chronological order
	Strangers []Presence // other clients that use the limit
}

// A Change sets the limit to a multiple of the initial limit.
type Change struct {
	At    time.Duration
	Times float64
}

// A Presence is a period in which strangers send requests. Strangers do not retry.
type Presence struct {
	From, Until time.Duration
	Share       float64 // rate of the strangers' requests, as a multiple of the initial limit
}

// A Fault is a period in which some requests get the fault's response, or no response.
// Such requests do not count against any limit.
type Fault struct {
	From, Until time.Duration
	Share       float64       // share of all requests that the fault hits; at most the share that earlier faults leave
	Count       int           // maximum number of requests that the fault hits; 0: no maximum
	Status      int           // status of the response; 0: no response
	RetryAfter  string        // Retry-After of the response; empty: no such header
	Silence     time.Duration // time after which a request without a response fails
}

// Callers make calls of one kind. Once, Rate or Workers determines how many.
type Callers struct {
	Name    string
	Method  string // empty: GET
	Path    string // empty: /v3/users
	Process int    // number of the process, from 0; each process has its own client
	Hosts   int    // number of hosts, which the calls use in turn; 0: one

	Once    int           // number of calls that are made in a burst, beginning at From
	Apart   time.Duration // time between the calls in the burst; at least 1 ns
	Rate    float64       // average number of calls per second, at random times
	Workers int           // number of workers; each makes one call after another

	From, Until   time.Duration // when the calls are made; Until 0: until the end of the run; Once ignores Until
	Timeout, Most time.Duration // timeout of each call, random between Timeout and Most if Most is set; 0: no timeout
	GivesUp       time.Duration // time after which each call is canceled, although its context has no deadline; 0: never
	Canceled      float64       // share of the calls that are canceled within their first ten seconds
	Cost          float64       // number of requests that an accepted request counts as; 0: one
	Answers       Answers       // response time of these calls; empty: the situation's

	// Context returns the context of each call, such as one with a priority; nil: no change.
	Context func(context.Context) context.Context
}

// rest is the time that a worker waits after a failed call.
const rest = 100 * time.Millisecond

// rate returns the limit at the time now, in requests per second.
func (l Limit) rate(now time.Duration) float64 { return l.Server.Rate() * l.times(now) }

func (l Limit) times(now time.Duration) float64 {
	times := 1.0
	for _, c := range l.Course {
		if now >= c.At {
			times = c.Times
		}
	}
	return times
}

// Allows returns how many requests the limit allows between two times, not counting
// tokens that the bucket saved up before.
func (l Limit) Allows(from, until time.Duration) float64 {
	sum := 0.0
	for now := from; now < until; {
		end := until
		for _, c := range l.Course {
			if c.At > now {
				end = min(end, c.At)
			}
		}
		sum += l.rate(now) * (end - now).Seconds()
		now = end
	}
	return sum
}

// limiter returns a limiter for l, as it is at the start of a run.
func (l Limit) limiter(seed uint64) limiter {
	var changes []time.Duration
	for _, c := range l.Course {
		changes = append(changes, c.At)
	}
	all := l.Server.counter(func(now time.Duration) float64 { return l.Server.Limit * l.times(now) }, changes...)
	for i, p := range l.Strangers {
		rng := rand.New(rand.NewPCG(seed+uint64(i), strangerStream))
		rate := l.Server.Rate() * p.Share
		all = &strangers{limiter: all, rate: rate, until: p.Until, rand: rng, next: p.From + exponential(rng, rate)}
	}
	return all
}

// times yields the times at which the calls are made. It is not used for callers with
// workers.
func (c Callers) times(r *rand.Rand, end time.Duration) func(yield func(time.Duration) bool) {
	return func(yield func(time.Duration) bool) {
		if c.Once > 0 {
			for i := range c.Once {
				if !yield(c.From + time.Duration(i)*max(c.Apart, 1)) {
					return
				}
			}
			return
		}
		for at := c.From + exponential(r, c.Rate); at < c.end(end); at += exponential(r, c.Rate) {
			if !yield(at) {
				return
			}
		}
	}
}

func (c Callers) end(end time.Duration) time.Duration {
	if c.Until != 0 {
		return min(c.Until, end)
	}
	return end
}
