package redisgate

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// A leader runs the fleet's only controller for an account, and hands out turns. A
// process becomes the leader by acquiring a lease on the server, which it then renews. A
// leader that cannot renew its lease stops leading, but what it has learned remains on
// the server and with the processes that have received its messages.
type leader struct {
	g    *Gate
	name string
	key  string

	mu      sync.Mutex
	ended   bool
	began   time.Duration // when the process became the leader
	until   time.Duration // end of the lease
	heard   time.Duration // when the latest report arrived
	noticed time.Duration // when the latest notice to all processes was sent
	waited  time.Duration // when requests last had to wait for the pace
	opening *opening      // if nothing had been learned when the leader began, non-nil until the pause is over; control is nil until then
	control *fleet1.Controller
	members map[string]*member
	rings   [lanes][]*member // for each priority, the members in rotation; the next turn goes to the first member that wants one
	turned  int              // number of callers that have given up since a turn was last handed out
	missed  int              // number of such callers until then, since the first turn after the latest pause, as in package gate
	passed  [lanes]int       // how many turns other priorities got since each priority last got one or had no waiting requests
	turns   map[uint64]turn
	others  int    // number of requests in flight that were sent before there were turns; some may have ended without a report
	last    uint64 // the number of the latest turn
	timer   *time.Timer
	renewal *time.Timer
	endpoints
}

// A member is a process as its leader sees it.
type member struct {
	id          string
	waiting     fleet1.Lanes
	unconfirmed []given       // turns that the member has not confirmed yet
	pending     fleet1.Lanes  // number of unconfirmed turns for each priority
	heard       time.Duration // when the member's latest report arrived
	away        distance      // the member's distance to the server; 0: not known
	left        bool          // whether the member has left the fleet
}

// lanes is the number of priorities.
const lanes = len(fleet1.Lanes{})

// A given is the number of a turn, and the priority that it was given to.
type given struct {
	id   uint64
	lane int
}

// A turn is the leader's record of a turn that was handed out and whose outcome is not
// known yet.
type turn struct {
	send   fleet1.Send
	member *member
	at     time.Duration
}

// confirm records that turns are no longer on their way to the member.
func (m *member) confirm(ids []uint64) {
	if len(ids) > 1 { // the IDs come from another process, and need not be sorted
		ids = slices.Sorted(slices.Values(ids))
	}
	m.unconfirmed = slices.DeleteFunc(m.unconfirmed, func(g given) bool {
		_, found := slices.BinarySearch(ids, g.id)
		if found {
			m.pending[g.lane]--
		}
		return found
	})
}

// give records that a turn for a request of that priority is on its way to the member.
func (m *member) give(id uint64, lane int) {
	m.unconfirmed = append(m.unconfirmed, given{id, lane})
	m.pending[lane]++
}

// wants returns how many turns the member could use now, for each priority.
func (m *member) wants(now time.Duration) (wants fleet1.Lanes) {
	if now-m.heard > memberFresh {
		return wants
	}
	spare := 0 // turns beyond the waiting requests of their priority, which the member gives to its most urgent requests
	for i, n := range m.pending {
		wants[i] = max(m.waiting[i]-n, 0)
		spare += max(n-m.waiting[i], 0)
	}
	for i, n := range wants {
		wants[i] = max(n-spare, 0)
		spare = max(spare-n, 0)
	}
	return wants
}

// lead makes this process lead the account, unless it already does. It returns false if
// the gate is closed. The lease ends at until.
func (g *Gate) lead(name, key string, until time.Duration, s state) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.leaders == nil {
		return false
	}
	if g.leaders[name] != nil {
		return true
	}
	now := g.now()
	l := &leader{
		g: g, name: name, key: key, began: now, until: until, heard: now, noticed: now,
		members: make(map[string]*member),
		turns:   make(map[uint64]turn),
		last:    rand.Uint64() >> 1, // so that different leaders hand out different turn numbers
	}
	l.endpoints = resume(g.notes[name].separated)
	if s.Learned != nil {
		since := now
		if n := g.notes[name]; n.Leader == nobody && s.Pause == 0 { // nothing has been sent since the leader left
			since = n.seen
		}
		l.control = fleet1.Resume(since, *s.Learned, since+s.Pause)
		l.control.Late = true
	} else {
		l.opening = &opening{at: now, pause: now + max(s.Pause, defaultPause, time.Duration(3*g.distance()))} // the histories may take three round trips to arrive
	}
	l.renewal = time.AfterFunc(renewLease, l.renew)
	g.leaders[name] = l
	return true
}

