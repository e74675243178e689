package redisgate

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// A link is the pacer of a throttled account in this process. It asks the account's
// leader for turns. If no replies arrive in time, this process is alone, and its own
// controller decides when requests are sent. All fields are guarded by the account's
// lock. All times are durations since the account's origin.
type link struct {
	g         *Gate
	name, key string
	state
	pause   time.Duration   // when the pause ends
	history *fleet1.History // this process's requests before the first 429; nil if the account was throttled before this process used it
	wanted  time.Duration   // Retry-After of the first 429, or what was left of the pause when this process heard of it

	solo *fleet1.Controller // the process's own controller; nil unless this process is alone

	most        float64                  // maximum requests per second of all members together; 0: not known
	sharing     int                      // number of members that share most
	mostAt      time.Duration            // when the leader reported most and sharing
	believed    bool                     // whether the leader believes a limit that the service has stated: nothing has contradicted it so far
	believes    *stated                  // that limit; nil: none, or not known
	stated      stated                   // the latest limit that the service stated to this process
	trip        time.Duration            // time from sending a request to its response, smoothed; 0: not known
	probing     bool                     // whether the next turn is the first one after a pause of the fleet
	turns       []slot                   // turns that have arrived but have not been used yet, ordered by time
	lag         lag                      // when to use turns
	flying      []slot                   // turns of requests in flight
	seen        uint64                   // the highest turns.Last that has arrived from the leader
	all         uint64                   // number of turns that the leader has handed out, to any process, after the latest ones that have arrived here
	share       int                      // one in how many turns this process gets; 0: not known
	waiting     int                      // number of waiting requests, as last reported by the gate, minus those sent since; canceled ones are not subtracted
	lanes       fleet1.Lanes             // the priorities of the waiting requests, as last reported by the gate
	missed      int                      // how many callers have given up, as last reported by the gate
	unreported  int                      // how many of them the next report has to add
	prompt      bool                     // whether the leader needs outcomes at once, because it counts the requests in flight
	row         fleet1.Row               // the latest refusals in a row, as the leader has reported them
	separate    map[uint64]time.Duration // when the use of endpoints' own accounts ends
	separations int                      // number of such uses that have begun
	told        time.Duration            // when question or tell last sent a report
	untold      bool                     // whether any outcomes are waiting for the next report
	stamped     time.Duration            // when the latest question was sent
	reported    fleet1.Lanes             // how many of the waiting requests the leader knows about
	unanswered  time.Duration            // when this process began to wait for a reply; 0: it expects no reply
	asked       time.Duration            // when the oldest unanswered question was sent; 0: no question is unanswered
	timer       *time.Timer
	due         time.Duration // when timer fires; 0: the timer is not set
}

// A slot is a turn and the time at which it is to be used or was used.
type slot struct {
	turn uint64
	at   time.Duration
}

// numbers returns the turn numbers in slots.
func numbers(slots ...slot) []uint64 {
	var n []uint64
	for _, s := range slots {
		n = append(n, s.turn)
	}
	return n
}

// link returns a new link for an account.
func (g *Gate) link(name, key string) *link { return &link{g: g, name: name, key: key} }

// report changes the next report to the leader and, if the report can be sent, causes it
// to be sent soon.
func (l *link) report(change func(*report)) {
	if l.reportLater(change) {
		l.g.out.ring()
	}
}

// reportLater is like report, but for data that can wait: the report is sent with the
// next message. The result is true if the report can be sent. Every report carries the
// number of waiting requests, because a report without that number means that no requests
// wait.
func (l *link) reportLater(change func(*report)) bool {
	return l.g.out.amend(l.name, func(r *report) {
		r.to = l.Leader
		r.wait(l.needed(len(l.turns)))
		r.Missed += l.unreported
		l.unreported = 0
		change(r)
	})
}

// needed returns how many requests of each priority need a turn that this process does
// not hold yet. The turns that it holds go to its most urgent requests.
func (l *link) needed(held int) (need fleet1.Lanes) {
	if l.solo != nil {
		return need
	}
	n := max(l.waiting-held, 0)
	need[0] = min(max(l.lanes[0]-held, 0), n)
	need[2] = min(l.lanes[2], n-need[0])
	need[1] = n - need[0] - need[2]
	return need
}

// Ranked implements fleet1.Shared.
func (l *link) Ranked(waiting fleet1.Lanes, missed int) {
	l.lanes = waiting
	l.unreported += max(missed-l.missed, 0)
	l.missed = missed
}

