package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A gateway accepts 200 requests in each window of five minutes, as Huawei Cloud's API
// gateway does by default. Each 429 states that limit.
type gateway struct {
	retryAfter bool

	mu                     sync.Mutex
	began                  time.Time // start of the current window
	used, accepted, denied int
}

const (
	perWindow = 200
	aWindow   = 5 * time.Minute
)

func (g *gateway) RoundTrip(req *http.Request) (*http.Response, error) {
	time.Sleep(50 * time.Millisecond)
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if past := now.Sub(g.began) / aWindow; past > 0 {
		g.began, g.used = g.began.Add(past*aWindow), 0
	}
	resp := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody, Request: req}
	if g.used++; g.used <= perWindow {
		g.accepted++
		return resp, nil
	}
	g.denied++
	resp.StatusCode = http.StatusTooManyRequests
	resp.Header.Set("X-Ratelimit-Limit", "200;w=300")
	if g.retryAfter {
		resp.Header.Set("Retry-After", fmt.Sprint(int(g.began.Add(aWindow).Sub(now).Seconds())+1))
	}
	return resp, nil
}

func TestGateMakes500CallsWithFewRetriesAtALimitOf200InFiveMinutes(t *testing.T) {
	for name, retryAfter := range map[string]bool{"with Retry-After": true, "without Retry-After": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				server := &gateway{retryAfter: retryAfter, began: start}
				do := (&http.Client{Transport: gatedTransport(server)}).Do
				calls := make(chan int)
				var workers sync.WaitGroup
				for range 10 {
					workers.Go(func() {
						for range calls {
							ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
							req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://iam.test/v3/users", nil)
							if assert.NoError(t, err) {
								resp, err := do(req)
								if assert.NoError(t, err) {
									resp.Body.Close()
								}
							}
							cancel()
						}
					})
				}
				for i := range 500 {
					calls <- i
				}
				close(calls)
				workers.Wait()
				took := time.Since(start)
				sent := float64(server.accepted+server.denied) / 500
				t.Logf("%.3f sent per success, %v", sent, took)
				require.Equal(t, 500, server.accepted)
				assert.LessOrEqual(t, sent, 1.05)
				assert.LessOrEqual(t, took.Seconds(), 1.1*(2*aWindow).Seconds())
			})
		})
	}
}
