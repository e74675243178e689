package redisgate

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// An outbox holds what this process is about to send. While one batch is on its way,
// the next one is collected, so that fewer messages are sent under load.
//
// While the server is lost, the outbox is muted: it keeps only pauses, because everything
// else would be out of date by the time it could be sent. Once closed, it accepts
// nothing.
type outbox struct {
	wake chan struct{} // a value makes send check the outbox

	mu         sync.Mutex
	muted      bool
	closed     bool
	collecting bool                      // whether ringLater is collecting a batch
	reports    map[string]*report        // pending reports, by account
	turns      map[[2]string]*turns      // pending turns, by account and receiver
	notices    map[string]*pendingNotice // pending notices, by account
}

type pendingNotice struct {
	state
	at time.Time // when Pause was recorded
}

// mute(true) drops everything except pauses in force. Until mute(false) is called, the
// outbox accepts only pauses.
func (o *outbox) mute(muted bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.muted = muted || o.closed
	clear(o.reports)
	clear(o.turns)
	for _, n := range o.notices {
		n.state = state{Pause: n.Pause} // the leader may have changed by the time the notice is sent
	}
	o.expire()
	if !o.muted {
		o.ring()
	}
}

// expire drops the notices without a pause in force, or all notices if the outbox is
// closed.
func (o *outbox) expire() {
	maps.DeleteFunc(o.notices, func(_ string, n *pendingNotice) bool { return o.closed || n.Pause <= time.Since(n.at) })
}

// tidy keeps a muted outbox small.
func (o *outbox) tidy() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.muted {
		o.expire()
	}
}

func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.mute(true)
}

// ring wakes up send.
func (o *outbox) ring() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// ringLater wakes up send when a batch has been collected.
func (o *outbox) ringLater() {
	if !o.collecting { // the caller holds the lock
		o.collecting = true
		time.AfterFunc(batch, func() {
			o.mu.Lock()
			o.collecting = false
			o.mu.Unlock()
			o.ring()
		})
	}
}

// amend changes the pending report of the account, unless the outbox is muted. The result
// is true if the report can be sent: the outbox must not be muted, and the receiver must
// be known.
func (o *outbox) amend(name string, change func(*report)) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.muted {
		return false
	}
	r := o.reports[name]
	if r == nil {
		if o.reports == nil {
			o.reports = make(map[string]*report)
		}
		r = &report{Name: name}
		o.reports[name] = r
	}
	change(r)
	return r.to != ""
}

// forget drops the pending report of the account.
func (o *outbox) forget(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.reports, name)
}

// turn adds t to what will be sent to a process: at once or, if inBatch is true, with
// what ringLater collects. A muted outbox drops t.
func (o *outbox) turn(to string, t *turns, inBatch bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.muted {
		return
	}
	key := [2]string{t.Name, to}
	if old := o.turns[key]; old != nil {
		t.IDs, t.made = append(old.IDs, t.IDs...), append(old.made, t.made...)
		t.Last = max(t.Last, old.Last) // all fields but these come from t, which is newer
		t.Stamp = max(t.Stamp, old.Stamp)
		if len(t.IDs) > len(old.IDs) { // no turns are handed out during a pause, so the pause is over
			old.Pause = 0
		}
		t.Probing = t.Probing || old.Probing
		t.state = old.state.join(t.state)
	} else if o.turns == nil {
		o.turns = make(map[[2]string]*turns)
	}
	o.turns[key] = t
	if inBatch {
		o.ringLater()
	} else {
		o.ring()
	}
}

// notice adds a notice to the messages that will be sent to all processes.
func (o *outbox) notice(name string, s state) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	if o.muted {
		s = state{Pause: s.Pause} // the leader may have changed by the time the notice is sent, as in mute
	}
	n := &pendingNotice{s, time.Now()}
	if old := o.notices[name]; old != nil {
		old.Pause -= time.Since(old.at)
		n.state = old.state.join(s)
	} else if o.notices == nil {
		o.notices = make(map[string]*pendingNotice)
	}
	o.notices[name] = n
	o.ring()
}

// A letter is a message and the channel to which it is sent.
type letter struct {
	to string
	message
}