// Sharing implements fleet1.Shared.
func (l *link) Sharing() int {
	if l.solo != nil {
		return 1
	}
	return max(l.share, 1)
}

// Row implements fleet1.Shared.
func (l *link) Row() *fleet1.Row {
	if l.solo != nil {
		return nil
	}
	return &l.row
}

// SeparateUntil implements fleet1.Shared.
func (l *link) SeparateUntil(endpoint uint64) time.Duration { return l.separate[endpoint] }

// Separations implements fleet1.Shared.
func (l *link) Separations() int { return l.separations }

// separates processes the news that an endpoint has an own account until the given time.
func (l *link) separates(now time.Duration, endpoint uint64, until time.Duration) {
	known := l.separate[endpoint]
	if until <= max(now, known) {
		return
	}
	if known <= now {
		if len(l.separate) >= fleet1.MostOwn {
			maps.DeleteFunc(l.separate, func(_ uint64, until time.Duration) bool { return until <= now })
		}
		if len(l.separate) >= fleet1.MostOwn {
			return
		}
		l.separations++
	}
	if l.separate == nil {
		l.separate = make(map[uint64]time.Duration)
	}
	l.separate[endpoint] = until
}

// known reports whether, as far as the leader knows, this process still has waiting
// requests of its most urgent priority.
func (l *link) known() bool {
	for i, n := range l.lanes {
		if n > 0 {
			return l.reported[i] > 0
		}
	}
	return l.reported != fleet1.Lanes{} // the gate has not reported the priorities yet, or no requests wait
}

// served subtracts n turns from reported, starting with the most urgent requests, because
// they get most turns.
func (l *link) served(n int) {
	for i, m := range l.reported {
		l.reported[i] = max(m-n, 0)
		n = max(n-m, 0)
	}
}

// Next returns the time at which the next request may be sent, or at which the gate has to
// call Next again. If no turn is available, Next asks the leader for turns, but during a
// pause only shortly before its end.
func (l *link) Next(now time.Duration, backlog int) time.Duration {
	l.waiting = backlog
	if now < l.pause {
		// When the pause ends, the leader has to know how many requests are waiting.
		if ask := l.pause - time.Duration(l.g.distance()); l.solo == nil && now < ask {
			return ask
		}
		if l.solo == nil && len(l.turns) == 0 {
			l.ask(now)
		}
		return l.pause
	}
	if l.solo == nil && len(l.turns) == 0 {
		l.ask(now)
	}
	if l.solo != nil {
		l.wake(now, rejoinEvery)
		return l.solo.Next(now, backlog)
	}
	if len(l.turns) == 0 {
		return now + l.g.distance().patience() // or earlier, if a turn arrives
	}
	return max(l.turns[0].at, now)
}

// Sent uses up a turn, unless this process is alone. It does not set waiting to backlog,
// because backlog includes requests that were canceled or refused, which do not use turns.
func (l *link) Sent(now time.Duration, backlog int) fleet1.Send {
	l.waiting = max(l.waiting-1, 0)
	if l.solo != nil {
		return l.solo.Sent(now, backlog)
	}
	turn := l.turns[0].turn
	l.turns, l.probing = l.turns[1:], false
	l.flying = append(l.flying, slot{turn, now})
	l.wake(now, aliveEvery)
	return fleet1.Send{Turn: turn}
}

// Unsend gives the turn back.
func (l *link) Unsend(s fleet1.Send) {
	switch {
	case s.Turn != 0:
		l.landed(s.Turn)
		l.report(func(r *report) { r.Unsent = append(r.Unsent, s.Turn) })
	case l.solo != nil:
		l.solo.Unsend(s)
	}
}

// Accepted reports an accepted request to the leader or, if this process is alone, to its
// own controller.
func (l *link) Accepted(now time.Duration, s fleet1.Send) {
	sent := l.landed(s.Turn)
	if l.solo != nil {
		l.solo.Accepted(now, s)
		return
	}
	if trip := now - sent; sent > 0 && l.trip == 0 {
		l.trip = trip
	} else if sent > 0 {
		l.trip += (trip - l.trip) / 8
	}
	l.outcome(now, func(r *report) {
		if s.Turn != 0 {
			r.Accepted = append(r.Accepted, s.Turn)
			if l.row.N > 0 { // the leader compares endpoints
				r.To = append(r.To, make([]fleet1.Endpoint, len(r.Accepted)-len(r.To))...)
				r.To[len(r.To)-1] = s.To
			}
		} else {
			r.Others++
		}
	})
}

