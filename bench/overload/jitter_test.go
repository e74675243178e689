package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// seededGate returns a gate whose pauses have jitter from a source that is seeded with the
// virtual time and the number of the process. The gate's own source cannot be seeded. With
// it, the runs of a scenario would have different figures, and a test whose bound is close to
// the worst figure would fail now and then.
func seededGate(startWindow, process int) *gate.Adaptive {
	shared := &gate.Adaptive{StartWindow: startWindow}
	shared.Join(seeded{process})
	return shared
}

// gated returns a client that has a seeded gate and makes up to 20 attempts.
func gated(base http.RoundTripper) func(*http.Request) (*http.Response, error) {
	return (&http.Client{Transport: &iamhttp.Transport{Base: base, Gate: seededGate(0, 0), MaxAttempts: 20}}).Do
}

// gatedTransport returns the Transport of a program that sets deadlines but not
// MaxAttempts.
func gatedTransport(base http.RoundTripper) http.RoundTripper {
	return &iamhttp.Transport{Base: base, Gate: seededGate(0, 0)}
}

// seeded is a fleet of one gate. A gate gets its pacers from its fleet, and calls a pacer's
// Pause to add the jitter to a pause.
type seeded struct{ process int }

func (seeded) Opened(string) (share int, p fleet1.Pacer) { return 1, nil }
func (seeded) Forgotten(string)                          {}

func (s seeded) Throttled(key string, h fleet1.History, retryAfter time.Duration, _ fleet1.Endpoint) fleet1.Pacer {
	origin := time.Now().Add(-h.Now)
	key, _, _ = strings.Cut(key, "\x00") // that of an endpoint's own account begins with the account's
	return &pacer{
		Controller: h.Close(retryAfter),
		rng:        rand.New(rand.NewPCG(uint64(origin.UnixNano()), uint64(len(key)+s.process<<32))),
		now:        h.Now,
	}
}

// A pacer is the gate's own controller with a different source of jitter.
type pacer struct {
	*fleet1.Controller
	rng *rand.Rand
	now time.Duration // time of the latest 429
}

func (p *pacer) Refused(now time.Duration, s fleet1.Send, retryAfter time.Duration) bool {
	p.now = now
	return p.Controller.Refused(now, s, retryAfter)
}

// Pause replaces the jitter that the gate has drawn. The gate calls Pause only to add
// jitter.
func (p *pacer) Pause(until time.Duration) {
	paused := p.Paused()
	most := min((paused-p.now)/20, 250*time.Millisecond)
	if drawn := until - paused; drawn < 0 || drawn >= most {
		panic(fmt.Sprintf("the jitter of package gate has changed: %v is negative, or not below %v", drawn, most))
	}
	p.Controller.Pause(paused + time.Duration(p.rng.Int64N(int64(most))))
}

func TestSameScenarioHasTheSameFiguresInEachRun(t *testing.T) {
	chosen, err := scenarios("tb100/0.1,fw60/1m0s×2", "absent", "1000@once,1000@2", "lognormal", "1")
	require.NoError(t, err)
	for _, s := range chosen {
		first := s.Run(t, gated, true)
		require.NotZero(t, first.Refused, "%v: nothing was throttled, so no jitter was drawn", s)
		assert.Equal(t, first, s.Run(t, gated, true), s)
	}
}
