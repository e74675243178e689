package gate

import (
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// An inner request is sent during an attempt that the gate has already admitted, for
// example when a RoundTripper below the Transport gets a token through the same gate.
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

// inner reports whether Wait seems to be called from within an attempt that was already
// admitted. Token sources use contexts of their own, so a context cannot carry this
// information, and inner inspects the goroutine's stack instead. On the stack of an inner
// request, the same call site in a Transport's RoundTrip appears twice. The check takes a
// microsecond or two and is made only on the slow path of Wait.
func inner() bool {
	var stack [64]uintptr // more would make the stack of most goroutines grow
	if n := runtime.Callers(4, stack[:]); n < len(stack) {
		return nested(stack[:n])
	}
	return innerDeep()
}

// innerDeep is inner for deep stacks.
//
//go:noinline
func innerDeep() bool {
	var stack [512]uintptr
	return nested(stack[:runtime.Callers(5, stack[:])])
}

// nested reports whether the same call site in a RoundTrip appears twice in pcs, and an
// http.Client's method in between.
func nested(pcs []uintptr) bool {
	const near = 64 // maximum number of frames between Wait and its Transport, including those of wrapping gates
	for i, pc := range pcs[:min(near, len(pcs))] {
		again := slices.Index(pcs[i+1:], pc)
		if again < 0 || !strings.HasSuffix(name(pc), roundTrip) {
			continue
		}
		// A token source goes through an http.Client; a Transport that calls another
		// Transport directly does not.
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
		case a.pacer != nil: // a leader does not know about inner requests, so they wait only for pauses
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
