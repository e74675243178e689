package gate_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/gate"
)

// When the pace was raised at most once per round trip, the gate used 23% of the last of
// these limits in the first minute.
func TestLimitIsFoundInAMinuteAlthoughResponsesTakeSecondsIfRefusalsDoNot(t *testing.T) {
	t.Parallel()
	for _, b := range []*slowBucket{
		{rate: 5, depth: 2, trip: 2 * time.Second},
		{rate: 20, depth: 4, trip: 2 * time.Second},
		{rate: 20, depth: 20, trip: 5 * time.Second},
		{rate: 100, depth: 20, trip: 5 * time.Second},
	} {
		t.Run(fmt.Sprint(b.rate, " per second, responses take ", b.trip), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := new(gate.Adaptive)
				b.at, b.tokens = time.Now(), b.depth
				ctx, cancel := context.WithCancel(t.Context())
				var workers sync.WaitGroup
				for range 1000 {
					workers.Go(func() { work(ctx, g, b, b.trip) })
				}
				time.Sleep(time.Minute)
				b.mu.Lock()
				share := float64(b.accepted) / (60 * b.rate)
				b.mu.Unlock()
				cancel()
				workers.Wait()
				t.Logf("%.0f%% of the limit", 100*share)
				assert.GreaterOrEqual(t, share, 0.5)
			})
		})
	}
}
