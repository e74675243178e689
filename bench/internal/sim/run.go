// Package sim runs HTTP clients against a server with a rate limit, in virtual time. The
// clients are real; the network and the server are simulated. Hours of virtual time can
// take a fraction of a second, and all runs of a scenario have the same calls.
package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A Client makes an HTTP client that sends its requests through base. The returned
// function is like http.Client.Do: it makes one call, retries included. A call succeeds
// if the error is nil and the status is 200.
type Client func(base http.RoundTripper) func(*http.Request) (*http.Response, error)

// A Result holds the measurements of one run.
type Result struct {
	Scenario Scenario

	Sent        int // requests that were sent
	Refused     int // requests that were throttled
	OK, Failed  int // calls that succeeded, and calls that failed
	Forbidden   int // requests sent while a Retry-After that had already arrived was in force
	MaxInFlight int // largest number of requests in flight

	FlyingAtFirst int // requests in flight when the first 429 arrived, including the throttled one
	// FirstPause is the time from the first 429 until the server would accept a request,
	// rounded up to whole seconds, plus one second if RetryAfter is Date. It is at least a
	// second, or 0 if nothing was throttled.
	FirstPause time.Duration

	Errors map[string]int // number of failed calls, keyed by error text

	Makespan, IdealMakespan time.Duration // from the start of the run to the last success

	// Latency holds the durations of the calls that succeeded, in ascending order. Wait
	// holds these durations without the response time of the last attempt, also in
	// ascending order. IdealLatency and IdealWait hold the corresponding times of all calls
	// with the ideal server: see ideal.
	Latency, IdealLatency []time.Duration
	Wait, IdealWait       []time.Duration

	ChangeAt  time.Duration // when the limit changes, if the server has a Change
	Decisions []Decision    // the server's decisions; nil if the run is not traced
}

// A Decision records whether the server accepted a request. At is measured from the start
// of the run.
type Decision struct {
	At       time.Duration
	Accepted bool
}

// SentPerOK is the number of requests per success. It is not finite if no call succeeded.
func (r Result) SentPerOK() float64 { return float64(r.Sent) / float64(r.OK) }

// MakespanRatio is Makespan divided by IdealMakespan.
func (r Result) MakespanRatio() float64 { return float64(r.Makespan) / float64(r.IdealMakespan) }

// Quantile returns the q-quantile of times, which must be in ascending order. It returns
// 0 if times is empty.
func Quantile(times []time.Duration, q float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	return times[int(q*float64(len(times)-1)+0.5)]
}

// deadline is every call's deadline, counted from the start of the run. It is late enough
// for the server to accept all calls.
const deadline = 48 * time.Hour

// Run makes a scenario's calls through a client. Outside of tests, t can be
// new(testing.T), which is enough for synctest.Test. If trace is true, the result
// contains the server's decisions.
func (s Scenario) Run(t *testing.T, client Client, trace bool) Result {
	var r Result
	synctest.Test(t, func(*testing.T) { r = s.run(client, trace) })
	return r
}

func (s Scenario) run(client Client, trace bool) Result {
	arrivals := s.arrivals()
	r := Result{Scenario: s, Errors: map[string]int{}, ChangeAt: s.halfWay(arrivals)}

	// Start at a random fraction of a second. HTTP dates are in whole seconds, so they
	// would be unrealistically exact in a run that starts at a whole second.
	time.Sleep(time.Duration(rand.New(rand.NewPCG(s.Seed, startStream)).Int64N(int64(time.Second))))
	start := time.Now()
	x := &exchange{
		scenario: s,
		start:    start,
		trace:    trace,
		limiter:  s.Server.limiter(r.ChangeAt, s.Seed),
		result:   &r,
	}
	do := client(x)
	ctx, cancel := context.WithDeadline(context.Background(), start.Add(deadline))
	defer cancel()

	var wg sync.WaitGroup
	for i, at := range arrivals {
		time.Sleep(time.Until(start.Add(at)))
		wg.Go(func() {
			c := &call{number: i, rand: s.stream(i)}
			err := c.make(ctx, do)
			x.ended(c, time.Since(start), at, err)
		})
	}
	wg.Wait()

	for i, end := range s.ideal() {
		there, back := s.trip(s.stream(i), i)
		r.IdealMakespan = max(r.IdealMakespan, end)
		r.IdealLatency = append(r.IdealLatency, end-arrivals[i])
		r.IdealWait = append(r.IdealWait, end-arrivals[i]-there-back)
	}
	for _, times := range [][]time.Duration{r.Latency, r.IdealLatency, r.Wait, r.IdealWait} {
		slices.Sort(times)
	}
	return r
}

// make makes the call, and returns an error if the call does not succeed.
func (c *call) make(ctx context.Context, do func(*http.Request) (*http.Response, error)) error {
	req, err := http.NewRequestWithContext(context.WithValue(ctx, callKey{}, c), http.MethodGet, "http://iam.test/v3/users", nil)
	if err != nil {
		return err
	}
	resp, err := do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return statusError(resp.Status)
	}
	return nil
}

type statusError string

func (e statusError) Error() string { return string(e) }

// ended records a call's outcome.
func (x *exchange) ended(c *call, now, arrival time.Duration, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	r := x.result
	if err != nil {
		r.Failed++
		r.Errors[err.Error()]++
		return
	}
	r.OK++
	r.Makespan = max(r.Makespan, now)
	r.Latency = append(r.Latency, now-arrival)
	r.Wait = append(r.Wait, now-arrival-c.answer)
}

// String formats the result as one line.
func (r Result) String() string {
	s := fmt.Sprintf("sent %d, refused %d, forbidden %d, in flight %d, ok %d, makespan %.4gs of ideal %.4gs, wait p50 %.3gs (%.3gs) p99 %.3gs (%.3gs)",
		r.Sent, r.Refused, r.Forbidden, r.MaxInFlight, r.OK, r.Makespan.Seconds(), r.IdealMakespan.Seconds(),
		Quantile(r.Wait, 0.5).Seconds(), Quantile(r.IdealWait, 0.5).Seconds(), Quantile(r.Wait, 0.99).Seconds(), Quantile(r.IdealWait, 0.99).Seconds())
	for err, n := range r.Errors {
		return s + fmt.Sprintf(", %d failed, for example %d × %s", r.Failed, n, err)
	}
	return s
}
