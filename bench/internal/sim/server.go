package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"
)

// An Algorithm is a way to count requests against a limit.
type Algorithm string

// The algorithms.
const (
	TokenBucket   Algorithm = "tb" // token bucket: refills steadily; holds the tokens that it gains in Depth, but at least one
	FixedWindow   Algorithm = "fw" // fixed window: counts from zero in each window
	SlidingWindow Algorithm = "sw" // sliding window: counts two periods, with less weight on the older one; also counts throttled requests
)

// A Server describes a server's rate limit.
type Server struct {
	Algorithm Algorithm
	Limit     float64       // requests per Window
	Window    time.Duration // length of the window; one second for a token bucket
	Depth     time.Duration // size of a token bucket: the time that an empty one takes to fill up
	Change    float64       // factor by which the limit is multiplied halfway through the run; 0: no change
	States    string        // X-Ratelimit-Limit header of each 429; empty: no such header
	Strangers float64       // rate of other clients' requests, as a share of the limit; the server treats them like ours
}

// String returns the server's name. For example, tb100/0.1 is a token bucket of 100
// requests per second that holds the tokens of 0.1 s, and fw60/1m0s is a fixed window of
// 60 requests per minute.
func (s Server) String() string {
	var b strings.Builder
	if s.Algorithm == TokenBucket {
		fmt.Fprintf(&b, "tb%.4g/%.4g", s.Rate(), s.Depth.Seconds())
	} else {
		fmt.Fprintf(&b, "%s%.4g/%v", s.Algorithm, s.Limit, s.Window)
	}
	if s.Change != 0 {
		fmt.Fprintf(&b, "×%.4g", s.Change)
	}
	if s.Strangers != 0 {
		fmt.Fprintf(&b, "+%.0f%%", 100*s.Strangers)
	}
	if s.States != "" {
		fmt.Fprintf(&b, " stating %s", s.States)
	}
	return b.String()
}

// Rate is the initial limit, in requests per second.
func (s Server) Rate() float64 { return s.Limit / s.Window.Seconds() }

// Free is the part of the rate that strangers do not use.
func (s Server) Free() float64 { return s.Rate() * (1 - s.Strangers) }

// Tokens is the number of requests that the server can accept at once, at its initial limit.
func (s Server) Tokens() float64 {
	if s.Algorithm == TokenBucket {
		return max(1, s.Rate()*s.Depth.Seconds())
	}
	return s.Limit
}

// A limiter accepts or refuses requests. Times are counted from the start of the run, and
// must not decrease from call to call.
type limiter interface {
	// take accepts or refuses a request.
	take(now time.Duration) bool
	// charge counts a request that was just accepted as n more requests.
	charge(n float64)
	// wait returns the time until take accepts a request, if no other request arrives
	// first, and the limit does not change.
	wait(now time.Duration) time.Duration
}

// limiter returns a limiter for the server, as it is at the start of a run. If the server
// has a Change, the limit changes at changeAt.
func (s Server) limiter(changeAt time.Duration, seed uint64) limiter {
	limit := func(now time.Duration) float64 {
		if s.Change != 0 && now >= changeAt {
			return s.Limit * s.Change
		}
		return s.Limit
	}
	l := s.counter(limit, changeAt)
	if s.Strangers != 0 {
		st := &strangers{limiter: l, rate: s.Rate() * s.Strangers, until: math.MaxInt64, rand: rand.New(rand.NewPCG(seed, strangerStream))}
		st.next = exponential(st.rand, st.rate)
		l = st
	}
	return l
}

// counter returns a limiter that uses the server's algorithm. The limit may change only
// at the times in changes, which are in ascending order.
func (s Server) counter(limit func(now time.Duration) float64, changes ...time.Duration) limiter {
	switch s.Algorithm {
	case TokenBucket:
		return &tokenBucket{rate: func(now time.Duration) float64 { return limit(now) / s.Window.Seconds() },
			depth: s.Depth.Seconds(), changes: changes, tokens: s.Tokens()}
	case FixedWindow:
		return &fixedWindow{limit: limit, window: s.Window}
	case SlidingWindow:
		return &slidingWindow{limit: limit, period: s.Window}
	}
	panic("sim: unknown algorithm " + s.Algorithm)
}

type tokenBucket struct {
	rate    func(time.Duration) float64
	depth   float64         // seconds
	changes []time.Duration // future times at which the rate changes
	tokens  float64
	last    time.Duration
}