// stop makes the leader stop leading.
func (l *leader) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end()
}

// end implements stop. The caller must hold the lock.
func (l *leader) end() {
	l.ended = true
	l.renewal.Stop()
	if l.timer != nil {
		l.timer.Stop()
	}
}

// resign stops the leader and removes it from the gate.
func (l *leader) resign() {
	l.stop()
	l.g.mu.Lock()
	defer l.g.mu.Unlock()
	if l.g.leaders[l.name] == l {
		delete(l.g.leaders, l.name)
	}
}

// tooFar reports whether another process that uses the account is so much nearer to the
// server that it should lead. Members expect turns within a time that depends on their own
// distance, so the leader must not be much farther away than any of them.
func (l *leader) tooFar(now time.Duration) bool {
	if l.control == nil || now-l.began < minLead {
		return false
	}
	for _, m := range l.members {
		if m.away > 0 && now-m.heard <= memberFresh && l.g.distance() > m.away.farther() {
			return true
		}
	}
	return false
}

// known returns the knowledge that another leader needs in order to take over.
func (l *leader) known() state {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state(l.g.now())
}

// state implements known. The caller must hold the lock.
func (l *leader) state(now time.Duration) (s state) {
	s = state{Members: max(len(l.members), 1), Separated: l.separated(now)}
	if now <= l.until { // otherwise another process may be the leader
		s.Leader, s.Away = l.g.id, time.Duration(l.g.distance())
	}
	s.Pause = max(l.paused()-now, 0)
	if l.control == nil {
		return s
	}
	if k, ok := l.control.Learned(); ok && k.Valid() {
		s.Learned = &k
	}
	return s
}

// paused returns the end of the pause.
func (l *leader) paused() time.Duration {
	if l.control == nil {
		return l.opening.pause
	}
	return l.control.Paused()
}

// forget removes members that are gone, and takes back their turns. During a pause, a member with
// waiting requests sends no reports, although others may be in flight.
func (l *leader) forget(now time.Duration) {
	until := make(map[*member]time.Duration)
	for _, t := range l.turns {
		if !t.member.left {
			until[t.member] = l.paused()
		}
	}
	for id, m := range l.members {
		if now-max(m.heard, until[m]) > memberGone {
			delete(l.members, id)
			for i, r := range l.rings {
				l.rings[i] = slices.DeleteFunc(r, func(o *member) bool { return o == m })
			}
			l.reclaim(now, m, nil, math.MaxUint64, 0)
		}
	}
}

// left records that a process has left the fleet, so that the process gets no more
// turns. The turns that the process holds may belong to requests in flight, and count
// as in flight until forget takes them back.
func (l *leader) left(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := l.members[id]; m != nil {
		m.waiting, m.left = fleet1.Lanes{}, true
	}
}

// reclaim takes back turns that were handed out to a member but that the member does not
// hold, because the message with the turns was lost or the member is gone. It considers
// only turns that are at least as old as age, and only turns up to last, because messages
// with later turns may still be on their way.
func (l *leader) reclaim(now time.Duration, m *member, has []uint64, last uint64, age time.Duration) {
	has = slices.Sorted(slices.Values(has))
	var lost []uint64
	for id, t := range l.turns {
		if t.member != m || id > last || now-t.at < age {
			continue
		}
		if _, found := slices.BinarySearch(has, id); !found {
			delete(l.turns, id)
			l.control.Unsend(t.send)
			lost = append(lost, id)
		}
	}
	m.confirm(lost)
}

// handle processes a member's report.
func (l *leader) handle(r *report) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	now := l.g.now()
	l.heard = now
	m := l.members[r.From]
	if m == nil {
		m = &member{id: r.From}
		l.members[r.From] = m
		for i, r := range l.rings {
			l.rings[i] = append(r, m)
		}
	}
	m.heard, m.away = now, distance(r.Away)
	m.confirm(r.Got)
	if r.History != nil && l.opening != nil {
		l.opening.add(now, r.From, r.History)
	}
	l.outcomes(now, m, r)
	waited := l.waiting(now)
	if r.Waiting > 0 && l.control != nil && waited.Sum() == 0 {
		l.control.Idle(now)
	}
	for i, n := range waited {
		if n == 0 {
			l.passed[i] = 0
		}
	}
	m.waiting = r.lanes()
	l.turned = min(l.turned+r.Missed, maxCount)
	if r.Stamp != 0 && now <= l.until { // otherwise another process may be the leader, and has to reply
		m.confirm(r.Flying)
		l.reclaim(now, m, r.Flying, r.Seen, memberFresh)
		t := &turns{Name: l.name, Stamp: r.Stamp, Last: l.last, Most: l.most(now), Sharing: l.sharing(now, m), Believed: l.believed() != nil, Stated: l.believed(), Row: l.row(), Prompt: l.prompt(now), state: l.state(now)}
		l.g.out.turn(m.id, t, false)
	}
	l.dispatch(now)
}

