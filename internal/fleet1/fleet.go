// Package fleet1 is the seam at which processes that share an account join their
// gates: package redisgate is on one side, gate.Adaptive on the other. The gate
// keeps queue and deadlines; a [Pacer] decides when a request leaves, and may
// know more than this process does.
//
// The two sides are in different modules, which users update one by one. The number
// in the package's path, the same as [Number], therefore changes with every change of
// meaning here or in package bracket: two modules that do not match then fail to
// compile instead of misbehaving. Redisgate imports no other internal package.
package fleet1

import (
	"slices"
	"time"

	"github.com/iamhttp/iamhttp/internal/bracket"
)

// Number is the number in the package's path. Redisgate puts it into the names
// that it uses on the server, so that fleets of different numbers ignore each
// other.
const Number = "1"

// Both sides know these.
type (
	// A Controller decides when the requests of one account leave.
	Controller = bracket.Controller
	// Learned is what a Controller knows of a limit.
	Learned = bracket.Learned
	// A Mark is a count of accepted requests at a time.
	Mark = bracket.Mark
	// A Send is a request that left.
	Send = bracket.Send
)

// Resume returns a Controller that goes on from what another one has learned, at
// the end of the pause.
func Resume(now time.Duration, l Learned, pause time.Duration) *Controller {
	return bracket.Resume(now, l, pause)
}

// A Pacer decides when the requests of one account leave, as [Controller] does.
// All calls are made under the account's lock, with times that count from one
// origin of the account. The backlog is the requests that wait, in Sent with those
// that were turned away since the latest one.
type Pacer interface {
	Next(now time.Duration, backlog int) time.Duration
	Sent(now time.Duration, backlog int) Send
	Unsend(s Send)
	Idle(now time.Duration)
	Accepted(now time.Duration, s Send)
	Unknown(now time.Duration, s Send)
	Refused(now time.Duration, s Send, retryAfter time.Duration) bool
	Stated(requests int, per time.Duration)
	Believed() bool
	Pause(until time.Duration)
	Paused() time.Duration
	Pace() float64
	Probing() bool
	Silence() time.Duration
	Earliest(now time.Duration, ahead int) time.Duration
	Trip() time.Duration
}

// A History is what an account was allowed until it was throttled first.
type History struct {
	Now    time.Duration
	Marks  []Mark
	Flying int
}

// Close returns the controller of an account that was throttled now, and that no
// other process uses.
func (h History) Close(retryAfter time.Duration) *Controller {
	return bracket.New(h.Now, slices.Clone(h.Marks), h.Flying, retryAfter)
}

// A Fleet is what a gate belongs to.
type Fleet interface {
	// Opened is called for a key that is new to the gate. It returns the number of
	// gates that share the account's start window, and, if the account is known to be
	// throttled, its Pacer. It is called under the account's lock.
	Opened(key string) (share int, p Pacer)
	// Throttled returns the Pacer of an account that was throttled for the first
	// time. It is called under the account's lock.
	Throttled(key string, h History, retryAfter time.Duration) Pacer
	// Forgotten ends what one Opened has begun. It is called without the account's
	// lock, possibly with another lock of the gate held, so it must not call the
	// gate. It may come after Opened of the next account of the key, so that a key
	// is in use as long as Opened was called more often than Forgotten.
	Forgotten(key string)
}

// A Visitor sees an account under its lock: its Pacer, nil if it was never
// throttled, how many requests wait, and its history. It returns the Pacer to
// use from now on, nil to leave the account open.
type Visitor func(now time.Duration, p Pacer, backlog int, history func() History) Pacer