// empty removes and returns everything that can be sent, but at most limit letters; the rest
// stays in the outbox. pauses holds the pauses in the notices, by account name.
func (o *outbox) empty(g *Gate, limit int) (letters []letter, pauses map[string]time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.muted {
		return nil, nil
	}
	names := slices.SortedFunc(maps.Keys(o.notices), func(a, b string) int {
		return cmp.Compare(len(o.notices[a].Separated), len(o.notices[b].Separated)) // the pause of an own account has to be known when its use begins
	})
	for _, name := range names {
		if len(letters) >= limit {
			o.ring()
			break
		}
		n := o.notices[name]
		delete(o.notices, name)
		n.Pause = max(n.Pause-time.Since(n.at), 0)
		letters = append(letters, letter{g.names.all, message{Notice: &notice{name, n.state}}})
		if pauses == nil {
			pauses = make(map[string]time.Duration)
		}
		pauses[name] = n.Pause
	}
	first := make(map[string]time.Duration) // when the first of the account's pending turns was handed out, by account name
	for key, t := range o.turns {
		for _, at := range t.made {
			if f, ok := first[key[0]]; !ok || at < f {
				first[key[0]] = at
			}
		}
	}
	for key, t := range o.turns {
		if len(letters) >= limit {
			o.ring()
			break
		}
		delete(o.turns, key)
		t.From = g.id
		if len(t.IDs) > 0 {
			t.At = g.now()
		}
		t.space(first[key[0]])
		letters = append(letters, letter{g.names.inbox(key[1]), message{Turns: t}})
	}
	for name, r := range o.reports {
		if r.to == "" {
			continue
		}
		if len(letters) >= limit {
			o.ring()
			break
		}
		r.From, r.Away = g.id, time.Duration(g.distance())
		r.age()
		letters = append(letters, letter{g.names.inbox(r.to), message{Report: r}})
		delete(o.reports, name)
	}
	return letters, pauses
}

// space sets the offsets of the turns, so that the turns in one batch are used as far
// apart as they were handed out, but at most maxOffset after the first. first is the time
// at which the first of the account's turns in the batch was handed out, to any member.
func (t *turns) space(first time.Duration) {
	if !slices.ContainsFunc(t.made, func(at time.Duration) bool { return at > first }) {
		return
	}
	t.Offsets = make([]time.Duration, len(t.made))
	for i, at := range t.made {
		t.Offsets[i] = min(at-first, maxOffset)
	}
}

// dispatch sends a batch. If sending fails, it puts the pauses in the batch that are not
// over yet back into the outbox.
func (g *Gate) dispatch(letters []letter, pauses map[string]time.Duration) {
	began := time.Now()
	if g.timed(func(ctx context.Context) error { return g.publish(ctx, letters, pauses) }) == nil {
		return
	}
	for name, d := range pauses {
		if d -= time.Since(began); d > 0 {
			g.out.notice(name, state{Pause: d})
		}
	}
}

const mostSent = 4 // maximum number of calls to dispatch at the same time

// warm opens connections if few are idle. If the server is far away, send needs several at the
// same time, and what has to wait for a new one arrives two round trips later. A pause must not.
// Half of the client's connections remain free for messages. In a cluster, idle connections to other
// nodes count, too, so there may be too few.
func (g *Gate) warm() {
	n := min(mostSent, poolOf(g.client)/2)
	if g.distance() <= distance(batch) || int(g.client.PoolStats().IdleConns) >= n {
		return
	}
	for range n {
		go func() {
			ctx, cancel := context.WithTimeout(g.ctx, g.distance().tooSlow())
			defer cancel()
			g.client.ZRem(ctx, g.names.members, "") // changes nothing; if it fails, messages open the connection
		}()
	}
}

// send sends what is in the outbox until the gate is closed.
func (g *Gate) send() {
	slots := make(chan struct{}, mostSent)
	for {
		select {
		case <-g.ctx.Done():
			return
		case <-g.out.wake:
		}
		select {
		case <-g.ctx.Done():
			return
		case slots <- struct{}{}:
		}
		// While the server is lost, the outbox is muted, so there are no letters. attend
		// finds out when the server is back.
		letters, pauses := g.out.empty(g, mostLetters)
		if len(letters) == 0 {
			<-slots
			continue
		}
		sent := make(chan struct{})
		go func() {
			defer func() { <-slots }()
			defer close(sent)
			g.dispatch(letters, pauses)
		}()
		select { // the next batch does not wait any longer for a server that is far away
		case <-sent:
		case <-time.After(batch):
		}
	}
}
