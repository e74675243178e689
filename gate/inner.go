package gate

import (
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// The pauses after a 429 to an inner request that has no Retry-After.
const (
	innerPause     = 250 * time.Millisecond
	mostInnerPause = 15 * time.Second
)

// An inner request is sent inside an attempt that the gate has let out already: a
// RoundTripper below the Transport gets a token through the same client. The attempt
// holds its turn unused until the token arrives, as do all others that wait for the
// token. If the inner request waited for a turn, it would wait for callers that wait
// for it. So it waits only for pauses.

// roundTrip ends the name of a Transport's method RoundTrip, and client begins those of
// an http.Client.
const (
	roundTrip = ".(*Transport).RoundTrip"
	client    = "net/http.(*Client)."
)

// inner reports whether Wait is called from within a request that has left.
// RoundTripper has no way to say it, and token sources use a context of their own, so
// only the goroutine's stack tells: it has the same call of a Transport twice. It costs
// less than a microsecond, and only requests that the gate does not let out at once
// pay it.
func inner() bool {
	const near = 12 // frames between Wait and its Transport, those of another gate included
	var stack [96]uintptr
	pcs := stack[:runtime.Callers(4, stack[:])]
	for i, pc := range pcs[:min(near, len(pcs))] {
		again := slices.Index(pcs[i+1:], pc)
		if again < 0 || !strings.HasSuffix(name(pc), roundTrip) {
			continue
		}
		// A Transport below another one is called directly, and is no token source.
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

// dispatchInner lets out all inner requests, unless there is a pause.
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

// refusedInner begins a pause after a 429 to an inner request. It says nothing else to
// the pacer, which does not know of the request.
func (a *account) refusedInner(now, retryAfter time.Duration) {
	if _, alone := a.pacer.(*fleet1.Controller); !alone {
		a.pacer.Refused(now, fleet1.Send{}, retryAfter) // for all processes
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
