// Package fleet1 is the interface between package redisgate and gate.Adaptive. Through it,
// redisgate connects the gates of processes that share an account. The gate keeps the queue
// and the deadlines. A [Pacer] decides when a request is sent, and may take into account
// what other processes have reported.
//
// The two sides are in different modules, which users update separately. The number in
// the package's path, which is [Number], therefore changes whenever the meaning of
// anything in this package, in package bracket or in package suspect changes. As a result,
// versions that do not match fail to compile instead of misbehaving. Redisgate imports no other
// internal package of this module, except in tests.
package fleet1

import (
	"fmt"
	"slices"
	"time"

	"github.com/iamhttp/iamhttp/internal/bracket"
	"github.com/iamhttp/iamhttp/internal/suspect"
)

// Number is the number in the package's path. Redisgate puts it into the names that it
// uses on the server, so that fleets with different numbers ignore each other.
const Number = "1"

// Types of package bracket that both sides use.
type (
	// A Controller decides when the requests of one account are sent.
	Controller = bracket.Controller
	// Learned is what a Controller knows about a limit.
	Learned = bracket.Learned
	// A Mark records how many requests had been accepted by a certain time.
	Mark = bracket.Mark
	// A Send describes a request that was sent.
	Send = bracket.Send
)

// Types of package suspect that both sides use.
type (
	// An Endpoint is what a request is sent to.
	Endpoint = suspect.Endpoint
	// Suspects find endpoints that have a limit of their own.
	Suspects = suspect.Suspects
	// A Verdict is what Suspects conclude.
	Verdict = suspect.Verdict
	// A Row is what the latest refusals in a row have in common.
	Row = suspect.Row
	// A Use is the time for which an endpoint has its own account.
	Use = suspect.Use
)

// Limits of package suspect.
const (
	MostOwn    = suspect.MostOwn
	MostSpan   = suspect.MostSpan
	MostRoutes = suspect.MostRoutes
)

// Resume returns a Controller that continues, at the end of the pause, with what another
// Controller has learned.
func Resume(now time.Duration, l Learned, pause time.Duration) *Controller {
	return bracket.Resume(now, l, pause)
}

// A Pacer decides when the requests of one account are sent, as a [Controller] does. Its
// methods are called under the account's lock, and all of an account's times are measured
// from the same origin. The backlog is the number of waiting requests. In Sent, the
// backlog also includes the requests that, since the previous Sent, were canceled while
// they waited or were refused because of their deadlines; in Next of a [Solo], it includes
// those since the latest pause ended.
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

// Lanes holds the number of waiting requests of each priority, the most urgent first.
type Lanes [3]int

// Sum returns the number of waiting requests of all priorities.
func (l Lanes) Sum() int { return l[0] + l[1] + l[2] }

// A Shared is a Pacer that other processes share.
type Shared interface {
	Pacer
	// Ranked tells the Pacer the priorities of the waiting requests, and how many callers have
	// given up, since a time that may differ from call to call. It is called before Next, and before
	// a [Visitor] sees the Pacer.
	Ranked(waiting Lanes, missed int)
	// Sharing returns one in how many turns of the fleet this process got lately; at least 1.
	Sharing() int
	// Row returns the fleet's latest refusals in a row, or nil if they are not known.
	Row() *Row
	// SeparateUntil returns the time until which requests to the endpoints with the key, a route
	// or a resource, wait in an account of their own: see [OwnKey].
	SeparateUntil(key uint64) time.Duration
	// Separations returns a number that changes whenever more requests have to do so.
	Separations() int
}

// OwnKey returns the key of the account that some endpoints of an account have for themselves.
// endpoint is a route or a resource.
func OwnKey(key string, endpoint uint64) string { return fmt.Sprintf("%s\x00%x", key, endpoint) }

// A Solo is a Pacer that no other process shares, as a [Controller] is by itself. It learns
// at once what happens, so the gate may hold its requests back until a window's stated end.
type Solo interface {
	Pacer
	Acquit(now, pause time.Duration)
	Hasten(at time.Duration)
	Kept(until time.Duration)
	Probes() int
	Statement() (requests int, per time.Duration)
	Trial(now time.Duration) time.Duration
	UsedUp() (next time.Duration, ok bool)
}

// A History describes an account that is throttled for the first time: when its requests
// were accepted, how many requests are in flight, and how long a response took (0: not
// known).
type History struct {
	Now    time.Duration
	Marks  []Mark
	Flying int
	Trip   time.Duration
}

// Close returns a new controller for an account that was first throttled at the end of the
// History. retryAfter is the wait that the service asked for, or 0.
func (h History) Close(retryAfter time.Duration) *Controller {
	return bracket.New(h.Now, slices.Clone(h.Marks), h.Flying, h.Trip, retryAfter)
}

// A Fleet is the group of processes that a gate belongs to.
type Fleet interface {
	// Opened is called when the gate sees a new key. It returns the number of gates that
	// share the account's start window. It also returns the account's Pacer, or nil if
	// the account is not known to have been throttled. Opened is called under the
	// account's lock.
	Opened(key string) (share int, p Pacer)
	// Throttled returns the Pacer of an account that has been throttled for the first
	// time, by a request to the given endpoint. It is called under the account's lock.
	Throttled(key string, h History, retryAfter time.Duration, to Endpoint) Pacer
	// Forgotten ends the use of a key that began with one call to Opened. It is called
	// without the lock of that account, but possibly while another lock of the gate is held, so
	// it must not call the gate. A call may come late, when Opened has already been
	// called again for the same key. A key is therefore in use as long as Opened has been
	// called more often than Forgotten.
	Forgotten(key string)
}

// A Visitor inspects an account under the account's lock: its Pacer (nil if the account is
// not known to have been throttled), the number of waiting requests, and its history. It
// returns the Pacer to use from now on, or nil to keep the current one.
type Visitor func(now time.Duration, p Pacer, backlog int, history func() History) Pacer
