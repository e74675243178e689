package e2e

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
)

// gated returns a client that uses g, and a counter of the requests that the client
// sends.
func gated(t *testing.T, g gate.Gate) (c *http.Client, sent *atomic.Int64) {
	tr := &iamhttp.Transport{Gate: g, GateKey: nil}
	c = client(t, tr)
	sent = new(atomic.Int64)
	base := tr.Base.(*http.Transport)
	base.MaxIdleConnsPerHost = 1000
	tr.Base = counting{base, sent}
	return c, sent
}

type counting struct {
	http.RoundTripper
	n *atomic.Int64
}

func (c counting) RoundTrip(req *http.Request) (*http.Response, error) {
	c.n.Add(1)
	return c.RoundTripper.RoundTrip(req)
}

// send makes one call, and reports whether it succeeded in time.
func send(t *testing.T, c *http.Client, method, url string, timeout time.Duration) bool {
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	require.NoError(t, err)
	resp, err := c.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return true
}

// arrivals calls f perSecond times a second for d, each time in a new goroutine. It
// returns when all calls have returned.
func arrivals(perSecond int, d time.Duration, f func()) {
	var calls sync.WaitGroup
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); <-tick.C {
		calls.Go(f)
	}
	calls.Wait()
}

// undisturbed runs f up to three times, until the machine was idle enough during a run.
// The third run counts even if it was disturbed. On a busy machine, requests and
// responses are late. Timers fire late too, so undisturbed measures how late they fire.
func undisturbed(t *testing.T, f func()) {
	for range 3 {
		const tick = 5 * time.Millisecond
		done := make(chan struct{})
		late := make(chan time.Duration)
		go func() {
			var sum time.Duration
			for before := time.Now(); ; before = time.Now() {
				select {
				case <-done:
					late <- sum
					return
				case <-time.After(tick):
				}
				if over := time.Since(before) - tick; over > 2*tick {
					sum += over
				}
			}
		}()
		start := time.Now()
		f()
		close(done)
		took, stalled := time.Since(start), <-late
		t.Logf("the run took %v; timer delays of more than 10 ms add up to %v", took, stalled)
		if stalled < took/100 {
			return
		}
	}
}

func TestGateUsesNearlyTheWholeLimitDuringOverloadWithDeadlines(t *testing.T) {
	t.Parallel()
	const limit, learning, lasting = 50, 5 * time.Second, time.Minute
	url := at(t, nginxGate) + "/deadlines"
	var share, perSuccess float64
	undisturbed(t, func() {
		c, sent := gated(t, new(gate.Adaptive))
		var answered, all atomic.Int64
		start := time.Now()
		arrivals(3*limit, lasting, func() {
			if send(t, c, "GET", url, 2*time.Second) {
				all.Add(1)
				if at := time.Since(start); at > learning && at < lasting {
					answered.Add(1)
				}
			}
		})
		share = float64(answered.Load()) / (limit * (lasting - learning).Seconds())
		perSuccess = float64(sent.Load()) / float64(all.Load())
		t.Logf("after the first 5 s, successes used %.3f of the limit; over the whole minute, they took %.3f requests each", share, perSuccess)
	})
	assert.GreaterOrEqual(t, share, 0.97)
	assert.LessOrEqual(t, perSuccess, 1.05)
}

// serve responds with 204 on the upstream port until stop is called or the test ends.
func serve(t *testing.T) (stop func() error) {
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) })}
	l := listen(t, upstream)
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return s.Close
}

