// Package fleet is the seam at which processes that share an account join
// their gates: package redisgate on one side, iamhttp.AdaptiveGate on the
// other. The gate keeps queue, deadlines and retry budget; who may leave when
// is asked of a Pacer, and that may know more than this process.
package fleet

import (
	"slices"
	"time"

	"github.com/iamhttp/iamhttp/internal/bracket"
)

// A Pacer decides when the requests of one account leave, as
// [bracket.Controller] does. All calls are made under the account's lock, with
// times that count from one origin of the account.
type Pacer interface {
	Next(now time.Duration, backlog int) time.Duration
	Sent(now time.Duration, backlog int) bracket.Send
	Unsend(s bracket.Send)
	Idle(now time.Duration)
	Accepted(now time.Duration, s bracket.Send)
	Refused(now time.Duration, s bracket.Send, retryAfter time.Duration) bool
	Pause(until time.Duration)
	Paused() time.Duration
	Probes() int
	Probing() bool
	Silence() time.Duration
	Earliest(now time.Duration, ahead int) time.Duration
}

// A History is what an account was allowed until it was closed.
type History struct {
	Now    time.Duration
	Marks  []bracket.Mark
	Flying int
}

// Close returns the controller of an account on its own that was refused now.
func (h History) Close(retryAfter time.Duration) *bracket.Controller {
	return bracket.New(h.Now, slices.Clone(h.Marks), h.Flying, retryAfter)
}

// A Fleet is what a gate belongs to.
type Fleet interface {
	// Opened is called for a key that is new to the gate. It returns among how
	// many gates the account's start window is divided, and, if the account is
	// known to be throttled, its Pacer. It is called under the account's lock.
	Opened(key string) (share int, p Pacer)
	// Throttled returns the Pacer of an account that was refused for the first
	// time. It is called under the account's lock.
	Throttled(key string, h History, retryAfter time.Duration) Pacer
	// Forgotten ends what one Opened has begun. It is called outside the account's
	// lock, and perhaps under another one of the gate, which is not to be called
	// from there; it may come after Opened of the next account of the key, so that
	// a key is in use as long as there were more of those.
	Forgotten(key string)
}

// A Visitor sees an account under its lock: its Pacer, nil if it was never
// throttled, how many requests wait, and its history. It returns the Pacer to
// use from now on, nil to leave it open.
type Visitor func(now time.Duration, p Pacer, backlog int, history func() History) Pacer

// Join makes gate, an *iamhttp.AdaptiveGate that is not in use yet, part of f,
// and returns how to visit its accounts; visit reports whether there was one
// of the key. Package iamhttp sets Join.
var Join func(gate any, f Fleet) (visit func(key string, v Visitor) bool)
