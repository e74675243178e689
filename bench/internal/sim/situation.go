package sim

import (
	"context"
	"math/rand/v2"
	"time"
)

// A Situation is a service, its callers, and changes of both over time. A Scenario
// measures how long a number of calls takes against a limit; a Situation measures how
// many calls succeed, and how fast, while limits and callers change. The zero value of
// each field is the simple case.
type Situation struct {
	Limits     []Limit       // of each host; none: the service accepts all requests
	InFlight   int           // a host refuses requests while it works on this many; 0: no limit
	Ban        time.Duration // a host refuses all requests for this long after each refusal; 0: none
	Refusal    int           // status code of a refusal; 0: 429
	RetryAfter RetryAfter    // of a refusal: Seconds, Absent, or a fixed number of seconds
	Answers    Answers       // response time
	Way        time.Duration // time from client to service, and of the way back; 0: half the response time, for a refusal too
	Faults     []Fault       // the first fault that applies decides
	Callers    []Callers
	Length     time.Duration // calls that have not ended by then are canceled
	Seed       uint64
}

// A Limit is a rate limit that can change.
type Limit struct {
	Server    Server     // limit at the start; its Change, States and Strangers are ignored
	Method    string     // only requests with this method count; empty: all requests
	Course    []Change   // ascending in time
	Strangers []Presence // other clients that use the limit
}

// A Change sets the limit to a multiple of the limit at the start.
type Change struct {
	At    time.Duration
	Times float64
}

// A Presence is a time in which strangers send requests, which they do not retry.
type Presence struct {
	From, Until time.Duration
	Share       float64 // share of the limit at the start
}

// A Fault is a stretch of time in which requests do not reach the limit, but get a
// response of the fault, or none.
type Fault struct {
	From, Until time.Duration
	Share       float64       // share of the requests that meet the fault
	Count       int           // maximum number of requests that meet the fault; 0: no maximum
	Status      int           // status of the response; 0: no response
	RetryAfter  string        // of the response; empty: none
	Silence     time.Duration // time after which a request without a response fails
}

// Callers make calls of one kind. Once, Rate or Workers determines how many.
type Callers struct {
	Name    string
	Method  string // empty: GET
	Process int    // number of the process, from 0; each process has its own client
	Hosts   int    // number of hosts that the calls go to in turn; 0: one

	Once    int           // number of calls that come from From on
	Apart   time.Duration // time between the calls of Once
	Rate    float64       // calls per second, at random times
	Workers int           // each worker makes one call after the other

	From, Until   time.Duration // Until 0: to the end
	Timeout, Most time.Duration // timeout of each call, random between the two if Most is set; 0: none
	Canceled      float64       // share of the calls that are canceled within their first ten seconds
	Cost          float64       // number of requests that an accepted request counts as; 0: one
	Context       func(context.Context) context.Context
}

// rest is the time that a worker waits after a call that failed.
const rest = 100 * time.Millisecond

// rate returns the limit at a time, in requests per second.
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

// Allows returns how many requests the limit allows between two times, not counting the
// tokens that it has saved up.
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

// limiter returns the state of the limit at the start of a run.
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

// times yields the times of the calls, except those of workers.
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
