package redisgate

import (
	"cmp"
	"slices"
	"time"

	"github.com/iamhttp/iamhttp/internal/bracket"
	"github.com/iamhttp/iamhttp/internal/fleet"
)

// A link is what decides over a throttled account in this process: its leader,
// which is asked for turns, or, while there are no answers, a controller here.
// Everything in it is under the account's lock and counts the account's time.
type link struct {
	g         *Gate
	name, key string
	state
	pause   time.Duration
	history *fleet.History // nil: the account was throttled before it was used here
	wanted  time.Duration  // Retry-After of the first refusal

	solo *bracket.Controller // nil: in the fleet

	turns   []uint64      // to be used
	flying  []uint64      // in use
	waiting int           // when it was last heard of: who gives up does not say so
	told    int           // of those waiting, the leader knows that many
	silent  time.Duration // since then the fleet owes an answer; 0: it does not
	asked   time.Duration // the oldest question of which that is true; 0: none
	timer   *time.Timer
	due     time.Duration // when it fires; 0: it is not set
}

func (g *Gate) link(name, key string) *link { return &link{g: g, name: name, key: key} }

// tell changes what will be reported to the leader.
func (l *link) tell(change func(*report)) {
	if l.amend(change) {
		l.g.out.ring()
	}
}

// amend is tell without a hurry: it goes with what is sent next. It reports
// whether it could go. Each report says how many requests wait, as one that does
// not says that there are none.
func (l *link) amend(change func(*report)) bool {
	return l.g.out.amend(l.name, func(r *report) {
		r.to = l.Leader
		r.Waiting = 0
		if l.solo == nil {
			r.Waiting = max(l.waiting-len(l.turns), 0)
		}
		change(r)
	})
}

// Next gives out the turns that have come, and asks for more.
func (l *link) Next(now time.Duration, backlog int) time.Duration {
	l.waiting = backlog
	if now < l.pause {
		return l.pause
	}
	if l.solo == nil && len(l.turns) == 0 {
		l.ask(now)
	}
	if l.solo != nil {
		l.wake(now, tryAgain)
		return l.solo.Next(now, backlog)
	}
	if len(l.turns) == 0 {
		return now + patience // a turn may come before
	}
	return now
}

// Sent uses a turn.
func (l *link) Sent(now time.Duration, backlog int) bracket.Send {
	l.waiting = backlog
	if l.solo != nil {
		return l.solo.Sent(now, backlog)
	}
	turn := l.turns[0]
	l.turns = l.turns[1:]
	l.flying = append(l.flying, turn)
	l.wake(now, staysAlive)
	return bracket.Send{Turn: turn}
}

// Unsend gives a turn back.
func (l *link) Unsend(s bracket.Send) {
	switch {
	case s.Turn != 0:
		l.landed(s.Turn)
		l.tell(func(r *report) { r.Unsent = append(r.Unsent, s.Turn) })
	case l.solo != nil:
		l.solo.Unsend(s)
	}
}

// Accepted reports the outcome to the leader.
func (l *link) Accepted(now time.Duration, s bracket.Send) {
	l.landed(s.Turn)
	if l.solo != nil {
		l.solo.Accepted(now, s)
		return
	}
	l.tell(func(r *report) {
		if s.Turn != 0 {
			r.Accepted = append(r.Accepted, s.Turn)
		} else {
			r.Others++
		}
	})
}

// Refused tells everybody of the pause, and the leader whose turn it was.
func (l *link) Refused(now time.Duration, s bracket.Send, retryAfter time.Duration) bool {
	l.landed(s.Turn)
	news := now >= l.pause
	if l.solo != nil {
		news = l.solo.Refused(now, s, retryAfter)
		l.pause = max(l.pause, l.solo.Paused())
	} else {
		l.pause = max(l.pause, now+cmp.Or(retryAfter, ownPause))
		l.told = 0 // by the end of the pause it is out of date
		l.tell(func(r *report) { r.Refused = append(r.Refused, refusal{s.Turn, retryAfter}) })
	}
	if now+retryAfter >= l.pause || news { // the others know of the longest one
		l.g.out.notice(l.name, state{Pause: retryAfter})
	}
	l.handBack()
	return news
}

func (l *link) landed(turn uint64) {
	if i := slices.Index(l.flying, turn); i >= 0 {
		l.flying = slices.Delete(l.flying, i, i+1)
	}
}

// handBack returns the turns that were not used before a pause.
func (l *link) handBack() {
	if len(l.turns) == 0 {
		return
	}
	unused := l.turns
	l.turns = nil
	l.tell(func(r *report) { r.Unsent = append(r.Unsent, unused...) })
}