// outcome reports the outcome of a request that was not throttled. The report can wait
// for the next message as long as the leader knows that more requests wait in this
// process, except shortly after a pause.
func (l *link) outcome(now time.Duration, change func(*report)) {
	if l.known() && now > l.pause+settled && !l.prompt {
		l.untold = true
		l.reportLater(change)
		return
	}
	l.report(change)
}

// Unknown reports an outcome that says nothing about the limit. The leader learns only
// that the request is no longer in flight.
func (l *link) Unknown(now time.Duration, s fleet1.Send) {
	l.landed(s.Turn)
	switch {
	case l.solo != nil:
		l.solo.Unknown(now, s)
	case s.Turn != 0:
		l.outcome(now, func(r *report) { r.Unknown = append(r.Unknown, s.Turn) })
	}
}

// Trip returns how long the service takes to respond, or 0 if this process has not
// measured that. The leader's measurements cannot be used, because they include the time
// that messages between the processes take.
func (l *link) Trip() time.Duration {
	if l.solo != nil {
		return l.solo.Trip()
	}
	return l.trip
}

// Refused tells all processes about a pause that is new or ends later than the known one.
// Unless this process is alone, it also tells the leader which turn was throttled. The
// result is true if a new pause begins.
func (l *link) Refused(now time.Duration, s fleet1.Send, retryAfter time.Duration) bool {
	l.landed(s.Turn)
	news := now >= l.pause
	if l.solo != nil {
		news = l.solo.Refused(now, s, retryAfter)
		l.pause = max(l.pause, l.solo.Paused())
	} else {
		l.pause = max(l.pause, now+cmp.Or(retryAfter, defaultPause))
		l.reported = fleet1.Lanes{} // the reported number will be out of date at the end of the pause
		l.report(func(r *report) { r.throttle(throttled{s.Turn, retryAfter, s.To}) })
	}
	if now+retryAfter >= l.pause || news { // the other processes have to know the longest pause
		l.g.out.notice(l.name, state{Pause: retryAfter})
	}
	l.handBack()
	return news
}

// Stated tells the leader the limit that the service stated with the latest refused
// request. A process that is alone tells its own controller instead.
func (l *link) Stated(requests int, per time.Duration) {
	l.stated = stated{requests, per}
	if l.solo != nil {
		l.solo.Stated(requests, per)
		return
	}
	news := l.stated
	l.report(func(r *report) { r.Stated = &news })
}

// Believed reports whether the leader or, if this process is alone, its own controller
// believes the limit that the service stated to this process: nothing has contradicted that
// limit so far. The leader may instead believe one that the service stated to another
// process.
func (l *link) Believed() bool {
	if l.solo != nil {
		requests, per := l.solo.Statement()
		return l.solo.Believed() && l.stated == stated{requests, per}
	}
	return l.believed && (l.believes == nil || *l.believes == l.stated)
}

// landed removes a turn from those in flight. It returns when the turn was used, or 0
// if the turn was not in flight.
func (l *link) landed(turn uint64) (at time.Duration) {
	if i := slices.IndexFunc(l.flying, func(s slot) bool { return s.turn == turn }); i >= 0 {
		at = l.flying[i].at
		l.flying = slices.Delete(l.flying, i, i+1)
	}
	return at
}

// forgetKnown removes from t the turns that this process already holds, because the
// leader's client may have sent a message twice.
func (l *link) forgetKnown(t *turns) {
	for i, id := range slices.Backward(t.IDs) {
		known := func(s slot) bool { return s.turn == id }
		if !slices.ContainsFunc(l.turns, known) && !slices.ContainsFunc(l.flying, known) {
			continue
		}
		t.IDs = slices.Delete(t.IDs, i, i+1)
		if t.Offsets != nil {
			t.Offsets = slices.Delete(t.Offsets, i, i+1)
		}
	}
}

// handBack gives back all turns that have not been used.
func (l *link) handBack() {
	if len(l.turns) == 0 {
		return
	}
	unused := numbers(l.turns...)
	l.turns, l.probing = nil, false
	l.report(func(r *report) { r.Unsent = append(r.Unsent, unused...) })
}

