package redisgate

import (
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/iamhttp/iamhttp/internal/bracket"
	"github.com/iamhttp/iamhttp/internal/fleet"
)

// A message is what goes through the server; one of its fields is set. All
// times in it are lengths, but for stamps, which only their sender reads.
type message struct {
	Report *report       `json:"r,omitempty"`
	Turns  *turns        `json:"t,omitempty"`
	Notice *notice       `json:"n,omitempty"`
	Echo   time.Duration `json:"e,omitempty"` // a stamp, to the sender itself
	Hello  string        `json:"h,omitempty"` // a process has joined
	Bye    string        `json:"b,omitempty"` // or left
}

// A report goes from a process to the leader of an account.
type report struct {
	Name     string        `json:"n"`
	From     string        `json:"f"`
	Waiting  int           `json:"w,omitempty"` // requests without a turn
	Got      []uint64      `json:"g,omitempty"` // turns that have arrived
	Stamp    time.Duration `json:"s,omitempty"` // not 0: wants an answer
	Flying   []uint64      `json:"l,omitempty"` // with a stamp: turns in use
	Accepted []uint64      `json:"a,omitempty"` // turns, by what came of them
	Unsent   []uint64      `json:"u,omitempty"`
	Refused  []refusal     `json:"x,omitempty"`
	Others   int           `json:"o,omitempty"` // accepted without a turn
	History  *history      `json:"h,omitempty"`

	to string // "": not known yet
}

type refusal struct {
	Turn  uint64        `json:"t,omitempty"`
	After time.Duration `json:"a,omitempty"`
}

// A history is a fleet.History with ages for times.
type history struct {
	Marks  []bracket.Mark `json:"m"`
	Flying int            `json:"f"`
	Age    time.Duration  `json:"a"`
}

func newHistory(h fleet.History, now time.Duration) *history {
	marks := slices.Clone(h.Marks)
	for i := range marks {
		marks[i].At = now - marks[i].At
	}
	return &history{Marks: marks, Flying: h.Flying, Age: now - h.Now}
}

// turns go from the leader of an account to a process.
type turns struct {
	Name  string        `json:"n"`
	From  string        `json:"f"`
	IDs   []uint64      `json:"i,omitempty"`
	Stamp time.Duration `json:"s,omitempty"` // of the report that is answered
	state
}

// A notice of a pause goes to everybody.
type notice struct {
	Name string `json:"n"`
	state
}

// state is what the fleet knows of an account.
type state struct {
	Leader  string           `json:"e,omitempty"`
	Pause   time.Duration    `json:"p,omitempty"` // from now on
	Probes  int              `json:"b,omitempty"`
	Members int              `json:"m,omitempty"` // processes that use the account
	Learned *bracket.Learned `json:"k,omitempty"`
}

// merge takes what is new in s.
func (old state) merge(s state) state {
	old.Pause = s.Pause
	if s.Leader != "" {
		old.Leader, old.Probes = s.Leader, s.Probes
	}
	if s.Members > 0 {
		old.Members = s.Members
	}
	if s.Learned != nil {
		old.Learned = s.Learned
	}
	return old
}

// join is merge of what is said together: the longer pause holds.
func (old state) join(s state) state {
	s.Pause = max(s.Pause, old.Pause)
	return old.merge(s)
}

// What a message may hold at most. Others send it, and the server may be anyone's.
const (
	longestMessage = 1 << 20 // bytes
	mostCounted    = 1 << 16 // of whatever is counted
	mostMarks      = 64
	longestName    = 64
	longestPause   = 24 * time.Hour             // as that of an AdaptiveGate
	longestAge     = 100 * 365 * 24 * time.Hour // of a process
)

// parse reads a message at a time of the process that reads it. Here alone it
// is checked, so that all behind may rely on it: a message that makes no sense
// is dropped, and what is merely too much is cut.
func parse(b []byte, now time.Duration) (m message, ok bool) {
	if len(b) > longestMessage || json.Unmarshal(b, &m) != nil {
		return m, false
	}
	switch {
	case m.Echo != 0:
		ok = m.Echo > 0 && m.Echo <= now
	case m.Turns != nil:
		ok = m.Turns.check(now)
	case m.Report != nil:
		ok = m.Report.check()
	case m.Notice != nil:
		ok = isName(m.Notice.Name) && m.Notice.check()
	case m.Hello != "":
		ok = isID(m.Hello)
	default:
		ok = isID(m.Bye)
	}
	return m, ok
}

func isID(s string) bool { return s != "" && len(s) <= longestName }

func isName(s string) bool { return len(s) == nameLength }