// spare returns the turns of those who waited and have gone.
func (l *link) spare() {
	if l.waiting >= len(l.turns) {
		return
	}
	spare := l.turns[l.waiting:]
	l.turns = slices.Clone(l.turns[:l.waiting])
	l.tell(func(r *report) { r.Unsent = append(r.Unsent, spare...) })
}

// Idle has nothing to do: the leader knows when nobody waits.
func (l *link) Idle(now time.Duration) {
	if l.solo != nil {
		l.solo.Idle(now)
	}
}

// Pause is for the gates of processes that know nothing of each other, which
// are kept from coming back together.
func (l *link) Pause(until time.Duration) {
	if l.solo != nil {
		l.solo.Pause(until)
		l.pause = max(l.pause, until)
	}
}

// Paused returns the end of the pause.
func (l *link) Paused() time.Duration { return l.pause }

// Probes returns how many pauses in a row have ended in a refusal.
func (l *link) Probes() int {
	if l.solo != nil {
		return l.solo.Probes()
	}
	return l.state.Probes
}

// Probing reports whether the next request is one on which much depends.
func (l *link) Probing() bool {
	if l.solo != nil {
		return l.solo.Probing()
	}
	return l.state.Probes > 0
}

// Silence returns the latest pause as it was felt.
func (l *link) Silence() time.Duration {
	switch {
	case l.solo != nil:
		return l.solo.Silence()
	case l.Learned != nil:
		return time.Duration(l.Learned.Silence * float64(time.Second))
	}
	return 0
}

// Earliest returns the time before which a request certainly cannot leave.
// Nothing is certain but the pause: all turns of the fleet could come here.
func (l *link) Earliest(now time.Duration, ahead int) time.Duration {
	if l.solo != nil {
		return max(l.solo.Earliest(now, ahead), l.pause)
	}
	return l.pause
}

// ask sees to it that the leader knows how many requests wait here.
func (l *link) ask(now time.Duration) {
	if !l.g.usable() {
		l.goAlone(now)
		return
	}
	switch {
	case l.Leader == "":
		l.question(now)
		return
	case l.waiting > 0 && l.told > 0: // it has something to go on with
		l.amend(func(*report) {})
	default:
		l.told = l.waiting
		l.tell(func(*report) {})
	}
	if l.waiting > 0 {
		l.await(now)
	} else {
		l.wake(now, askAgain)
	}
}

// await makes tick be called when it is time to ask again, or to go alone.
func (l *link) await(now time.Duration) {
	if l.silent == 0 {
		l.silent = now
	}
	l.wake(now, max(min(askAgain, l.silent+patience-now), 0))
}

// question makes the leader answer; if there is none it looks for one.
func (l *link) question(now time.Duration) {
	l.await(now)
	if l.Leader == "" {
		l.g.claim(l.name, l.key, state{Pause: min(max(l.pause-now, 0), longestPause), Members: l.Members, Learned: l.knowledge()})
		return
	}
	l.told, l.asked = l.waiting, cmp.Or(l.asked, now)
	l.tell(func(r *report) {
		r.Stamp, r.Flying = l.g.now(), slices.Concat(l.turns, l.flying)
	})
	if l.solo != nil {
		l.told = 0
	}
}

// knowledge is what this process would lead with.
func (l *link) knowledge() *bracket.Learned {
	if l.Learned == nil && l.solo != nil {
		if k, ok := l.solo.Learned(); ok {
			if k = k.Scale(float64(max(l.Members, 1))); k.Valid() {
				return &k
			}
		}
	}
	return l.Learned
}

// wake makes tick be called after d at the latest.
func (l *link) wake(now, d time.Duration) {
	if l.due != 0 && l.due <= now+d {
		return
	}
	l.due = now + d
	if l.timer == nil {
		l.timer = time.AfterFunc(d, func() {
			l.g.visit(l.key, func(now time.Duration, p fleet.Pacer, backlog int, _ func() fleet.History) fleet.Pacer {
				if p == fleet.Pacer(l) { // else the account is another one
					l.waiting, l.due = backlog, 0
					l.tick(now)
				}
				return p
			})
		})
		return
	}
	l.timer.Reset(d)
}

// tick gives up waiting for the leader, or asks it again.
func (l *link) tick(now time.Duration) {
	l.spare()
	switch {
	case l.solo != nil:
		if l.waiting == 0 && len(l.flying) == 0 {
			return // who comes next will try
		}
		l.Leader = ""
		if l.silent, l.asked = 0, 0; l.g.usable() {
			l.question(now)
		}
		l.due = 0
		l.wake(now, tryAgain)
	case now < l.pause && l.waiting > 0:
		l.silent, l.asked = 0, 0
		l.wake(now, l.pause-now+askAgain)
	case l.silent != 0 && now-l.silent >= patience:
		l.goAlone(now)
	case l.waiting > 0:
		l.question(now)
	case len(l.flying) > 0:
		l.question(now)
		l.due = 0
		l.wake(now, staysAlive)
	default:
		l.silent, l.asked = 0, 0
	}
}