func TestGateUsesMostOfTheLimitAgainSoonAfterAnOutage(t *testing.T) {
	t.Parallel()
	const limit, begins, ends, lasting = 100, 10, 20, 40 // limit in requests per second; begins, ends and lasting in seconds
	fronts := map[string]string{"nginx": at(t, nginxGate), "HAProxy": at(t, haproxyGate)}
	stop := serve(t)
	accepted := make(map[string]*[lasting + 1]atomic.Int64)
	ctx, cancel := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	start := time.Now()
	for name, url := range fronts {
		c, _ := gated(t, new(gate.Adaptive))
		perSecond := new([lasting + 1]atomic.Int64)
		accepted[name] = perSecond
		for range 50 {
			callers.Go(func() {
				for ctx.Err() == nil {
					if send(t, c, "GET", url+"/outage", 10*time.Second) {
						perSecond[min(int(time.Since(start).Seconds()), lasting)].Add(1)
					}
				}
			})
		}
	}
	<-time.After(begins * time.Second)
	require.NoError(t, stop())
	<-time.After((ends - begins) * time.Second)
	serve(t)
	<-time.After((lasting - ends) * time.Second)
	cancel()
	callers.Wait()

	for name, perSecond := range accepted {
		var n [lasting]int64
		for i := range n {
			n[i] = perSecond[i].Load()
		}
		t.Log(name, n)
		assert.Zero(t, slices.Max(n[begins+1:ends]), "%s: requests succeeded during the outage", name)
		back := ends
		for back < lasting-3 && 10*(n[back]+n[back+1]+n[back+2]) < 9*3*limit {
			back++
		}
		assert.LessOrEqual(t, back, ends+16, "%s: more than 16 s passed before 90%% of the limit was used again", name)
	}
}

func TestThrottledWritesHardlyDelayReads(t *testing.T) {
	t.Parallel()
	url := at(t, nginxGate) + "/methods"
	var median, p99 time.Duration
	var writes int
	undisturbed(t, func() {
		c, _ := gated(t, new(gate.Adaptive))
		var mu sync.Mutex
		took := make(map[string][]time.Duration)
		call := func(method string) func() {
			return func() {
				start := time.Now()
				if ok := send(t, c, method, url, 20*time.Second); ok || method == "GET" {
					mu.Lock()
					defer mu.Unlock()
					assert.True(t, ok, "a read failed")
					took[method] = append(took[method], time.Since(start))
				}
			}
		}
		var both sync.WaitGroup
		both.Go(func() { arrivals(50, 20*time.Second, call("GET")) })
		both.Go(func() { arrivals(10, 20*time.Second, call("POST")) })
		both.Wait()
		reads := slices.Sorted(slices.Values(took["GET"]))
		median, p99, writes = reads[len(reads)/2], reads[len(reads)*99/100], len(took["POST"])
		t.Logf("%d reads: median %v, 99th percentile %v; %d successful writes", len(reads), median, p99, writes)
	})
	assert.LessOrEqual(t, median, 50*time.Millisecond)
	assert.LessOrEqual(t, p99, 500*time.Millisecond)
	assert.GreaterOrEqual(t, writes, 90, "too few writes succeeded; the limit allows 5 per second")
}

// scaled returns a schedule whose first wait is 1/30, and whose longest wait is 1/15, of
// the default's, because the test's window of 20 s stands in for one of five minutes.
func scaled() backoff.BackOff {
	return backoff.NewExponentialBackOff(backoff.WithInitialInterval(time.Second/30), backoff.WithMaxInterval(2*time.Second), backoff.WithMaxElapsedTime(0))
}

func TestNoCallFailsIfHAProxyStatesALongWindow(t *testing.T) {
	t.Parallel()
	const calls, workers, window = 500, 10, 20 * time.Second
	for _, tt := range []struct {
		name string
		gate gate.Gate
		path string
		sent float64
	}{
		{"without a gate", nil, "/window/1", 1.15},
		{"with a gate", new(gate.Adaptive), "/window/2", 1.05},
		{"with Retry-After, without a gate", nil, "/window/3/retry-after", 1.15},
		{"with Retry-After and a gate", new(gate.Adaptive), "/window/4/retry-after", 1.05},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			url := at(t, haproxyGate) + tt.path
			c, sent := gated(t, tt.gate)
			c.Transport.(*iamhttp.Transport).Backoff = scaled
			var left, failed atomic.Int64
			left.Store(calls)
			// Start at the beginning of a window, because real windows begin with the first request.
			<-time.After(time.Until(time.Now().Truncate(window).Add(window)))
			var pool sync.WaitGroup
			start := time.Now()
			for range workers {
				pool.Go(func() {
					for left.Add(-1) >= 0 {
						if !send(t, c, "GET", url, 5*time.Minute) {
							failed.Add(1)
						}
					}
				})
			}
			pool.Wait()
			t.Logf("%d calls took %v and %d requests", calls, time.Since(start), sent.Load())
			assert.Zero(t, failed.Load())
			assert.LessOrEqual(t, float64(sent.Load()), tt.sent*calls)
			assert.LessOrEqual(t, time.Since(start), 11*2*window/10)
		})
	}
}
