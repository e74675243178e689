// Package schedule provides the default schedule of the waits before retries.
// Transport.decide, in the root package's retry.go, determines how a call uses it.
package schedule

import (
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
)

const maxInterval = 30 * time.Second

// Default returns an exponential schedule: 1 s, doubled each time, ±50%, at most 30 s.
// [Release] can save the next call an allocation.
func Default() backoff.BackOff {
	b := schedules.Get().(*exponential)
	b.Reset()
	return b
}

var schedules = sync.Pool{New: func() any {
	return &exponential{backoff.ExponentialBackOff{
		InitialInterval:     time.Second,
		RandomizationFactor: 0.5,
		Multiplier:          2,
		MaxInterval:         maxInterval,
		Clock:               backoff.SystemClock,
	}}
}}

// Release must be called only when b is no longer used. If b is not from Default, Release
// does nothing; b may be nil.
func Release(b backoff.BackOff) {
	if b, ok := b.(*exponential); ok {
		schedules.Put(b)
	}
}

// exponential is a schedule that never exceeds maxInterval. The schedule of package
// backoff can exceed its maximum, because it applies its random factor last.
type exponential struct{ backoff.ExponentialBackOff }

func (b *exponential) NextBackOff() time.Duration {
	return min(b.ExponentialBackOff.NextBackOff(), maxInterval)
}
