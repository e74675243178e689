package sim

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Once a run has sent maxSends requests per call on average, all further requests in that
// run fail. Without this limit, some clients would never stop.
const maxSends = 1500

var (
	errCutOff = errors.New("sim: the client has sent too many requests")
	errLost   = errors.New("sim: the client sent a request without the context of its call")
)

// A call is one call by the client under test, retries included.
type call struct {
	number int
	rand   *rand.Rand
	answer time.Duration // response time of the latest attempt
}

type callKey struct{}

// An exchange simulates the network and the server. It is the base http.RoundTripper of
// the client under test.
type exchange struct {
	scenario Scenario
	start    time.Time
	trace    bool

	mu       sync.Mutex
	limiter  limiter
	inFlight int
	result   *Result

	ban prohibition
}

func (x *exchange) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return nil, errLost
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	there, back := x.scenario.trip(c.rand, c.number)
	c.answer = there + back
	if !x.leave() {
		return nil, errCutOff
	}
	defer x.settle()
	if err := sleep(ctx, there); err != nil {
		return nil, err
	}
	accepted, header, until := x.decide()
	if err := sleep(ctx, back); err != nil {
		return nil, err
	}
	resp := &http.Response{
		StatusCode: http.StatusOK,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:  header,
		Body:    http.NoBody,
		Request: req,
	}
	if !accepted {
		resp.StatusCode = http.StatusTooManyRequests
		x.forbid(until)
	}
	return resp, nil
}

// leave counts a request that is about to be sent. It returns false if the client has
// already sent too many requests.
func (x *exchange) leave() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	r := x.result
	if r.Sent >= maxSends*x.scenario.Arrivals.Calls {
		return false
	}
	r.Sent++
	x.inFlight++
	r.MaxInFlight = max(r.MaxInFlight, x.inFlight)
	if x.ban.covers(time.Now()) {
		r.Forbidden++
	}
	return true
}

func (x *exchange) settle() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.inFlight--
}

// decide simulates the server: it accepts or throttles a request. If the request is
// throttled, until returns the time at which the 429's Retry-After ends, which may depend
// on when the 429 arrives.
func (x *exchange) decide() (accepted bool, _ http.Header, until func(arrival time.Time) time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := time.Now()
	since := now.Sub(x.start)
	header := http.Header{"Date": {httpDate(now)}}
	accepted = x.limiter.take(since)
	if x.trace {
		x.result.Decisions = append(x.result.Decisions, Decision{since, accepted})
	}
	if accepted {
		return true, header, nil
	}
	x.result.Refused++
	if states := x.scenario.Server.States; states != "" {
		header.Set("X-Ratelimit-Limit", states)
	}
	seconds := max(1, math.Ceil(x.limiter.wait(since).Seconds()))
	if x.result.Refused == 1 {
		x.result.FirstPause = time.Duration(seconds) * time.Second
		if x.scenario.RetryAfter == Date {
			x.result.FirstPause += time.Second
		}
	}
	switch x.scenario.RetryAfter {
	case Absent:
		return false, header, func(at time.Time) time.Time { return at }
	case Date:
		date := now.Add(time.Duration(seconds) * time.Second)
		if rounded := date.Truncate(time.Second); rounded.Before(date) {
			date = rounded.Add(time.Second)
		}
		header.Set("Retry-After", httpDate(date))
		return false, header, func(time.Time) time.Time { return date }
	case Sixty:
		seconds = 60
	}
	header.Set("Retry-After", strconv.Itoa(int(seconds)))
	return false, header, func(at time.Time) time.Time { return at.Add(time.Duration(seconds) * time.Second) }
}

// forbid records a 429 that arrives now. until is the function that decide returned for
// this 429.
func (x *exchange) forbid(until func(time.Time) time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ban.latest.IsZero() {
		x.result.FlyingAtFirst = x.inFlight
	}
	now := time.Now()
	x.ban.extend(now, until(now))
}

func httpDate(t time.Time) string { return t.UTC().Format(http.TimeFormat) }

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
