package gate

import (
	"runtime"
	"slices"
	"strings"
	"time"
)

// An inner request is one that an attempt sends while the gate takes it for sent: a
// RoundTripper below the Transport that gets a token through the same client. The
// attempt has had its turn and does not use it before the token has arrived, and all
// who wait for the token have turns as well. If it waited for a turn of its own, it
// would wait for callers that wait for it. So it waits for pauses only.

// roundTrip is in the name of the function that a RoundTripper is entered by.
const roundTrip = ".(*Transport).RoundTrip"

// inner reports whether the caller of Wait is called by a request that has left. The
// contract of RoundTripper has no way to say it, and token sources keep a context of
// their own, so only the stack of the goroutine tells: it holds the same call of the
// Transport twice. It costs less than a microsecond, and only requests that the gate
// does not let out at once pay it.
func inner() bool {
	const near = 12 // what is between Wait and its Transport, another gate included
	var stack [96]uintptr
	pcs := stack[:runtime.Callers(4, stack[:])]
	for i, pc := range pcs[:min(near, len(pcs))] {
		if !slices.Contains(pcs[i+1:], pc) {
			continue
		}
		if f := runtime.FuncForPC(pc - 1); f != nil && strings.HasSuffix(f.Name(), roundTrip) {
			return true
		}
	}
	return false
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
