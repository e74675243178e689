package iamhttp_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
)

// To run the benchmarks: go test -run - -bench . -count 10 .
// Compare only results from the same run. Allocation counts are exact; durations are
// meaningful only as ratios.

func BenchmarkSuccess(b *testing.B) {
	for _, method := range []string{"GET", "POST"} {
		req := newRequest(b, method, strings.Repeat("x", 1024*(len(method)-3)))
		base := fixedAnswers(nil, "", 200)
		b.Run(method+"/base", func(b *testing.B) { run(b, base, req) })
		b.Run(method+"/transport", func(b *testing.B) { run(b, &iamhttp.Transport{Base: base}, req) })
		b.Run(method+"/gate", func(b *testing.B) {
			run(b, &iamhttp.Transport{Base: base, Gate: new(gate.Adaptive)}, req)
		})
	}
}

func BenchmarkSuccessParallel(b *testing.B) {
	req := newRequest(b, "GET", "")
	resp := &http.Response{StatusCode: 200, Body: http.NoBody}
	base := roundTripper(func(*http.Request) (*http.Response, error) { return resp, nil })
	for name, rt := range map[string]http.RoundTripper{
		"base":      base,
		"transport": &iamhttp.Transport{Base: base},
		"gate":      &iamhttp.Transport{Base: base, Gate: new(gate.Adaptive)},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					_, _ = rt.RoundTrip(req)
				}
			})
		})
	}
}

func BenchmarkLoopbackParallel(b *testing.B) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }))
	defer srv.Close()
	base := &http.Transport{MaxIdleConnsPerHost: 64}
	defer base.CloseIdleConnections()
	for _, tt := range []struct {
		name string
		rt   http.RoundTripper
	}{
		{"base", base},
		{"transport", &iamhttp.Transport{Base: base}},
		{"gate", &iamhttp.Transport{Base: base, Gate: new(gate.Adaptive)}},
	} {
		b.Run(tt.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					req, _ := http.NewRequestWithContext(b.Context(), "GET", srv.URL, nil)
					resp, err := tt.rt.RoundTrip(req)
					if err != nil {
						b.Error(err)
						return
					}
					resp.Body.Close()
				}
			})
		})
	}
}

func BenchmarkNotFound(b *testing.B) {
	req := newRequest(b, "GET", "").WithContext(context.Background())
	base := fixedAnswers(keystoneHeader, keystoneBody, 404)
	b.Run("hand-written", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			resp, _ := base.RoundTrip(req)
			if ownError(req, resp) == nil {
				b.Fatal("no error")
			}
		}
	})
	b.Run("transport", func(b *testing.B) { run(b, &iamhttp.Transport{Base: base}, req) })
}

func BenchmarkRetried(b *testing.B) {
	for _, body := range []string{"", "with a body"} {
		for _, method := range []string{"GET", "POST"} {
			req := newRequest(b, method, strings.Repeat("x", 1024*(len(method)-3))).WithContext(context.Background())
			base := fixedAnswers(nil, body, 429, 429, 200)
			b.Run("hand-written loop/"+method+"/"+body, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					for {
						resp, _ := base.RoundTrip(req)
						if resp.StatusCode == 200 {
							break
						}
						_, _ = io.Copy(io.Discard, resp.Body)
						resp.Body.Close()
					}
				}
			})
			b.Run("transport/"+method+"/"+body, func(b *testing.B) {
				run(b, &iamhttp.Transport{Base: base, Backoff: zero}, req)
			})
		}
	}
}

func run(b *testing.B, rt http.RoundTripper, req *http.Request) {
	b.ReportAllocs()
	for b.Loop() {
		_, _ = rt.RoundTrip(req)
	}
}

// BenchmarkClientTimeout measures what http.Client.Timeout costs if the client's
// Transport is not an *http.Transport. Without a gate, an iamhttp.Transport costs the
// same as any other wrapper.
func BenchmarkClientTimeout(b *testing.B) {
	base := fixedAnswers(nil, "", 200)
	for _, timeout := range []time.Duration{0, time.Minute} {
		for name, rt := range map[string]http.RoundTripper{"any wrapper": base, "transport": &iamhttp.Transport{Base: base}} {
			client := &http.Client{Transport: rt, Timeout: timeout}
			req := newRequest(b, "GET", "").WithContext(context.Background())
			b.Run(fmt.Sprint("timeout ", timeout, "/", name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					resp, err := client.Do(req)
					if err != nil {
						b.Fatal(err)
					}
					resp.Body.Close()
				}
			})
		}
	}
}

// BenchmarkLimitOf50000PerSecond makes calls from 5000 goroutines in real time, to a
// simulated server with a limit of 50,000 requests per second. It reports what share of
// the limit the calls use, once without a gate and once with a gate. With -benchtime
// 1000000x, each of the two variants takes about 20 s.
func BenchmarkLimitOf50000PerSecond(b *testing.B) {
	const limit, callers = 50_000.0, 5000
	for _, gated := range []bool{false, true} {
		b.Run(map[bool]string{false: "without a gate", true: "with a gate"}[gated], func(b *testing.B) {
			var mu sync.Mutex
			saved, at := limit/10, time.Now()
			throttled := answer(429, "", "Retry-After: 1")
			tr := &iamhttp.Transport{MaxAttempts: 1000, Base: roundTripper(func(req *http.Request) (*http.Response, error) {
				time.Sleep(50 * time.Millisecond)
				mu.Lock()
				defer mu.Unlock()
				now := time.Now()
				saved, at = min(limit/10, saved+now.Sub(at).Seconds()*limit), now
				if saved < 1 {
					return throttled(req)
				}
				saved--
				return response(req, 200, http.NoBody, 0), nil
			})}
			if gated {
				tr.Gate = new(gate.Adaptive)
			}
			req, err := http.NewRequestWithContext(b.Context(), "GET", "https://iam.example/", nil)
			require.NoError(b, err)
			var left atomic.Int64
			left.Store(int64(b.N))
			var all sync.WaitGroup
			for range callers {
				all.Go(func() {
					for left.Add(-1) >= 0 {
						if _, err := tr.RoundTrip(req); err != nil {
							b.Error(err)
						}
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/limit, "of-the-limit")
		})
	}
}