// spare gives back the turns that exceed the number of waiting requests.
func (l *link) spare() {
	if l.waiting >= len(l.turns) {
		return
	}
	spare := numbers(l.turns[l.waiting:]...)
	l.turns = slices.Clone(l.turns[:l.waiting])
	l.report(func(r *report) { r.Unsent = append(r.Unsent, spare...) })
}

// Idle matters only to a process that is alone: in a fleet, the leader itself notices
// when no requests wait.
func (l *link) Idle(now time.Duration) {
	if l.solo != nil {
		l.solo.Idle(now)
	}
}

// Pause extends the pause if this process is alone. The gate calls Pause so that
// processes that do not know about each other do not resume at the same moment. In a
// fleet, the leader prevents that.
func (l *link) Pause(until time.Duration) {
	if l.solo != nil {
		l.solo.Pause(until)
		l.pause = max(l.pause, until)
	}
}

// Paused returns the end of the pause.
func (l *link) Paused() time.Duration { return l.pause }

// Pace returns how many requests per second are sent while requests wait, by the whole
// fleet or, if this process is alone, by this process. In a fleet that has not found its
// pace, Pace returns 0.
func (l *link) Pace() float64 {
	switch {
	case l.solo != nil:
		return l.solo.Pace()
	case l.Learned != nil:
		return l.Learned.Pace
	}
	return 0
}

// Probing reports whether the next request is the first one after a pause.
func (l *link) Probing() bool {
	if l.solo != nil {
		return l.solo.Probing()
	}
	return l.probing
}

// Silence returns the length of the latest silence that the service required, or 0 if it
// is not known.
func (l *link) Silence() time.Duration {
	switch {
	case l.solo != nil:
		return l.solo.Silence()
	case l.Learned != nil:
		return time.Duration(l.Learned.Silence * float64(time.Second))
	}
	return 0
}

// Earliest returns the time before which a request cannot be sent. ahead is the number of
// requests that have to be sent before it. The result is the later of two times: the end of
// the pause, and the earliest time at which enough turns for them can have arrived. Other
// processes also get some of the turns. If the fleet's maximum rate is not known, or was
// last reported more than leaderIdle ago, only the pause counts.
func (l *link) Earliest(now time.Duration, ahead int) time.Duration {
	switch {
	case l.solo != nil:
		return max(l.solo.Earliest(now, ahead), l.pause)
	case l.most == 0 || now-l.mostAt > leaderIdle:
		return l.pause
	}
	const most = 24 * time.Hour // avoids an overflow of the sum
	pace := l.most
	if now-l.mostAt <= 2*askAgain { // later, the other members may no longer want turns
		pace /= float64(max(l.sharing, 1))
	}
	wait := min(float64(max(ahead-len(l.turns), 0))/pace, most.Seconds())
	return max(l.pause, now+time.Duration(wait*float64(time.Second)))
}

// ask makes sure that the leader knows how many requests wait here. It looks for a leader
// if there is none, and goes alone if the server is lost.
func (l *link) ask(now time.Duration) {
	if !l.g.usable() {
		l.goAlone(now)
		return
	}
	switch {
	case l.Leader == "":
		l.question(now)
		return
	case l.waiting > 0 && l.known(): // the leader knows that requests wait here
		l.reportLater(func(*report) {})
	default:
		l.reported = l.needed(0)
		l.report(func(*report) {})
	}
	if l.waiting > 0 {
		l.await(now)
	} else {
		l.wake(now, askAgain)
	}
}

// await schedules tick for the time at which to ask again or to go alone.
func (l *link) await(now time.Duration) {
	if l.unanswered == 0 {
		l.unanswered = now
	}
	l.wake(now, max(min(askAgain, l.unanswered+l.g.distance().patience()-now), 0))
}

// question asks the leader for a reply, or looks for a leader if there is none.
func (l *link) question(now time.Duration) {
	l.await(now)
	if l.Leader == "" {
		l.g.claim(l.name, l.key, state{Pause: min(max(l.pause-now, 0), maxPause), Members: l.Members, Learned: l.knowledge()})
		return
	}
	l.reported, l.asked = l.needed(0), cmp.Or(l.asked, now)
	l.told, l.stamped, l.untold = now, now, false
	l.report(func(r *report) {
		r.Stamp, r.Seen = l.g.now(), l.seen
		r.Flying = numbers(slices.Concat(l.turns, l.flying)...)
	})
}

// knowledge returns the knowledge that this process would start with if it became the
// leader.
func (l *link) knowledge() *fleet1.Learned {
	if l.Learned == nil && l.solo != nil {
		if k, ok := l.solo.Learned(); ok {
			if k = k.Scale(float64(max(l.Members, 1))); k.Valid() {
				return &k
			}
		}
	}
	return l.Learned
}

