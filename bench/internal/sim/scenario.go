package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// A Scenario is everything but the client. The same scenario means the same
// calls at the same times, with the same answer times in the same order; what
// a client draws at random itself is its own.
type Scenario struct {
	Server     Server
	RetryAfter RetryAfter
	Arrivals   Arrivals
	Answers    Answers
	Seed       uint64
}

func (s Scenario) String() string {
	return fmt.Sprintf("%v %v %v %v", s.Server, s.RetryAfter, s.Arrivals, s.Answers)
}

// RetryAfter is the value that the server sends with a 429.
type RetryAfter string

// The values of the header, and none.
const (
	Seconds RetryAfter = "seconds" // until a request could be accepted, rounded up, at least 1
	Date    RetryAfter = "date"    // the same as an HTTP date, rounded up again
	Absent  RetryAfter = "absent"
	Sixty   RetryAfter = "60" // whether or not it is true
)

// Arrivals says when the calls are made. Loads are multiples of the limit, or of the
// part that strangers leave.
type Arrivals struct {
	Calls int
	Load  float64 // of a Poisson process; 0: all calls come in one instant
	OnOff bool    // Load holds in every other five seconds only
}

func (a Arrivals) String() string {
	switch {
	case a.Load == 0:
		return fmt.Sprintf("%d@once", a.Calls)
	case a.OnOff:
		return fmt.Sprintf("%d@onoff%.4g", a.Calls, a.Load)
	}
	return fmt.Sprintf("%d@%.4g", a.Calls, a.Load)
}

const onOff = 5 * time.Second

// Answers is the time between a request and its response. The server decides half
// way, and a 429 takes as long as a 200.
type Answers string

// The distributions of the matrix; any time.Duration is one.
const (
	Fast      Answers = "10ms"
	Slow      Answers = "1s"
	LogNormal Answers = "lognormal" // 95 % in 20 to 200 ms
)

func (a Answers) draw(r *rand.Rand) time.Duration {
	if a == LogNormal {
		const low, high, z = 0.020, 0.200, 1.959964
		mu, sigma := (math.Log(low)+math.Log(high))/2, (math.Log(high)-math.Log(low))/2/z
		return atLeast(0, math.Exp(mu+sigma*r.NormFloat64()))
	}
	d, err := time.ParseDuration(string(a))
	if err != nil {
		panic("sim: unknown answers " + a)
	}
	return d
}

// Streams of random numbers that a seed gives; calls use their own number.
const (
	arrivalStream uint64 = 1<<63 + iota
	strangerStream
	startStream
)

// arrivals returns the time of each call, ascending and all different: those
// of one instant are nanoseconds apart, so that the order of the calls is that
// of their numbers and not that of the scheduler.
func (s Scenario) arrivals() []time.Duration {
	r := rand.New(rand.NewPCG(s.Seed, arrivalStream))
	times := make([]time.Duration, s.Arrivals.Calls)
	var at time.Duration
	for i := range times {
		if s.Arrivals.Load != 0 {
			at += exponential(r, s.Arrivals.Load*s.Server.Free())
		}
		times[i] = at + time.Duration(i)
		if s.Arrivals.OnOff {
			times[i] += at / onOff * onOff // at counts the time that is on
		}
	}
	return times
}

// halfWay is when half of the calls would be served, had the server the limit
// of the start for all of the run.
func (s Scenario) halfWay(arrivals []time.Duration) time.Duration {
	served := atLeast(0, float64(len(arrivals))/s.Server.Free())
	return max(served, arrivals[len(arrivals)-1]) / 2
}

// stream is the random numbers of one call: the answer time of its first send,
// of its second, and so on.
func (s Scenario) stream(call int) *rand.Rand {
	return rand.New(rand.NewPCG(s.Seed, uint64(call)))
}

// ideal returns when each call would end if the server, instead of refusing
// requests, kept them in the order of their arrival until it may accept them.
// No client can do better, and hardly one as well: it would have to know the
// limit, and what others will ask for.
func (s Scenario) ideal() []time.Duration {
	arrivals := s.arrivals()
	type request struct {
		call        int
		at, goesOut time.Duration
	}
	requests := make([]request, len(arrivals))
	for i, at := range arrivals {
		there, back := s.trip(s.stream(i), i)
		requests[i] = request{i, at + there, back}
	}
	slices.SortFunc(requests, func(a, b request) int { return int(a.at - b.at) })

	changeAt := s.halfWay(arrivals)
	l := s.Server.limiter(changeAt, s.Seed)
	ends := make([]time.Duration, len(arrivals))
	var now time.Duration
	for _, r := range requests {
		now = max(now, r.at)
		for wait := l.wait(now); wait > 0; wait = l.wait(now) {
			if now < changeAt && changeAt < now+wait {
				wait = changeAt - now // which l does not foresee
			}
			now += wait
		}
		if !l.take(now) {
			panic(fmt.Sprintf("sim: %v refuses at %v what needs no wait", s.Server, now))
		}
		ends[r.call] = now + r.goesOut
	}
	return ends
}

// trip draws an answer time and splits it into the way to the server and back.
// Both carry the number of the call in nanoseconds, for the same reason as
// arrivals do.
func (s Scenario) trip(r *rand.Rand, call int) (there, back time.Duration) {
	answer := s.Answers.draw(r)
	there = answer / 2
	return there + time.Duration(call), answer - there + time.Duration(call)
}
