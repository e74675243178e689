package redisgate

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// A message is what a process sends to others, or to itself, through the server. Exactly
// one of its fields is set. All times in a message are durations, except stamps, which
// only their sender interprets, and turns.At, of which receivers use only the differences.
type message struct {
	Report *report       `json:"r,omitempty"`
	Turns  *turns        `json:"t,omitempty"`
	Notice *notice       `json:"n,omitempty"`
	Echo   time.Duration `json:"e,omitempty"` // a stamp that a process sends to itself
	Hello  string        `json:"h,omitempty"` // the ID of a process that has joined
	Bye    string        `json:"b,omitempty"` // the ID of a process that has left
}

// A report is sent by a process to an account's leader.
type report struct {
	Name      string            `json:"n"`
	From      string            `json:"f"`
	Waiting   int               `json:"w,omitempty"` // number of requests that need a turn
	Urgent    int               `json:"i,omitempty"` // how many of them are gate.Interactive
	Bulk      int               `json:"b,omitempty"` // how many of them are gate.Bulk
	Got       []uint64          `json:"g,omitempty"` // turns that have arrived at the sender
	Stamp     time.Duration     `json:"s,omitempty"` // the time of the report, by the sender's clock, if the sender wants a reply
	Flying    []uint64          `json:"l,omitempty"` // all turns that the sender holds; only set with Stamp
	Seen      uint64            `json:"e,omitempty"` // the highest turns.Last that has arrived from the leader; only set with Stamp
	Accepted  []uint64          `json:"a,omitempty"` // turns of requests that were accepted
	To        []fleet1.Endpoint `json:"t,omitempty"` // the endpoints of these requests; those missing at the end are not known
	Unsent    []uint64          `json:"u,omitempty"` // turns that were not used
	Unknown   []uint64          `json:"y,omitempty"` // turns of requests whose outcome says nothing about the limit
	Throttled []throttled       `json:"x,omitempty"`
	Missed    int               `json:"m,omitempty"` // number of callers that have given up since the previous report
	Others    int               `json:"o,omitempty"` // number of accepted requests that had no turn
	Stated    *stated           `json:"d,omitempty"` // the limit that the service stated with a 429
	History   *history          `json:"h,omitempty"`
	Away      time.Duration     `json:"z,omitempty"` // distance from the sender to the server; 0: not known

	to string      // ID of the leader; "": not known
	at []time.Time // when each element of Throttled was recorded
}

// lanes returns how many requests of each priority need a turn. Requests from a version
// that reports no priorities all count as gate.Normal.
func (r *report) lanes() fleet1.Lanes {
	return fleet1.Lanes{r.Urgent, r.Waiting - r.Urgent - r.Bulk, r.Bulk}
}

// wait sets how many requests of each priority need a turn.
func (r *report) wait(l fleet1.Lanes) {
	r.Waiting, r.Urgent, r.Bulk = l.Sum(), l[0], l[2]
}

func (r *report) throttle(x throttled) {
	r.Throttled, r.at = append(r.Throttled, x), append(r.at, time.Now())
}

// age reduces each Retry-After to what is left of it, but not to 0, because 0 means that
// the service sent no Retry-After.
func (r *report) age() {
	for i, at := range r.at {
		x := &r.Throttled[i]
		x.After = max(x.After-time.Since(at), min(x.After, 1))
	}
}

// throttled is a request that was throttled.
type throttled struct {
	Turn  uint64          `json:"t,omitempty"`
	After time.Duration   `json:"a,omitempty"`
	To    fleet1.Endpoint `json:"e,omitzero"`
}

// stated is a limit that the service has stated.
type stated struct {
	Requests int           `json:"n"`
	Per      time.Duration `json:"p"`
}

// sane returns s, or nil if its values make no sense.
func (s *stated) sane() *stated {
	if s != nil && (s.Requests <= 0 || s.Per <= 0) {
		return nil
	}
	return s
}

// A history is a fleet1.History that holds ages instead of times.
type history struct {
	Marks  []fleet1.Mark `json:"m"`
	Flying int           `json:"f"`
	Age    time.Duration `json:"a"`
	Trip   time.Duration `json:"t,omitempty"` // 0: not known
}