// outcomes passes the outcomes in a member's report on to the controller or the opening.
func (l *leader) outcomes(now time.Duration, m *member, r *report) {
	for _, id := range r.Unsent {
		if t := l.landed(id); t.member != nil {
			l.control.Unsend(t.send)
		}
	}
	for _, id := range r.Unknown {
		if t := l.landed(id); t.member != nil {
			l.control.Unknown(now, t.send)
		}
	}
	for i, id := range r.Accepted {
		var to fleet1.Endpoint
		if i < len(r.To) {
			to = r.To[i]
		}
		l.accepted(now, l.landed(id).send, to)
	}
	l.others = max(l.others-r.Others, 0)
	for range r.Others {
		l.accepted(now, fleet1.Send{}, fleet1.Endpoint{})
	}
	for _, x := range r.Throttled {
		s := l.landed(x.Turn).send
		if x.Turn == 0 {
			l.others = max(l.others-1, 0)
		}
		x.After = l.g.distance().left(x.After)
		switch {
		case l.opening != nil:
			l.opening.throttled(now, x.After)
			l.refused(now, m, x.To, l.opening.throttles == 1)
		case l.own(now, x.To) != 0: // the sender did not know that yet
			l.control.Unknown(now, s)
			l.pauseOwn(l.own(now, x.To), x.After)
		default:
			l.refused(now, m, x.To, l.control.Refused(now, s, x.After))
		}
	}
	switch { // the stated limit may arrive one report later than its 429
	case r.Stated == nil:
	case l.opening != nil:
		l.opening.stated = r.Stated
	default:
		l.control.Stated(r.Stated.Requests, r.Stated.Per)
	}
	if len(r.Throttled) > 0 {
		l.notice(now)
	}
}

// notice sends a notice to all processes.
func (l *leader) notice(now time.Duration) {
	s := l.state(now)
	s.Waited = l.waited > l.noticed
	l.noticed = now
	l.g.out.notice(l.name, s)
}

func (l *leader) accepted(now time.Duration, s fleet1.Send, to fleet1.Endpoint) {
	if l.opening != nil {
		l.opening.accepted(now)
	} else {
		l.control.Accepted(now, s)
	}
	if to != (fleet1.Endpoint{}) && l.suspects.Any() {
		l.heed(now, l.suspects.Accepted(now, to))
	}
}

// landed removes and returns a turn whose outcome is known. It returns the zero turn if
// there is no such turn.
func (l *leader) landed(id uint64) turn {
	t := l.turns[id]
	delete(l.turns, id)
	if t.member != nil {
		t.member.confirm([]uint64{id})
	}
	return t
}

// waiting returns how many turns the members could use now, for each priority.
func (l *leader) waiting(now time.Duration) (n fleet1.Lanes) {
	for _, m := range l.members {
		for i, wants := range m.wants(now) {
			n[i] += wants
		}
	}
	return n
}

// most returns the maximum rate in requests per second, or 0 if it is not known.
func (l *leader) most(now time.Duration) float64 {
	if l.control == nil || l.control.Windowed() { // a window's requests are sent at once
		return 0
	}
	const many = 1 << 20 // requests; with this many, a burst does not matter
	if long := l.control.Earliest(now, many) - max(l.control.Paused(), now); long > 0 {
		return many / long.Seconds()
	}
	if k, ok := l.control.Learned(); ok && k.Hi > 0 { // Earliest gives no bound, but the pace rises slowly
		return 2 * max(k.Hi, k.Pace)
	}
	return 0
}

