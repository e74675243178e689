package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// A Scenario describes everything in a run except the client. All runs of a scenario have
// the same calls at the same times, and the n-th attempt of a call always has the same
// response time. Random numbers that the client draws may differ from run to run.
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

// RetryAfter is the kind of Retry-After that the server sends with a 429.
type RetryAfter string

// The kinds of Retry-After.
const (
	Seconds RetryAfter = "seconds" // seconds until a request could be accepted, rounded up, at least 1
	Date    RetryAfter = "date"    // an HTTP date: the current time plus Seconds, rounded up to a whole second
	Absent  RetryAfter = "absent"  // no Retry-After
	Sixty   RetryAfter = "60"      // always 60 seconds, even if that is wrong
)

// Arrivals describes when the calls are made. Load is a multiple of the limit or, if
// strangers use a share of the limit, a multiple of the remaining share.
type Arrivals struct {
	Calls int
	Load  float64 // average rate of calls that are made at random times; 0: all calls are made at once
	OnOff bool    // five seconds of calls at this Load alternate with five seconds without calls
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

// Answers is the distribution of the response times. In a Scenario, the server accepts or
// refuses a request when half of the response time has passed, and a 429 takes as long as
// a 200. In a Situation, both depend on Way.
type Answers string

// The distributions in the matrix, and LongTail. All except LogNormal and LongTail are
// constant response times, as is any other string that time.ParseDuration accepts.
const (
	Fast      Answers = "10ms"
	Slow      Answers = "1s"
	LogNormal Answers = "lognormal" // 95% of the responses take 20 to 200 ms
	LongTail  Answers = "long-tail" // as LogNormal, but 50 ms to 5 s
)

func (a Answers) draw(r *rand.Rand) time.Duration {
	switch a {
	case LogNormal:
		return logNormal(r, 0.020, 0.200)
	case LongTail:
		return logNormal(r, 0.050, 5)
	}
	d, err := time.ParseDuration(string(a))
	if err != nil {
		panic("sim: Answers is not a valid response time: " + a)
	}
	return d
}

// logNormal draws a response time. 95% of the response times are between low and high, in
// seconds.
func logNormal(r *rand.Rand, low, high float64) time.Duration {
	const z = 1.959964
	mu, sigma := (math.Log(low)+math.Log(high))/2, (math.Log(high)-math.Log(low))/2/z
	return atLeast(0, math.Exp(mu+sigma*r.NormFloat64()))
}

// Each seed has several streams of random numbers. A call's stream has the same number as
// the call; these constants are the numbers of other streams.
const (
	arrivalStream uint64 = 1<<63 + iota
	strangerStream
	startStream
)

// arrivals returns the times at which the calls are made, in ascending order. Calls that
// are made at once are a nanosecond apart, so that they start in the order of their
// numbers, whatever the scheduler does.
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
			times[i] += at / onOff * onOff // at does not include the stretches without calls; add them
		}
	}
	return times
}

// halfWay returns the time at which about half of the calls would have succeeded if the
// limit did not change.
func (s Scenario) halfWay(arrivals []time.Duration) time.Duration {
	served := atLeast(0, float64(len(arrivals))/s.Server.Free())
	return max(served, arrivals[len(arrivals)-1]) / 2
}

// stream returns the source of random numbers for one call. The response times of the
// call's attempts are drawn from it.
func (s Scenario) stream(call int) *rand.Rand {
	return rand.New(rand.NewPCG(s.Seed, uint64(call)))
}

// ideal returns the time at which each call would end if the server queued requests in
// order of arrival instead of throttling them. If response times are constant, no client
// can finish all calls earlier; to do equally well, a client would have to know the limit
// and the strangers' requests in advance.
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
				wait = changeAt - now // l.wait assumes that the limit does not change
			}
			now += wait
		}
		if !l.take(now) {
			panic(fmt.Sprintf("sim: %v refuses a request at %v although the wait is zero", s.Server, now))
		}
		ends[r.call] = now + r.goesOut
	}
	return ends
}

// trip draws a response time, and splits it into the time to the server and the time
// back. It adds the call's number, in nanoseconds, to both times, so that the order of the
// requests does not depend on the scheduler.
func (s Scenario) trip(r *rand.Rand, call int) (there, back time.Duration) {
	answer := s.Answers.draw(r)
	there = answer / 2
	return there + time.Duration(call), answer - there + time.Duration(call)
}