func newHistory(h fleet1.History, now time.Duration) *history {
	marks := slices.Clone(h.Marks)
	for i := range marks {
		marks[i].At = now - marks[i].At
	}
	return &history{Marks: marks, Flying: h.Flying, Age: now - h.Now, Trip: h.Trip}
}

// turns is a message in which an account's leader hands out turns to a process, replies
// to its report, or both.
type turns struct {
	Name     string          `json:"n"`
	From     string          `json:"f"`
	IDs      []uint64        `json:"i,omitempty"`
	Offsets  []time.Duration `json:"o,omitempty"` // how much later than the first turn of the batch each turn is to be used; nil: no later
	At       time.Duration   `json:"a,omitempty"` // when the leader sent the turns, by its own clock; 0: not known, or there are no turns
	Last     uint64          `json:"l,omitempty"` // the latest turn that the leader had handed out to any process when it made this message
	Stamp    time.Duration   `json:"s,omitempty"` // the stamp of the report that this message replies to; 0: the message is not a reply
	Most     float64         `json:"v,omitempty"` // maximum requests per second of all members together; 0: not known
	Sharing  int             `json:"h,omitempty"` // about how many members, including the receiver, share Most
	Believed bool            `json:"c,omitempty"` // whether the leader believes a limit that the service has stated
	Stated   *stated         `json:"d,omitempty"` // that limit; nil: none, or not known
	Probing  bool            `json:"b,omitempty"` // whether the first of these turns is the first one after a pause
	Prompt   bool            `json:"z,omitempty"` // whether outcomes have to be reported at once, because the number of requests in flight may be limited
	Row      *fleet1.Row     `json:"y,omitempty"` // the latest refusals in a row; if it is not nil, the leader has to know the endpoints of accepted requests
	state

	made []time.Duration // when each turn was handed out
}

// A notice is sent to all processes: when an account is throttled, when its leader
// leaves, and occasionally while the account is in use.
type notice struct {
	Name string `json:"n"`
	state
}

// A state is what the fleet knows about an account.
type state struct {
	Leader    string          `json:"e,omitempty"`
	Away      time.Duration   `json:"w,omitempty"` // distance from the leader to the server; 0: not known
	Pause     time.Duration   `json:"p,omitempty"` // time left until the pause ends
	Members   int             `json:"m,omitempty"` // number of processes that use the account
	Learned   *fleet1.Learned `json:"k,omitempty"`
	Waited    bool            `json:"q,omitempty"` // in a notice: whether requests had to wait for the pace since the previous one
	Separated []separated     `json:"x,omitempty"` // the endpoints that have their own accounts; nil: none, or not known
}

// A separated endpoint has its own account: see fleet1.OwnKey.
type separated struct {
	Endpoint uint64        `json:"r"` // a route or a resource
	Left     time.Duration `json:"l"` // time left until the use of that account ends
	Span     time.Duration `json:"s"` // see fleet1.Use
}

// merge returns s, changed by those fields of update that are set. Pause is always taken from
// update, and Away is taken from the same state as Leader.
func (s *state) merge(update state) state {
	if update.Leader == "" {
		update.Leader, update.Away = s.Leader, s.Away
	}
	update.Members = cmp.Or(update.Members, s.Members)
	update.Learned = cmp.Or(update.Learned, s.Learned)
	if update.Separated == nil {
		update.Separated = s.Separated
	}
	return update
}

// join merges two states that are sent together, and keeps the longer pause and Waited.
func (s *state) join(update state) state {
	update.Pause = max(update.Pause, s.Pause)
	update.Waited = update.Waited || s.Waited
	return s.merge(update)
}

// These constants limit what a message may contain, because the server may be
// untrustworthy.
const (
	maxMessage = 1 << 20 // largest message, in bytes
	maxCount   = 1 << 16 // largest value of Waiting, Missed, Others, Sharing, Members and history.Flying
	maxMarks   = 128     // largest number of marks in a history; a gate sends at most 66
	maxName    = 64      // longest ID, in bytes
	maxOffset  = 10 * time.Second
	maxPause   = 24 * time.Hour             // longest pause, as in package gate
	maxAge     = 100 * 365 * 24 * time.Hour // largest age in a history, and largest turns.At
)