// sharing estimates how many members, including m, will want turns for as long as m
// does. Members that want at most half as many turns soon leave the rest to m, and so do
// members whose requests are less urgent.
func (l *leader) sharing(now time.Duration, m *member) (n int) {
	own, least := m.wants(now), 0
	for least < lanes-1 && own[least] == 0 {
		least++
	}
	for _, o := range l.members {
		rivals, wants := 0, o.wants(now)
		for _, n := range wants[:least+1] {
			rivals += n
		}
		if o == m || rivals > own.Sum()/2 {
			n++
		}
	}
	return n
}

// prompt reports whether members have to report outcomes at once, so that the number of requests
// in flight is exact: the controller limits it, or suspects that the service does, and a refusal
// soon after the pause may show that. Late reports of many members add up to a large number, which
// proves nothing.
func (l *leader) prompt(now time.Duration) bool {
	const each = 4 // requests per member from which a suspicion counts
	return l.control != nil && (l.control.Capped() || now < l.control.Paused()+suspicious && l.control.Suspected() >= each*max(len(l.members), 1))
}

// believed returns the stated limit that the controller believes, which does not mean that
// the controller already uses it. It returns nil if there is no such limit.
func (l *leader) believed() *stated {
	if l.control == nil || !l.control.Believed() {
		return nil
	}
	requests, per := l.control.Statement()
	return &stated{requests, per}
}

// dispatch hands out the turns that are due and, if members want more, schedules its next
// call.
func (l *leader) dispatch(now time.Duration) {
	if now > l.until {
		return // another process may be the leader; renew finds out
	}
	if l.opening != nil {
		if now < l.opening.pause {
			l.wake(l.opening.pause - now)
			return
		}
		l.control, l.opening = l.opening.control(), nil
		l.others = l.control.InFlight()
	}
	if now-l.began > mostOpen {
		l.others = 0
	}
	l.control.SetInFlight(len(l.turns) + l.others)
	given := make(map[*member]*turns)
	for n := l.waiting(now).Sum(); n > 0; n-- {
		if at := l.control.Next(now, n+l.missed+l.turned); at > now {
			l.waited = now
			l.wake(at - now)
			break
		}
		m, lane := l.next(now)
		t := given[m]
		if t == nil {
			t = &turns{Name: l.name, Most: l.most(now), Sharing: l.sharing(now, m), Believed: l.believed() != nil, Stated: l.believed(), Row: l.row(), Prompt: l.prompt(now)}
			given[m] = t
		}
		t.Probing = t.Probing || l.control.Probing()
		l.missed = min(l.missed+l.turned, maxCount)
		if l.control.Probing() {
			l.missed = 0
		}
		l.last++
		l.turns[l.last] = turn{l.control.Sent(now, n-1+l.turned), m, now}
		l.turned = 0
		m.give(l.last, lane)
		t.IDs, t.made, t.Last = append(t.IDs, l.last), append(t.made, now), l.last
	}
	// While many requests wait, sending turns in batches does not lower the rate.
	many := len(given) > 0 && float64(l.waiting(now).Sum()) > 2*batch.Seconds()*l.control.Pace()
	for m, t := range given {
		l.g.out.turn(m.id, t, many && !t.Probing)
	}
}

// mostPassed is the number of consecutive turns that may go to other priorities before a
// priority with waiting requests is due, as in package gate. If two priorities are due,
// the more urgent one is first.
const mostPassed = 9

// next returns the member that gets the next turn, and the priority of the request that
// the turn is meant for. At least one member must want a turn.
func (l *leader) next(now time.Duration) (m *member, lane int) {
	lane = -1
	waiting := l.waiting(now)
	for i, n := range waiting {
		if n > 0 && (lane < 0 || l.passed[i] >= mostPassed && l.passed[lane] < mostPassed) {
			lane = i
		}
		l.passed[i]++
	}
	l.passed[lane] = 0
	ring := l.rings[lane]
	i := slices.IndexFunc(ring, func(m *member) bool { return m.wants(now)[lane] > 0 })
	if l.yields(ring[i]) {
		other := slices.IndexFunc(ring, func(m *member) bool { return m.wants(now)[lane] > 0 && !slices.Contains(l.refusals.members, m.id) })
		if other >= 0 {
			i = other
			l.refusals.left--
		}
	}
	m = ring[i]
	l.rings[lane] = append(slices.Delete(ring, i, i+1), m)
	return m, lane
}

// wake schedules a call to dispatch after d.
func (l *leader) wake(d time.Duration) {
	if l.timer != nil {
		l.timer.Reset(d)
		return
	}
	l.timer = time.AfterFunc(d, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if !l.ended {
			l.dispatch(l.g.now())
		}
	})
}
