package gate_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/gate"
)

func TestOpenAccountDoesNotAllocate(t *testing.T) {
	for _, result := range []gate.Result{gate.Unknown, gate.Accepted, gate.NotSent} {
		t.Run(result.String(), func(t *testing.T) {
			g := new(gate.Adaptive)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			assert.Zero(t, testing.AllocsPerRun(1000, func() {
				ticket, err := g.Wait(ctx, plain)
				if err != nil {
					t.Fatal(err)
				}
				g.Observe(plain, ticket, gate.Outcome{Result: result})
			}))
		})
	}
}

// BenchmarkAdaptiveOpen measures Wait and Observe for accounts that were never throttled:
// the time that an Adaptive takes per successful attempt.
func BenchmarkAdaptiveOpen(b *testing.B) {
	b.Run("one caller", func(b *testing.B) {
		g := new(gate.Adaptive)
		ctx := b.Context()
		b.ReportAllocs()
		for b.Loop() {
			pass(ctx, g, plain)
		}
	})
	b.Run("parallel, one key", func(b *testing.B) {
		g := new(gate.Adaptive)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			ctx := b.Context()
			for pb.Next() {
				pass(ctx, g, plain)
			}
		})
	})
	b.Run("1000 keys", func(b *testing.B) {
		g := new(gate.Adaptive)
		requests := make([]gate.Request, 1000)
		for i := range requests {
			requests[i].Key = fmt.Sprint("account ", i)
		}
		ctx := b.Context()
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			pass(ctx, g, requests[i%len(requests)])
			i++
		}
	})
}

// pass calls Wait and Observe for one accepted request, through the interface, as a
// Transport does.
func pass(ctx context.Context, g gate.Gate, r gate.Request) {
	ticket, err := g.Wait(ctx, r)
	if err != nil {
		panic(err)
	}
	g.Observe(r, ticket, accepted)
}