// goAlone makes a controller here decide, with what is known.
func (l *link) goAlone(now time.Duration) {
	if l.solo != nil {
		return
	}
	switch {
	case l.Learned != nil:
		l.solo = bracket.Resume(now, l.Learned.Scale(1/float64(max(l.Members, 1))), l.pause)
	case l.history != nil:
		l.solo = l.history.Close(l.wanted)
		l.solo.Pause(l.pause)
	default:
		// The pause that it would begin with has been waited for already.
		h := fleet.History{Now: now - ownPause, Marks: []bracket.Mark{{At: now - ownPause}}}
		l.solo = h.Close(max(l.pause-h.Now, 0))
	}
	l.pause = max(l.pause, l.solo.Paused())
	l.turns, l.told, l.Leader = nil, 0, ""
	l.silent, l.asked = 0, 0
	l.g.out.forget(l.name)
	l.due = 0
	l.wake(now, tryAgain)
}

// follow makes the process with that id the leader. Who waits has waited
// already: it is no answer.
func (l *link) follow(now time.Duration, id string) {
	if id == l.Leader || id == "" {
		return
	}
	l.Leader = id
	if id == nobody {
		l.Leader = ""
	}
	l.turns, l.asked = nil, 0
	l.told = l.waiting
	l.tell(func(r *report) {
		if l.history != nil && l.Learned == nil {
			r.History = newHistory(*l.history, now)
		}
	})
	if l.solo != nil || l.waiting > 0 || len(l.flying) > 0 {
		l.question(now)
	}
}

// learn takes what is known of the account in this process.
func (l *link) learn(now time.Duration, n note, at time.Duration) {
	leader := l.Leader
	l.state = l.merge(n.state)
	l.Leader = leader
	if until := now + n.paused - at; until > max(l.pause, now) {
		l.pause, l.told = until, 0
		l.handBack()
		if l.solo != nil {
			l.solo.Pause(until)
		}
	}
	if l.solo == nil {
		l.follow(now, n.Leader)
	}
}

// noticed takes what somebody, or the server, says of an account.
func (g *Gate) noticed(name string, s state) {
	g.mu.Lock()
	n := g.notes[name]
	n.state = n.merge(s)
	n.seen = g.now()
	n.paused = max(n.paused, n.seen+s.Pause)
	g.notes[name] = n
	u, used := g.keys[name]
	g.mu.Unlock()
	if !used {
		return
	}
	g.visit(u.key, func(now time.Duration, p fleet.Pacer, backlog int, history func() fleet.History) fleet.Pacer {
		l, ok := p.(*link)
		if !ok {
			l = g.link(name, u.key)
			l.waiting = backlog
			h := history()
			l.history, l.wanted = &h, s.Pause
			l.learn(now, n, n.seen)
			l.ask(now)
			return l
		}
		l.waiting = backlog
		l.learn(now, n, n.seen)
		return l
	})
}

// granted takes turns from a leader.
func (g *Gate) granted(t *turns) {
	g.mu.Lock()
	u, used := g.keys[t.Name]
	late := t.Stamp > 0 && g.now()-t.Stamp > tooSlow
	g.mu.Unlock()
	if !used {
		return
	}
	g.visit(u.key, func(now time.Duration, p fleet.Pacer, backlog int, _ func() fleet.History) fleet.Pacer {
		l, ok := p.(*link)
		if !ok || t.From != l.Leader {
			return p // of a leader that was; its turns are counted no more
		}
		l.waiting = backlog
		l.amend(func(r *report) {
			r.Got = append(r.Got, t.IDs...)
			r.Waiting = max(r.Waiting-len(t.IDs), 0)
		})
		if t.Stamp > 0 {
			l.asked = 0
		}
		if !late { // turns alone do not tell how old they are: a question is still open
			l.silent = l.asked
		}
		t.Leader = "" // as From
		probes := t.Probes
		l.state = l.merge(t.state)
		l.state.Probes = probes
		if until := now + t.Pause; until > max(l.pause, now) {
			l.pause, l.told = until, 0
		}
		switch {
		case late && l.solo == nil:
			l.goAlone(now)
		case l.solo != nil && t.Stamp > 0 && !late && g.usable():
			l.pause = max(l.pause, l.solo.Paused())
			l.solo, l.told = nil, 0
		}
		if l.solo != nil || now < l.pause-askAgain/10 {
			l.turns = append(l.turns, t.IDs...)
			l.handBack()
			return l
		}
		l.turns = append(l.turns, t.IDs...)
		l.told -= len(t.IDs)
		l.spare()
		return l
	})
}
