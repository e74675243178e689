package gate

import (
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// The shortest and longest pauses after an inner request gets a 429 without Retry-After.
const (
	innerPause     = 250 * time.Millisecond
	mostInnerPause = 15 * time.Second
)

// An inner request is sent during an attempt that the gate has already admitted, for
// example when a RoundTripper below the Transport gets a token through the same client.
// That attempt has used a turn but is not sent until the token arrives, like every other
// attempt that needs the token. If the inner request had to wait for a turn, it would
// wait behind callers that are waiting for it, so it waits only for pauses.

// roundTrip is the suffix of the function name of a Transport's RoundTrip, and client is
// the prefix of the function names of an http.Client's methods.
const (
	roundTrip = ".(*Transport).RoundTrip"
	client    = "net/http.(*Client)."
)

// inner reports whether Wait is called from within an attempt that was already admitted.
// A RoundTripper cannot pass this information on, and token sources use contexts of their
// own, so inner inspects the goroutine's stack: in an inner request, the same call in a
// Transport appears twice. The check takes less than a microsecond and is made only for
// requests that the gate does not admit at once.
func inner() bool {
	const near = 12 // maximum number of frames between Wait and its Transport, including those of a wrapping gate
	var stack [96]uintptr
	pcs := stack[:runtime.Callers(4, stack[:])]
	for i, pc := range pcs[:min(near, len(pcs))] {
		again := slices.Index(pcs[i+1:], pc)
		if again < 0 || !strings.HasSuffix(name(pc), roundTrip) {
			continue
		}
		// A Transport directly below another one is not a token source.
		return slices.ContainsFunc(pcs[i+1:][:again], func(pc uintptr) bool { return strings.HasPrefix(name(pc), client) })
	}
	return false
}

func name(pc uintptr) string {
	if f := runtime.FuncForPC(pc - 1); f != nil {
		return f.Name()
	}
	return ""
}

// dispatchInner sends all inner requests, unless a pause is in force.
func (a *account) dispatchInner(now time.Duration) {
	if a.inner.n == 0 {
		return
	}
	if a.pacer != nil && a.pacer.Paused() > now {
		a.wakeUp(now, a.pacer.Paused())
		return
	}
	for a.inner.n > 0 {
		w := a.inner.head
		a.inner.remove(w)
		if a.pacer == nil {
			a.flying.Add(1)
		} else {
			a.ticket++
			w.ticket = a.ticket
			a.tickets[w.ticket] = sent{inner: true}
		}
		w.ready <- nil
	}
}

// refusedInner begins a pause after a 429 for an inner request. Outside a fleet, the
// pacer is told only about the pause, because it does not know about the request.
func (a *account) refusedInner(now, retryAfter time.Duration) {
	if _, alone := a.pacer.(*fleet1.Controller); !alone {
		a.pacer.Refused(now, fleet1.Send{}, retryAfter) // pauses all processes
	} else {
		if retryAfter > 0 {
			a.innerRefused = 0
		} else {
			retryAfter = min(innerPause<<min(a.innerRefused, 10), mostInnerPause)
			a.innerRefused++
		}
		a.pacer.Pause(now + retryAfter)
	}
	a.turnAway(now)
}