// parse reads a message that arrived at the time now. If the message makes no sense, parse
// rejects it or, in some cases, drops only the part that makes no sense. It lowers some
// values that are merely too large. The code that processes a message relies on these checks.
func parse(b []byte, now time.Duration) (m message, ok bool) {
	if len(b) > maxMessage || json.Unmarshal(b, &m) != nil {
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

func isID(s string) bool { return s != "" && len(s) <= maxName }

func isName(s string) bool { return len(s) == nameLength }

func (r *report) check() bool {
	if !isName(r.Name) || !isID(r.From) || r.Waiting < 0 || r.Urgent < 0 || r.Bulk < 0 || r.Away < 0 || r.Stamp < 0 || r.Missed < 0 || r.Others < 0 {
		return false
	}
	r.Waiting, r.Missed, r.Others = min(r.Waiting, maxCount), min(r.Missed, maxCount), min(r.Others, maxCount)
	r.Urgent = min(r.Urgent, r.Waiting)
	r.Bulk = min(r.Bulk, r.Waiting-r.Urgent)
	if len(r.To) > len(r.Accepted) {
		r.To = nil
	}
	for i, x := range r.Throttled {
		if x.After < 0 {
			return false
		}
		r.Throttled[i].After = min(x.After, maxPause)
	}
	r.Stated = r.Stated.sane()
	if r.History != nil && !r.History.check() {
		r.History = nil // the 429 in the same report is still news
	}
	return true
}

// check also makes the marks monotonic, because marks that were taken at almost the same
// moment may be out of order.
func (h *history) check() bool {
	if len(h.Marks) == 0 || len(h.Marks) > maxMarks || h.Flying < 0 || h.Age < 0 || h.Age > maxAge || h.Trip < 0 || h.Trip > maxAge {
		return false
	}
	h.Flying = min(h.Flying, maxCount)
	last := fleet1.Mark{At: maxAge}
	for i, m := range h.Marks {
		if m.At < 0 || m.Accepted < 0 || m.Accepted > 1<<53 {
			return false
		}
		last = fleet1.Mark{At: min(m.At, last.At), Accepted: max(m.Accepted, last.Accepted)}
		h.Marks[i] = last
	}
	return true
}

func (t *turns) check(now time.Duration) bool {
	if len(t.Offsets) != len(t.IDs) || slices.ContainsFunc(t.Offsets, func(d time.Duration) bool { return d < 0 || d > maxOffset }) {
		t.Offsets = nil
	}
	t.Stated = t.Stated.sane()
	t.Sharing = min(t.Sharing, maxCount)
	if t.At < 0 || t.At > maxAge {
		t.At = 0
	}
	if r := t.Row; r != nil && (len(r.Routes) > fleet1.MostRoutes || r.N <= 0 || r.Same <= 0) {
		t.Row = nil
	}
	return isName(t.Name) && isID(t.From) && t.Most >= 0 && t.Sharing >= 0 && t.Stamp >= 0 && t.Stamp <= now && !slices.Contains(t.IDs, 0) && t.state.check()
}

func (s *state) check() bool {
	if len(s.Leader) > maxName || s.Away < 0 || s.Pause < 0 || s.Members < 0 {
		return false
	}
	s.Pause = min(s.Pause, maxPause)
	s.Members = min(s.Members, maxCount)
	if s.Learned != nil && !s.Learned.Valid() {
		s.Learned = nil // the pause in the same state may be news
	}
	s.Separated = slices.DeleteFunc(s.Separated, func(a separated) bool {
		return a.Endpoint == 0 || a.Left <= 0 || a.Left > fleet1.MostSpan || a.Span <= 0 || a.Span > fleet1.MostSpan
	})
	s.Separated = s.Separated[:min(len(s.Separated), fleet1.MostOwn)]
	return true
}

// nobody is the value of state.Leader after the account's leader has left.
const nobody = "-"
