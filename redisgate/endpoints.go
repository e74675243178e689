package redisgate

import (
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// The endpoints of an account are what its leader knows about them. If the requests to one are
// refused and the others are accepted, all processes give it an own account for a while, as
// gate.Adaptive does. To the server and to the other processes, that is an account like any
// other. All fields are guarded by the leader's lock.
type endpoints struct {
	suspects fleet1.Suspects
	owns     map[uint64]*ownAccount // by route or resource
	pauses   int                    // number of pauses since this process became the leader
	refusals refusals
}

// Refusals are the latest refusals in a row that were all those of a few members.
type refusals struct {
	members []string // IDs, at most mostMembers
	n       int
	left    int // number of turns of these members that others may still get before the next refusal
}

const (
	mostMembers = 3  // as many as there are routes in a row in package suspect
	mostGiven   = 64 // maximum number of turns that members lose because of a refusal, so that each gets its share if all have the same limit
	leastRow    = 3  // number of refusals in a row, on a few routes, from which members yield
)

func (r *refusals) add(m *member) {
	if !slices.Contains(r.members, m.id) {
		if len(r.members) == mostMembers {
			*r = refusals{}
		}
		r.members = append(r.members, m.id)
	}
	r.n++
	r.left = mostGiven
}

// row returns the refusals in a row, or nil if there are none. In their queues, all processes let
// other requests go first.
func (e *endpoints) row() *fleet1.Row {
	if !e.suspects.Any() {
		return nil
	}
	r := *e.suspects.Row()
	return &r
}

// yields reports whether a member with the next turn lets those go first whose requests were
// not refused lately, because there is some evidence against an endpoint, or there would soon be.
// As in package gate, its chance is one in two, or, after several refusals in a row, one in 3, 5,
// 9 or 17.
func (e *endpoints) yields(m *member) bool {
	r, row := &e.refusals, e.suspects.Row()
	return row.N >= leastRow && row.Unsettled && r.left > 0 && slices.Contains(r.members, m.id) && rand.IntN(1+row.Ahead(r.n)) != 0
}

// An ownAccount is the own account of an endpoint.
type ownAccount struct {
	fleet1.Use
	began  time.Duration // when the use began or was last prolonged
	pauses int           // endpoints.pauses then
}

// resume returns what a new leader knows about endpoints.
func resume(known map[uint64]fleet1.Use) endpoints {
	e := endpoints{owns: make(map[uint64]*ownAccount)}
	for key, u := range known {
		e.owns[key] = &ownAccount{Use: u, began: u.Until - u.Span}
	}
	return e
}

// separated returns the endpoints whose own accounts are in use.
func (e *endpoints) separated(now time.Duration) (all []separated) {
	for key, o := range e.owns {
		if left := o.Until - now; left > 0 {
			all = append(all, separated{key, left, o.Span})
		}
	}
	return all
}

// own returns the key of the own account that is in use for an endpoint, or 0.
func (e *endpoints) own(now time.Duration, to fleet1.Endpoint) uint64 {
	for _, key := range to.Keys() {
		if o := e.owns[key]; o != nil && o.Until > now {
			return key
		}
	}
	return 0
}

// refused records that a member's request to an endpoint was refused, and whether that began a
// pause.
func (l *leader) refused(now time.Duration, m *member, to fleet1.Endpoint, begins bool) {
	if !begins {
		l.suspects.RefusedToo(now, to)
		return
	}
	if l.owns[to.Route] == nil && l.owns[to.Resource] == nil {
		l.pauses++
	}
	l.refusals.add(m)
	if to != (fleet1.Endpoint{}) {
		l.heed(now, l.suspects.Refused(now, to))
	}
}

// heed does what follows from the outcomes.
func (l *leader) heed(now time.Duration, v fleet1.Verdict) {
	if l.control == nil {
		return
	}
	if v.Own {
		l.suspects.Reset()
		l.refusals = refusals{}
		l.separate(now, v)
	}
	if v.Acquit {
		l.control.Acquit(now, l.control.Paused())
	}
}

// separate gives an endpoint an own account.
func (l *leader) separate(now time.Duration, v fleet1.Verdict) {
	maps.DeleteFunc(l.owns, func(_ uint64, o *ownAccount) bool { return o.Over(now) })
	o := l.owns[v.Key]
	switch {
	case o != nil:
	case len(l.owns) < fleet1.MostOwn:
		o = new(ownAccount)
		l.owns[v.Key] = o
	default:
		return
	}
	o.Begin(now, now-v.Since)                 // it may take as long again until a request to the endpoint is refused
	o.began, o.pauses = now+settled, l.pauses // the pause that is announced below proves nothing
	if v.Acquit {
		for _, other := range l.owns { // what was refused lately does not count as others
			other.pauses = l.pauses
		}
	}
	// The pause was due to the endpoint. The others wait, too, because no process forgets a pause.
	l.pauseOwn(v.Key, max(l.control.Paused()-now, time.Millisecond))
	l.notice(now)
}

// pauseOwn tells all processes that an own account is paused.
func (l *leader) pauseOwn(key uint64, pause time.Duration) {
	l.g.out.notice(l.ownName(key), state{Pause: pause})
}

// ownName returns the name of an own account.
func (l *leader) ownName(key uint64) string { return l.g.names.of(fleet1.OwnKey(l.key, key)) }

// prolong prolongs the use of own accounts whose requests were refused or had to wait, if no
// request of the leader's account was refused in the meantime.
func (l *leader) prolong(now time.Duration) {
	proven := false
	for key, o := range l.owns {
		left := o.Until - now
		if left <= 0 || left > 2*renewPaused || o.pauses != l.pauses {
			continue
		}
		l.g.mu.Lock()
		limited := l.g.notes[l.ownName(key)].limited
		l.g.mu.Unlock()
		if limited > o.began {
			o.Prolong(now, 0)
			o.began, proven = now, true
		}
	}
	if proven {
		l.notice(now)
	}
}