// enough is one token, minus an allowance for rounding errors.
const enough = 1 - 1e-6

func (b *tokenBucket) refill(now time.Duration) {
	for len(b.changes) > 0 && b.changes[0] < now {
		b.add(b.changes[0])
		b.changes = b.changes[1:]
	}
	b.add(now)
}

func (b *tokenBucket) add(now time.Duration) {
	rate := b.rate(b.last)
	b.tokens += rate * (now - b.last).Seconds()
	b.last = now
	b.tokens = min(b.tokens, max(1, b.rate(now)*b.depth))
}

func (b *tokenBucket) take(now time.Duration) bool {
	b.refill(now)
	if b.tokens < enough {
		return false
	}
	b.tokens--
	return true
}

func (b *tokenBucket) charge(n float64) { b.tokens -= n }

func (b *tokenBucket) wait(now time.Duration) time.Duration {
	b.refill(now)
	return atLeast(0, (1-b.tokens)/b.rate(now))
}

type fixedWindow struct {
	limit  func(time.Duration) float64
	window time.Duration
	number time.Duration // number of the current window
	used   float64
}

func (w *fixedWindow) turn(now time.Duration) {
	if n := now / w.window; n != w.number {
		w.number, w.used = n, 0
	}
}

func (w *fixedWindow) take(now time.Duration) bool {
	w.turn(now)
	if w.used+1 > w.limit(now) {
		return false
	}
	w.used++
	return true
}

func (w *fixedWindow) charge(n float64) { w.used += n }

func (w *fixedWindow) wait(now time.Duration) time.Duration {
	w.turn(now)
	if w.used+1 <= w.limit(now) {
		return 0
	}
	return (w.number+1)*w.window - now
}

type slidingWindow struct {
	limit     func(time.Duration) float64
	period    time.Duration
	tick      time.Duration // start of the current period
	past, cur float64
}

func (w *slidingWindow) turn(now time.Duration) {
	switch elapsed := now - w.tick; {
	case elapsed >= 2*w.period:
		w.past, w.cur = 0, 0
		w.tick = now / w.period * w.period
	case elapsed >= w.period:
		w.past, w.cur = w.cur, 0
		w.tick += w.period
	}
}

// load estimates the number of requests in the period that ends at the time now, rounded down.
func (w *slidingWindow) load(now time.Duration) float64 {
	remain := w.tick + w.period - now
	return math.Floor(w.past*remain.Seconds()/w.period.Seconds() + w.cur)
}

func (w *slidingWindow) take(now time.Duration) bool {
	w.turn(now)
	w.cur++
	return w.load(now) <= w.limit(now)
}

func (w *slidingWindow) charge(n float64) { w.cur += n }

func (w *slidingWindow) wait(now time.Duration) time.Duration {
	w.turn(now)
	// The request itself counts, and load rounds down, so the sum only has to be below
	// limit+1.
	room := w.limit(now) - w.cur
	if room > 0 && w.past < room {
		return 0
	}
	end := w.tick + w.period
	past := w.past
	if room <= 0 { // there is no room in this period; in the next period, cur becomes past
		room, past = w.limit(now), w.cur
		end += w.period
	}
	return max(0, end-now-atLeast(0, room/past*w.period.Seconds())+time.Microsecond)
}

// strangers are other clients that use the limit. They send requests at random times and
// do not retry.
type strangers struct {
	limiter
	rate  float64
	until time.Duration
	rand  *rand.Rand
	next  time.Duration
}

func (s *strangers) pass(now time.Duration) {
	for s.next <= min(now, s.until) {
		s.limiter.take(s.next)
		s.next += exponential(s.rand, s.rate)
	}
}

func (s *strangers) take(now time.Duration) bool {
	s.pass(now)
	return s.limiter.take(now)
}

func (s *strangers) wait(now time.Duration) time.Duration {
	s.pass(now)
	return s.limiter.wait(now)
}

// exponential draws the time until the next random event, if such events happen at the
// given rate per second on average.
func exponential(r *rand.Rand, rate float64) time.Duration {
	return atLeast(time.Nanosecond, r.ExpFloat64()/rate)
}

// atLeast converts seconds to a Duration, rounding up to nanoseconds. The result is
// not less than least, and at most about 30 years, which stands for never.
func atLeast(least time.Duration, seconds float64) time.Duration {
	return max(least, time.Duration(math.Ceil(min(seconds, 1e9)*1e9)))
}
