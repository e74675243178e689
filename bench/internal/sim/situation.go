package sim

import (
	"context"
	"math/rand/v2"
	"time"
)

// A Situation is a service, its callers, and what happens to them in the course
// of time. A Scenario of the matrix measures how long a number of calls takes
// against a limit; a Situation measures what callers get while the world
// changes. The zero value of each field is the plain case.
type Situation struct {
	Limits     []Limit       // of the service, for each host; none: it accepts all
	InFlight   int           // requests that a host works on at once, and it refuses more; 0: any number
	Ban        time.Duration // for which a host refuses all requests after each that it refused; 0: none
	Refusal    int           // status code of a refusal; 0: 429
	RetryAfter RetryAfter    // of a refusal: Seconds, Absent, or a number of seconds whatever the truth
	Answers    Answers       // from a request's leaving to its answer
	Way        time.Duration // of a request to the service, and of the answer back; 0: half the time of the answer, also if it is a refusal
	Faults     []Fault       // the first that a request meets is the one that it gets
	Callers    []Callers
	Length     time.Duration // calls that have not ended by then are cut
	Seed       uint64
}

// A Limit is a rate limit that can change.
type Limit struct {
	Server    Server     // as it is at the start; its Change, States and Strangers do not count
	Method    string     // of the requests that it counts; empty: all
	Course    []Change   // in the order of time
	Strangers []Presence // who ask for a part of the limit
}

// A Change multiplies the limit of the start.
type Change struct {
	At    time.Duration
	Times float64
}

// A Presence is a time in which strangers send requests, which they do not retry.
type Presence struct {
	From, Until time.Duration
	Share       float64 // of the limit of the start
}

// A Fault is a stretch of time in which something else answers than the limit.
type Fault struct {
	From, Until time.Duration
	Share       float64       // of the requests
	Count       int           // of requests at most, the first that come; 0: any number
	Status      int           // of the answer; 0: there is none
	RetryAfter  string        // of the answer; empty: none
	Silence     time.Duration // after which a request without an answer fails
}

// Callers are calls of one kind. One of Once, Rate and Workers says how many.
type Callers struct {
	Name    string
	Method  string // empty: GET
	Process int    // the processes are numbered from 0, and each has a client of its own
	Hosts   int    // that the calls go to in turn; 0: one

	Once    int           // calls that come at From, Apart from each other
	Apart   time.Duration //
	Rate    float64       // calls per second, at random times
	Workers int           // who make a call as soon as the one before has ended

	From, Until   time.Duration // Until 0: to the end
	Timeout, Most time.Duration // of each call, between the two by chance if Most is set; 0: none
	Canceled      float64       // share of the calls that are canceled, within their first ten seconds
	Context       func(context.Context) context.Context
}

// rest is the time that a worker takes after a call that failed.
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

// Allows returns how many requests the limit lets through between two times, but
// for what it has saved up.
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

// limiter returns the limit at the start of a run.
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

// times yields when the calls of one kind are made, but those of workers.
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
