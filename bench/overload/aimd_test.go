package main

import (
	"context"
	"sync"
	"time"

	"github.com/iamhttp/iamhttp/gate"
)

// An aimd is a simple gate for comparison. The first refusal sets its pace. After that, a
// refusal halves the pace, unless the request left before the latest cut. In each second in
// which requests wait, the pace grows by a tenth of the pace that followed the latest cut.
// An aimd obeys Retry-After, and adds a short random time to the wait.
type aimd struct {
	line line

	mu          sync.Mutex
	pause       pause
	began, next time.Time   // creation of the gate, and when its pace allows the next request
	pace, cut   float64     // requests per second now and after the latest cut; 0 before the first refusal
	accepted    int         // number of accepted requests
	epoch       gate.Ticket // number of cuts
}

func newAIMD() *aimd { return &aimd{line: newLine(), pause: newPause(), began: time.Now()} }

func (a *aimd) Wait(ctx context.Context, _ gate.Request) (epoch gate.Ticket, err error) {
	err = a.line.pass(ctx, func(waited bool) time.Duration {
		a.mu.Lock()
		defer a.mu.Unlock()
		if wait := max(time.Until(a.next), time.Until(a.pause.until)); wait > 0 {
			return wait
		}
		if a.pace > 0 {
			if waited {
				a.pace += 0.1 * a.cut / a.pace
			}
			a.next = time.Now().Add(time.Duration(float64(time.Second) / a.pace))
		}
		epoch = a.epoch
		return 0
	})
	return epoch, err
}

func (a *aimd) Observe(_ gate.Request, t gate.Ticket, o gate.Outcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch o.Result {
	case gate.Accepted:
		a.accepted++
	case gate.Throttled:
		pause := a.pause.extend(o, noRetryAfter)
		if t == a.epoch { // otherwise the request left before the latest cut
			a.epoch++
			if a.pace == 0 {
				a.pace = 2 * float64(a.accepted+1) / (time.Since(a.began) + pause).Seconds()
			}
			a.pace /= 2
			a.cut = a.pace
		}
	case gate.Unknown, gate.NotSent:
	}
}

// noRetryAfter is the pause after a refusal without Retry-After, for algorithms that do
// not define such a pause.
const noRetryAfter = time.Second / 4