// wake schedules tick for d from now, unless tick is due earlier.
func (l *link) wake(now, d time.Duration) {
	if l.due != 0 && l.due <= now+d {
		return
	}
	l.due = now + d
	if l.timer == nil {
		l.timer = time.AfterFunc(d, func() {
			l.g.visit(l.key, func(now time.Duration, p fleet1.Pacer, backlog int, _ func() fleet1.History) fleet1.Pacer {
				if p == fleet1.Pacer(l) { // otherwise the account was forgotten, and p belongs to its successor
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

// tick asks the leader again or sends it outcomes, if either is due, or goes alone if
// there has been no reply for too long. If this process is already alone, tick tries to
// rejoin the fleet.
func (l *link) tick(now time.Duration) {
	l.spare()
	since := cmp.Or(l.unanswered, now)
	switch {
	case l.solo != nil:
		if l.waiting == 0 && len(l.flying) == 0 {
			return // the next request will try to rejoin
		}
		// Rejoining takes three round trips, which may be longer than the interval
		// between ticks.
		if usable := l.g.usable(); l.asked == 0 || now-l.asked > l.g.distance().turn() || !usable {
			l.Leader, l.unanswered, l.asked = "", 0, 0
			if usable {
				l.question(now)
			}
		}
		l.due = 0
		l.wake(now, rejoinEvery)
	case now < l.pause && l.waiting > 0:
		l.unanswered, l.asked = 0, 0
		l.wake(now, l.pause-now+askAgain)
	case l.unanswered != 0 && now-l.unanswered >= l.g.distance().patience():
		l.goAlone(now)
		l.g.attendNow() // finds out whether this process still receives messages
	case l.waiting > 0 && l.known() && now < since+askAgain && now < l.stamped+memberGone:
		// No reply is overdue, so all is well.
		if now-l.told >= tellEvery {
			l.tell(now)
		}
		l.wake(now, min(since+askAgain, l.told+tellEvery)-now)
	case l.waiting > 0:
		l.question(now)
	case len(l.flying) > 0:
		l.question(now)
		l.due = 0
		l.wake(now, aliveEvery)
	default:
		l.unanswered, l.asked = 0, 0
		if l.untold {
			l.tell(now)
		}
	}
}

// tell sends the leader the outcomes that have not been sent yet.
func (l *link) tell(now time.Duration) {
	l.told, l.untold = now, false
	l.reported = l.needed(0)
	l.report(func(*report) {})
}

// goAlone gives this process its own controller, which starts with what is known so far.
func (l *link) goAlone(now time.Duration) {
	if l.solo != nil {
		return
	}
	switch {
	case l.Learned != nil:
		l.solo = fleet1.Resume(now, l.Learned.Scale(1/float64(max(l.Members, 1))), l.pause)
	case l.history != nil:
		l.solo = l.history.Close(l.wanted)
		l.solo.Pause(l.pause)
	default:
		// The pause that a new controller begins with is already over, unless the known
		// pause lasts longer.
		h := fleet1.History{Now: now - defaultPause, Marks: []fleet1.Mark{{At: now - defaultPause}}}
		l.solo = h.Close(max(l.pause-h.Now, 0))
	}
	l.pause = max(l.pause, l.solo.Paused())
	l.turns, l.probing, l.reported, l.Leader = nil, false, fleet1.Lanes{}, ""
	l.unanswered, l.asked = 0, 0
	l.g.out.forget(l.name)
	l.due = 0
	l.wake(now, rejoinEvery)
}

// follow accepts the process with the given ID as the leader, or records that there is no
// leader if the ID is nobody. A new leader does not count as a reply: requests keep
// waiting, and the time that they have already waited still counts.
func (l *link) follow(now time.Duration, id string) {
	if id == l.Leader || id == "" {
		return
	}
	l.Leader = id
	if id == nobody {
		l.Leader = ""
	}
	l.turns, l.probing, l.asked, l.seen, l.most, l.lag = nil, false, 0, 0, 0, lag{}
	l.row, l.prompt, l.share, l.all, l.unreported = fleet1.Row{}, false, 0, 0, 0
	l.reported = l.needed(0)
	l.report(func(r *report) {
		if l.history != nil && l.Learned == nil {
			r.History = newHistory(*l.history, now)
		}
	})
	if l.solo != nil || l.waiting > 0 || len(l.flying) > 0 {
		l.question(now)
	}
}

// learn adopts this process's note about the account. now and at are the same moment:
// now in the account's time, at in the gate's time.
func (l *link) learn(now time.Duration, n note, at time.Duration) {
	leader := l.Leader
	l.state = l.merge(n.state)
	l.Leader = leader
	for endpoint, u := range n.separated {
		l.separates(now, endpoint, now+u.Until-at)
	}
	if until := now + n.paused - at; until > max(l.pause, now) {
		l.pause, l.reported = until, fleet1.Lanes{}
		l.handBack()
		if l.untold { // the leader uses the outcomes to find the reason for the pause
			l.tell(now)
		}
		if l.solo != nil {
			l.solo.Pause(until)
		}
	}
	if l.solo == nil {
		l.follow(now, n.Leader)
	}
}

// granted processes a message from an account's leader, which may contain turns.
func (g *Gate) granted(t *turns) {
	g.heard(t.From, t.Away)
	g.mu.Lock()
	u, used := g.keys[t.Name]
	took, away := g.now()-t.Stamp, g.distance()
	late := t.Stamp > 0 && took > away.turn()+slack
	g.mu.Unlock()
	if !used {
		return
	}
	g.visit(u.key, func(now time.Duration, p fleet1.Pacer, backlog int, _ func() fleet1.History) fleet1.Pacer {
		l, ok := p.(*link)
		if !ok || t.From != l.Leader {
			return p // t probably comes from an earlier leader, whose turns no longer count
		}
		l.waiting = backlog
		l.forgetKnown(t)
		l.reportLater(func(r *report) {
			r.Got = append(r.Got, t.IDs...)
			r.wait(l.needed(len(l.turns) + len(t.IDs)))
		})
		if l.seen > 0 && t.Last > l.seen {
			l.all += min(t.Last-l.seen, maxCount)
		}
		if n := uint64(len(t.IDs)); n > 0 {
			l.share, l.all = int(max(min(l.all/n, maxCount), 1)), 0
		}
		l.seen = max(l.seen, t.Last)
		l.most, l.sharing, l.mostAt = t.Most, t.Sharing, now
		l.believed, l.believes = t.Believed, t.Stated
		if t.Stamp > 0 {
			l.asked = 0
		}
		if !late { // turns without a stamp do not show their age, so an open question remains unanswered
			l.unanswered = l.asked
		}
		t.Leader = "" // the leader is in From, which was checked above
		l.prompt = t.Prompt
		l.row = *cmp.Or(t.Row, new(fleet1.Row))
		g.separated(t.Name, t.Separated)
		for _, s := range t.Separated {
			l.separates(now, s.Endpoint, now+s.Left)
		}
		t.Separated = nil
		l.state = l.merge(t.state)
		if until := now + away.left(t.Pause); until > max(l.pause, now) {
			l.pause, l.reported = until, fleet1.Lanes{}
		}
		switch {
		case late && l.solo == nil:
			l.goAlone(now)
		case l.solo != nil && t.Stamp > 0 && took <= away.turn() && g.usable():
			l.pause = max(l.pause, l.solo.Paused())
			l.solo, l.reported = nil, fleet1.Lanes{}
		}
		ready := max(now, l.pause)
		if t.At > 0 && len(t.IDs) > 0 && !t.Probing {
			ready = max(ready, t.At+l.lag.after(now, now-t.At))
		}
		for i, id := range t.IDs {
			at := ready
			if t.Offsets != nil {
				at += t.Offsets[i]
			}
			l.turns = append(l.turns, slot{id, at})
		}
		slices.SortStableFunc(l.turns, func(a, b slot) int { return cmp.Compare(a.at, b.at) })
		// Turns that arrive long before the end of the pause were handed out before the
		// leader knew about the pause. Turns that arrive shortly before its end are
		// valid: the pause ends later here, because the news of the pause took time to
		// arrive.
		if l.solo != nil || now < l.pause-max(askAgain/10, time.Duration(away)/2) {
			l.handBack()
			// Otherwise, a leader that does not know about the pause would hand them out again at once.
			l.reported = fleet1.Lanes{}
			l.reportLater(func(r *report) { r.wait(fleet1.Lanes{}) })
			return l
		}
		l.probing = l.probing || t.Probing
		l.served(len(t.IDs))
		l.spare()
		return l
	})
}
