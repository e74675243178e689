package iamhttp_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
)

func TestDuringAnOutageOneRequestProbesForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(gate.Adaptive)
		var sent atomic.Int64
		base := script(func(req *http.Request) (*http.Response, error) {
			sent.Add(1)
			time.Sleep(10 * time.Millisecond)
			return response(req, 429, http.NoBody, 0, "Retry-After: 1"), nil
		})
		tr := &iamhttp.Transport{Base: base, Gate: g, MaxAttempts: 100}
		var wg sync.WaitGroup
		for range 500 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				_, err := tr.RoundTrip(newRequest(t, "GET", "").WithContext(ctx))
				assert.Error(t, err)
			})
		}
		wg.Wait()
		assert.Less(t, sent.Load(), int64(64+60), "the start window, and then one probe in up to half a minute")
	})
}

func TestOnlyA429PausesTheGate(t *testing.T) {
	for _, code := range []int{400, 401, 403, 404, 409, 413, 500, 502, 503, 504} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr := &iamhttp.Transport{Base: script(answer(code, "", "Retry-After: 60")), Gate: new(gate.Adaptive), MaxAttempts: 1}
				start := time.Now()
				for range 10 {
					_, err := tr.RoundTrip(newRequest(t, "GET", ""))
					assert.Error(t, err)
				}
				assert.Zero(t, time.Since(start))
			})
		})
	}
}