func (r *report) check() bool {
	if !isName(r.Name) || !isID(r.From) || r.Waiting < 0 || r.Stamp < 0 || r.Others < 0 {
		return false
	}
	r.Waiting, r.Others = min(r.Waiting, mostCounted), min(r.Others, mostCounted)
	for i, x := range r.Refused {
		if x.After < 0 {
			return false
		}
		r.Refused[i].After = min(x.After, longestPause)
	}
	if r.History != nil && !r.History.check() {
		r.History = nil // the refusal that it comes with is news all the same
	}
	return true
}

// check puts marks in order that were noted at the same moment.
func (h *history) check() bool {
	if len(h.Marks) == 0 || len(h.Marks) > mostMarks || h.Flying < 0 || h.Age < 0 || h.Age > longestAge {
		return false
	}
	h.Flying = min(h.Flying, mostCounted)
	last := bracket.Mark{At: longestAge}
	for i, m := range h.Marks {
		if m.At < 0 || m.Accepted < 0 || m.Accepted > 1<<53 {
			return false
		}
		last = bracket.Mark{At: min(m.At, last.At), Accepted: max(m.Accepted, last.Accepted)}
		h.Marks[i] = last
	}
	return true
}

func (t *turns) check(now time.Duration) bool {
	return isName(t.Name) && isID(t.From) && t.Stamp >= 0 && t.Stamp <= now && !slices.Contains(t.IDs, 0) && t.state.check()
}

func (s *state) check() bool {
	if len(s.Leader) > longestName || s.Pause < 0 || s.Probes < 0 || s.Members < 0 {
		return false
	}
	s.Pause = min(s.Pause, longestPause)
	s.Probes, s.Members = min(s.Probes, mostCounted), min(s.Members, mostCounted)
	if s.Learned != nil && !s.Learned.Valid() {
		s.Learned = nil // the pause that it comes with may be news
	}
	return true
}

// An outbox holds what is to be sent. While one lot is on its way, the next is
// collected, so that there are fewer messages when there is more to say.
//
// While the server is lost it is muted: of what cannot be sent now only a pause
// would be news later. Once closed it takes nothing any more.
type outbox struct {
	wake chan struct{}

	mu      sync.Mutex
	muted   bool
	closed  bool
	reports map[string]*report        // by account
	turns   map[[2]string]*turns      // by account and receiver
	notices map[string]*pendingNotice // by account
}

type pendingNotice struct {
	state
	at time.Time
}

// mute drops what has not been sent, and what comes until it is called with
// false, all but pauses that last.
func (o *outbox) mute(muted bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.muted = muted || o.closed
	clear(o.reports)
	clear(o.turns)
	for _, n := range o.notices {
		n.state = state{Pause: n.Pause} // who leads is out of date by then
	}
	o.expire()
	if !o.muted {
		o.ring()
	}
}

// expire drops notices of pauses that are over while nothing can be sent.
func (o *outbox) expire() {
	maps.DeleteFunc(o.notices, func(_ string, n *pendingNotice) bool { return o.closed || n.Pause <= time.Since(n.at) })
}

// tidy keeps an outbox small that cannot be emptied.
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

func (o *outbox) ring() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// amend changes what will be reported of the account, and reports whether it
// is known to whom.
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

// forget drops what has not been reported of the account.
func (o *outbox) forget(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.reports, name)
}

func (o *outbox) turn(to string, t *turns) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.muted {
		return
	}
	key := [2]string{t.Name, to}
	if old := o.turns[key]; old != nil {
		t.IDs = append(old.IDs, t.IDs...)
		t.Stamp = max(t.Stamp, old.Stamp)
		if len(t.IDs) > len(old.IDs) { // none are given in a pause
			old.Pause = 0
		}
		probes := t.Probes
		t.state = old.state.join(t.state)
		t.Probes = probes // turns always say
	} else if o.turns == nil {
		o.turns = make(map[[2]string]*turns)
	}
	o.turns[key] = t
	o.ring()
}

func (o *outbox) notice(name string, s state) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	if o.muted {
		s = state{Pause: s.Pause} // as in mute
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

// A letter is a message with its channel.
type letter struct {
	to string
	message
}

// empty takes all that can be sent.
func (o *outbox) empty(g *Gate) (letters []letter, pauses map[string]time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.muted {
		return nil, nil
	}
	for name, n := range o.notices {
		n.Pause = max(n.Pause-time.Since(n.at), 0)
		letters = append(letters, letter{g.names.all, message{Notice: &notice{name, n.state}}})
		if pauses == nil {
			pauses = make(map[string]time.Duration)
		}
		pauses[name] = n.Pause
	}
	clear(o.notices)
	for key, t := range o.turns {
		t.From = g.id
		letters = append(letters, letter{g.names.inbox(key[1]), message{Turns: t}})
	}
	clear(o.turns)
	for name, r := range o.reports {
		if r.to == "" {
			continue
		}
		r.From = g.id
		letters = append(letters, letter{g.names.inbox(r.to), message{Report: r}})
		delete(o.reports, name)
	}
	return letters, pauses
}
