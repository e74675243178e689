// Package sim runs HTTP clients against a server with a rate limit, in virtual time. The
// clients are real; network and server are simulated. A run of hours takes a fraction of
// a second, and a scenario is the same in each run.
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

// A Client makes an HTTP client that sends requests through base. The function that it
// returns makes one call, retries included, like http.Client.Do. The call succeeds if
// the error is nil and the status 200.
type Client func(base http.RoundTripper) func(*http.Request) (*http.Response, error)

// A Result holds the measurements of one run.
type Result struct {
	Scenario Scenario

	Sent        int // requests
	Refused     int // requests that were throttled
	OK, Failed  int // calls
	Forbidden   int // requests sent while a Retry-After, already received, was in force
	MaxInFlight int

	FlyingAtFirst int           // requests in flight when the first 429 arrived
	FirstPause    time.Duration // how long that 429 makes a client wait, rounded up

	Errors map[string]int // number of failed calls by error

	Makespan, IdealMakespan time.Duration // first call to last success

	// Latency has the durations of the calls that succeeded, ascending. Wait has them
	// without the response time of the last attempt. IdealLatency and IdealWait are the
	// ideal's, for all calls.
	Latency, IdealLatency []time.Duration
	Wait, IdealWait       []time.Duration

	ChangeAt  time.Duration // time of the change, if the limit changes
	Decisions []Decision    // of the server; only if the run is traced
}

// A Decision is a decision of the server. At counts from the start of the run.
type Decision struct {
	At       time.Duration
	Accepted bool
}

// SentPerOK is the number of requests per success.
func (r Result) SentPerOK() float64 { return float64(r.Sent) / float64(r.OK) }

// MakespanRatio is the makespan divided by the ideal one.
func (r Result) MakespanRatio() float64 { return float64(r.Makespan) / float64(r.IdealMakespan) }

// Quantile returns a quantile of ascending times, or 0 if there are none.
func Quantile(times []time.Duration, q float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	return times[int(q*float64(len(times)-1)+0.5)]
}

// deadline is the deadline of all calls. It leaves time for every call that the server
// would accept.
const deadline = 48 * time.Hour

// Run makes the calls of a scenario through a client. Outside of tests, t may be a
// new(testing.T), which is enough for the bubble of virtual time. With trace the result
// has the server's decisions.
func (s Scenario) Run(t *testing.T, client Client, trace bool) Result {
	var r Result
	synctest.Test(t, func(*testing.T) { r = s.run(client, trace) })
	return r
}

func (s Scenario) run(client Client, trace bool) Result {
	arrivals := s.arrivals()
	r := Result{Scenario: s, Errors: map[string]int{}, ChangeAt: s.halfWay(arrivals)}

	// Start at a fraction of a second. Otherwise an HTTP date, which has full seconds,
	// would be too exact.
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

// make makes the call.
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

// ended counts a call that has ended.
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

// String formats the figures in one line.
func (r Result) String() string {
	s := fmt.Sprintf("sent %d, refused %d, forbidden %d, in flight %d, ok %d, makespan %.4gs of ideal %.4gs, wait p50 %.3gs (%.3gs) p99 %.3gs (%.3gs)",
		r.Sent, r.Refused, r.Forbidden, r.MaxInFlight, r.OK, r.Makespan.Seconds(), r.IdealMakespan.Seconds(),
		Quantile(r.Wait, 0.5).Seconds(), Quantile(r.IdealWait, 0.5).Seconds(), Quantile(r.Wait, 0.99).Seconds(), Quantile(r.IdealWait, 0.99).Seconds())
	for err, n := range r.Errors {
		return s + fmt.Sprintf(", failed %d, as in: %d × %s", r.Failed, n, err)
	}
	return s
}
