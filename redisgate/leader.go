package redisgate

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/iamhttp/iamhttp/internal/bracket"
	"github.com/iamhttp/iamhttp/internal/fleet"
)

// A leader runs the controller that the fleet has for an account, and gives
// out turns. It is elected by a lease on the server, which it renews; once it
// cannot, it ends, and what it has learned is with the server and with all who
// have asked it.
type leader struct {
	g    *Gate
	name string

	mu      sync.Mutex
	ended   bool
	until   time.Duration // the lease
	heard   time.Duration // the latest report
	told    time.Duration // the latest notice to all
	opening *opening      // not nil: before the end of the first pause
	control *bracket.Controller
	members map[string]*member
	ring    []*member // in the order of their turns
	turns   map[uint64]turn
	last    uint64 // turn
	timer   *time.Timer
	renewal *time.Timer
}

// A member is a process as its leader sees it.
type member struct {
	id      string
	waiting int
	transit []uint64 // turns that it has not confirmed
	heard   time.Duration
}

// A turn that was given and of which no outcome is known.
type turn struct {
	send   bracket.Send
	member *member
	at     time.Duration
}

// confirm notes that turns have arrived.
func (m *member) confirm(ids []uint64) {
	if len(ids) > 1 { // others may say how many
		ids = slices.Sorted(slices.Values(ids))
	}
	m.transit = slices.DeleteFunc(m.transit, func(id uint64) bool {
		_, found := slices.BinarySearch(ids, id)
		return found
	})
}

// wants returns how many turns a member could use now.
func (m *member) wants(now time.Duration) int {
	if now-m.heard > memberFresh {
		return 0
	}
	return max(m.waiting-len(m.transit), 0)
}

// claim makes this process the leader of the account if there is none, and
// tells the account who it is.
func (g *Gate) claim(name, key string, known state) {
	g.mu.Lock()
	busy := g.claims[name]
	g.claims[name] = true
	g.mu.Unlock()
	if busy {
		return
	}
	go func() {
		defer func() {
			g.mu.Lock()
			delete(g.claims, name)
			g.mu.Unlock()
		}()
		if !g.leasing() {
			return
		}
		defer g.leases.Done()
		started := g.now()
		s, err := g.ask(lease{name: name, length: leaseTime, known: known})
		if err != nil || s.Leader == "" {
			return
		}
		if s.Leader == g.id && !g.lead(name, started, s) { // it was closed meanwhile
			g.take(g.ctx, lease{name: name})
			return
		}
		g.noticed(name, s)
		g.visit(key, func(now time.Duration, p fleet.Pacer, backlog int, _ func() fleet.History) fleet.Pacer {
			if l, ok := p.(*link); ok {
				l.waiting = backlog
				l.follow(now, s.Leader)
			}
			return p
		})
	}()
}

// leasing reports whether leases may be asked for. If so, leases has to be told
// when that is done.
func (g *Gate) leasing() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.leaders == nil {
		return false
	}
	g.leases.Add(1)
	return true
}

// lead begins to lead, unless this process does already. It reports whether it
// does, which it does not once it was closed.
func (g *Gate) lead(name string, started time.Duration, s state) bool {
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
		g: g, name: name, until: started + leaseTime, heard: now, told: now,
		members: make(map[string]*member),
		turns:   make(map[uint64]turn),
		last:    rand.Uint64() >> 1, // turns of different leaders are different
	}
	if s.Learned != nil {
		since := now
		if n := g.notes[name]; n.Leader == nobody && s.Pause == 0 { // nobody has sent anything since
			since = n.seen
		}
		l.control = bracket.Resume(since, *s.Learned, since+s.Pause)
	} else {
		l.opening = &opening{at: now, pause: now + max(s.Pause, ownPause)}
	}
	l.renewal = time.AfterFunc(renewLease, l.renew)
	g.leaders[name] = l
	return true
}

// stop ends the leader.
func (l *leader) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end()
}

func (l *leader) end() {
	l.ended = true
	l.renewal.Stop()
	if l.timer != nil {
		l.timer.Stop()
	}
}

func (l *leader) resign() {
	l.stop()
	l.g.mu.Lock()
	defer l.g.mu.Unlock()
	if l.g.leaders[l.name] == l {
		delete(l.g.leaders, l.name)
	}
}

// known is what another leader could go on from.
func (l *leader) known() state {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state(l.g.now())
}

