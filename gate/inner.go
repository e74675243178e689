package gate

import (
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// An inner request is sent during an attempt that the gate has already admitted, for
// example when a RoundTripper below the Transport gets a token through the same client.
// That attempt has used a turn but is not sent until the token arrives, like every other
// attempt that needs the token. In the queue, the inner request would be behind callers
// that wait for it, so it gets the next turn. In a fleet, it waits only for pauses,
// because the leader does not know about it.

// roundTrip is the suffix of the function name of a Transport's RoundTrip, and client is
// the prefix of the function names of an http.Client's methods.
const (
	roundTrip = ".(*Transport).RoundTrip"
	client    = "net/http.(*Client)."
)

// inner reports whether Wait is called from within an attempt that was already admitted.
// A RoundTripper cannot pass this information on, and token sources use contexts of their
// own, so inner inspects the goroutine's stack. In an inner request, the same call in a
// Transport appears twice. The check takes less than a microsecond and is made only for
// requests that the gate does not admit at once.
func inner() bool {
	const near = 64 // maximum number of frames between Wait and its Transport, including those of wrapping gates
	var stack [512]uintptr
	pcs := stack[:runtime.Callers(4, stack[:])]
	for i, pc := range pcs[:min(near, len(pcs))] {
		again := slices.Index(pcs[i+1:], pc)
		if again < 0 || !strings.HasSuffix(name(pc), roundTrip) {
			continue
		}
		// A token source calls an http.Client, unlike a Transport directly below another
		// one.
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

// dispatchInner sends the inner requests whose turn has come.
func (a *account) dispatchInner(now time.Duration) {
	for a.inner.n > 0 {
		c, alone := a.pacer.(*fleet1.Controller)
		at := now
		switch {
		case alone:
			at = c.NextInner(now, a.inner.n+a.waiting())
		case a.pacer != nil: // a leader does not know about inner requests, so they only wait for pauses
			at = a.pacer.Paused()
		}
		if at > now {
			a.wakeUp(now, at)
			return
		}
		w := a.inner.head
		a.inner.remove(w)
		if a.pacer == nil {
			a.flying.Add(1)
		} else {
			a.ticket++
			w.ticket = a.ticket
			s := sent{at: now, inner: !alone}
			if alone {
				s.Send = c.SentInner(now, a.inner.n+a.waiting())
			}
			a.tickets[w.ticket] = s
		}
		w.ready <- nil
	}
}