func (l *leader) state(now time.Duration) (s state) {
	s = state{Members: max(len(l.members), 1)}
	if now <= l.until { // else another one leads, or will
		s.Leader = l.g.id
	}
	if l.control == nil {
		s.Pause = max(l.opening.pause-now, 0)
		return s
	}
	s.Pause, s.Probes = max(l.control.Paused()-now, 0), l.control.Probes()
	if k, ok := l.control.Learned(); ok && k.Valid() {
		s.Learned = &k
	}
	return s
}

// renew keeps the lease, or gives it back when nobody has asked for long.
func (l *leader) renew() {
	g := l.g
	if !g.leasing() {
		return
	}
	defer g.leases.Done()
	l.mu.Lock()
	now := g.now()
	ended := l.ended
	s := l.state(now)
	idle := now-l.heard > leaderIdle && s.Pause == 0 && len(l.turns) == 0
	l.forget(now)
	if !ended && now-l.told > retell {
		l.notice(now)
	}
	l.mu.Unlock()
	if ended {
		return
	}
	if !g.usable() && now > l.until {
		l.resign()
		return
	}
	length := leaseTime
	if idle {
		length = 0
		l.resign()
	}
	got, err := g.ask(lease{name: l.name, length: length, known: s, replace: true})
	l.mu.Lock()
	switch {
	case l.ended:
		if idle { // so that the next request does not wait for an answer
			s.Leader = nobody
			g.out.notice(l.name, s)
		}
	case err == nil && got.Leader == g.id:
		l.until = now + leaseTime
		l.renewal.Reset(renewLease)
	case err == nil, g.now() > l.until: // another one leads, or may
		l.mu.Unlock()
		l.resign()
		return
	default: // perhaps on another connection
		l.renewal.Reset(now + renewLease - g.now())
	}
	l.mu.Unlock()
}

// forget drops members that have gone, and gives their turns to the others.
func (l *leader) forget(now time.Duration) {
	for id, m := range l.members {
		if now-m.heard > memberGone {
			delete(l.members, id)
			l.ring = slices.DeleteFunc(l.ring, func(o *member) bool { return o == m })
			l.reclaim(now, m, nil, 0)
		}
	}
}

// left takes it that a process has left the fleet: it gets no more turns. Those
// that it has may be requests on their way, and count as such until forget.
func (l *leader) left(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := l.members[id]; m != nil {
		m.waiting = 0
	}
}

// reclaim takes back what a member was given longer ago than age and does not
// have: the message was lost, or the member.
func (l *leader) reclaim(now time.Duration, m *member, has []uint64, age time.Duration) {
	has = slices.Sorted(slices.Values(has))
	var lost []uint64
	for id, t := range l.turns {
		if t.member != m || now-t.at < age {
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

// handle takes a report.
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
		l.ring = append(l.ring, m)
	}
	m.heard = now
	m.confirm(r.Got)
	if r.History != nil && l.opening != nil {
		l.opening.add(now, r.From, r.History)
	}
	l.outcomes(now, r)
	if r.Waiting > 0 && l.control != nil && l.waiting(now) == 0 {
		l.control.Idle(now)
	}
	m.waiting = r.Waiting
	if r.Stamp != 0 && now <= l.until { // else it is not for this process to answer
		m.confirm(r.Flying)
		l.reclaim(now, m, r.Flying, memberFresh)
		t := &turns{Name: l.name, Stamp: r.Stamp, state: l.state(now)}
		l.g.out.turn(m.id, t)
	}
	l.dispatch(now)
}

// outcomes tells the controller what came of the turns in a report.
func (l *leader) outcomes(now time.Duration, r *report) {
	for _, id := range r.Unsent {
		if t := l.landed(id); t.member != nil {
			l.control.Unsend(t.send)
		}
	}
	for _, id := range r.Accepted {
		l.accepted(now, l.landed(id).send)
	}
	for range r.Others {
		l.accepted(now, bracket.Send{})
	}
	if len(r.Refused) == 0 {
		return
	}
	for _, x := range r.Refused {
		s := l.landed(x.Turn).send
		if l.opening != nil {
			l.opening.refused(now, x.After)
		} else {
			l.control.Refused(now, s, x.After)
		}
	}
	l.notice(now)
}

// notice tells everybody.
func (l *leader) notice(now time.Duration) {
	l.told = now
	l.g.out.notice(l.name, l.state(now))
}

func (l *leader) accepted(now time.Duration, s bracket.Send) {
	if l.opening != nil {
		l.opening.accepted(now)
	} else {
		l.control.Accepted(now, s)
	}
}

func (l *leader) landed(id uint64) turn {
	t := l.turns[id]
	delete(l.turns, id)
	if t.member != nil {
		t.member.confirm([]uint64{id})
	}
	return t
}

// waiting returns how many turns could be used now.
func (l *leader) waiting(now time.Duration) (n int) {
	for _, m := range l.ring {
		n += m.wants(now)
	}
	return n
}

// dispatch gives out the turns that are due.
func (l *leader) dispatch(now time.Duration) {
	if now > l.until {
		return // somebody else may lead; renew decides
	}
	if l.opening != nil {
		if now < l.opening.pause {
			l.wake(l.opening.pause - now)
			return
		}
		l.control, l.opening = l.opening.control(), nil
	}
	given := make(map[*member][]uint64)
	for n := l.waiting(now); n > 0; n-- {
		if at := l.control.Next(now, n); at > now {
			l.wake(at - now)
			break
		}
		m := l.next(now)
		l.last++
		l.turns[l.last] = turn{l.control.Sent(now, n-1), m, now}
		m.transit = append(m.transit, l.last)
		given[m] = append(given[m], l.last)
	}
	for m, ids := range given {
		l.g.out.turn(m.id, &turns{Name: l.name, IDs: ids, state: state{Probes: l.control.Probes()}})
	}
}

// next returns the member whose turn it is; one at least must want it.
func (l *leader) next(now time.Duration) *member {
	i := slices.IndexFunc(l.ring, func(m *member) bool { return m.wants(now) > 0 })
	m := l.ring[i]
	l.ring = append(slices.Delete(l.ring, i, i+1), m)
	return m
}

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

// An opening collects what the processes were allowed before the account was
// throttled, until the pause is over: the controller wants it all at once, and
// each process knows a part.
type opening struct {
	at, pause time.Duration
	asked     time.Duration
	refusals  int
	histories map[string]*history // with times for ages
	events    []event
}

type event struct {
	at      time.Duration
	refused bool
	after   time.Duration
}

func (o *opening) add(now time.Duration, from string, h *history) {
	if o.histories[from] != nil {
		return
	}
	for i := range h.Marks {
		h.Marks[i].At = now - h.Marks[i].At
	}
	o.at = min(o.at, now-h.Age)
	if o.histories == nil {
		o.histories = make(map[string]*history)
	}
	o.histories[from] = h
}

func (o *opening) accepted(now time.Duration) { o.events = append(o.events, event{at: now}) }

func (o *opening) refused(now, after time.Duration) {
	o.asked = max(o.asked, after)
	if o.refusals++; o.refusals > 1 { // the first is what closed the account
		o.events = append(o.events, event{now, true, after})
	}
	o.pause = max(o.pause, now+after)
}

// control returns the controller as if it had seen all that by itself.
func (o *opening) control() *bracket.Controller {
	flying := 0
	for _, h := range o.histories {
		flying += h.Flying
	}
	c := bracket.New(o.at, o.marks(), flying, o.asked)
	for _, e := range o.events {
		if e.refused {
			c.Refused(e.at, bracket.Send{}, e.after)
		} else {
			c.Accepted(e.at, bracket.Send{})
		}
	}
	return c
}

// marks adds the histories up, from the time on that all of them know.
func (o *opening) marks() []bracket.Mark {
	times := make(map[time.Duration]bool)
	from, all := o.at, time.Duration(-1)
	for _, h := range o.histories {
		first := h.Marks[0]
		from = min(from, first.At)
		if first.Accepted > 0 {
			all = max(all, first.At)
		}
		for _, m := range h.Marks {
			times[m.At] = true
		}
	}
	from = max(from, all)
	times[from] = true
	var sum []bracket.Mark
	for _, at := range slices.Sorted(maps.Keys(times)) {
		if at < from {
			continue
		}
		m := bracket.Mark{At: at}
		for _, h := range o.histories {
			i, found := slices.BinarySearchFunc(h.Marks, at, func(m bracket.Mark, at time.Duration) int { return cmp.Compare(m.At, at) })
			if !found {
				i--
			}
			if i >= 0 {
				m.Accepted += h.Marks[i].Accepted
			}
		}
		sum = append(sum, m)
	}
	const most = 64
	for len(sum) > most { // every other one will do
		kept := sum[:0]
		for i, m := range sum {
			if i%2 == 0 || i == len(sum)-1 {
				kept = append(kept, m)
			}
		}
		sum = kept
	}
	return sum
}
