package gate

import (
	"hash/maphash"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// An endpoint is what a request is sent to. The zero value stands for an unknown endpoint.
type endpoint struct {
	route    uint64 // hash of the method and of the path without what looks like an ID
	resource uint64 // hash of the method and of the path
}

var endpointSeed = maphash.MakeSeed()

// endpoint returns the endpoint to which the request is sent.
func (r Request) endpoint() endpoint {
	if r.Method == "" && r.Path == "" {
		return endpoint{}
	}
	var h maphash.Hash
	h.SetSeed(endpointSeed)
	for segment := range strings.SplitSeq(r.Path, "/") {
		h.WriteByte('/')
		writeRoute(&h, segment)
	}
	h.WriteString(r.Method)
	e := endpoint{route: h.Sum64()}
	h.Reset()
	h.WriteString(r.Path)
	h.WriteByte(' ') // so that the two hashes of a request differ
	h.WriteString(r.Method)
	e.resource = h.Sum64()
	return e
}

// longID is the length from which a path segment with a digit counts as an ID.
const longID = 16

// writeRoute writes a path segment to h, but replaces an ID by "*". An ID contains a digit, and
// is long or consists of hexadecimal digits and hyphens. In other segments, such as v3, each
// number is replaced by "#".
func writeRoute(h *maphash.Hash, segment string) {
	const digits = "0123456789"
	i := strings.IndexAny(segment, digits)
	if i >= 0 && (len(segment) >= longID || strings.Trim(segment, digits+"abcdefABCDEF-") == "") {
		h.WriteByte('*')
		return
	}
	for ; i >= 0; i = strings.IndexAny(segment, digits) {
		h.WriteString(segment[:i])
		h.WriteByte('#')
		segment = strings.TrimLeft(segment[i:], digits)
	}
	h.WriteString(segment)
}

// keys returns the hashes under which the endpoint can be a suspect.
func (e endpoint) keys() [2]uint64 { return [...]uint64{e.resource, e.route} }

const (
	fading         = 0.95 // weight of what was counted before a refusal, compared with what is counted after it
	leastRefused   = 2.5  // number of refusals, with these weights, below which they prove nothing
	severalRefused = 1.5  // number of refusals from which a route to which no request was accepted does not count as others
	manyResources  = 3.0  // evidence that a resource needs in addition, because there are many, and by chance, one of them may be refused often
	mostLet        = 4    // logarithm, to base 2, of the most requests that go before one to an endpoint that was refused lately, on average
	mostRoutes     = 3    // maximum number of routes to which requests are refused in a row, so that those to others go first
	mostSearched   = 64   // maximum number of waiters among which one for another resource is looked for
)

// A score counts outcomes.
type score struct{ accepted, refused float64 }

func (s score) times(f float64) score { return score{f * s.accepted, f * s.refused} }

func (s score) minus(t score) score { return score{s.accepted - t.accepted, s.refused - t.refused} }

// log returns the logarithm of how likely the outcomes are if each request is refused with
// the same probability.
func (s score) log() float64 {
	xlogx := func(x float64) float64 {
		if x <= 0 {
			return 0
		}
		return x * math.Log(x)
	}
	return xlogx(s.accepted) + xlogx(s.refused) - xlogx(s.accepted+s.refused)
}

// A suspect is a route or a resource to which a request was refused recently.
type suspect struct {
	score
	before score         // the score of all requests before the first of these refusals
	since  time.Duration // when that one was noticed
}

// Suspects compare the endpoints to which requests were refused with all others. Only
// refusals that began a pause count, because those that follow may have the same cause. If
// nothing was accepted since the previous one, there may be an outage. The refusal then counts
// only if the next request that is accepted is for another resource. The zero value is ready to
// use.
type suspects struct {
	all       score
	of        map[uint64]suspect
	latest    endpoint      // of the latest refusal that began a pause
	routes    []uint64      // the routes of such refusals in a row, at most mostRoutes
	row       int           // number of these refusals
	same      int           // number of those in a row of the same resource
	heard     bool          // whether a request was accepted since the latest one that counts
	probed    endpoint      // the endpoint of one that does not count yet; zero: there is none
	others    time.Duration // the latest time until which a request to another route than latest has to wait, because it was refused during a pause
	acquitted bool          // whether the latest refusal was forgotten: see account.acquit
	changed   int           // number of times that routes has changed
	order     rand.PCG      // for instead; always begins with the same numbers, because a simulation must be reproducible
}

// accepted records that a request to e was accepted.
func (s *suspects) accepted(now time.Duration, e endpoint) {
	if s.probed != (endpoint{}) && e.resource != s.probed.resource {
		s.count(now, s.probed)
	}
	s.probed, s.heard = endpoint{}, true
	s.all.accepted++
	for _, key := range e.keys() {
		if one, ok := s.of[key]; ok {
			one.accepted++
			s.of[key] = one
		}
	}
}

// refused records that a request to e was refused, which began a pause.
func (s *suspects) refused(now time.Duration, e endpoint) {
	if !slices.Contains(s.routes, e.route) {
		if len(s.routes) == mostRoutes {
			s.routes, s.row = s.routes[:0], 0
		}
		s.routes = append(s.routes, e.route)
		s.changed++
	}
	if e.resource != s.latest.resource {
		s.same = 0
	}
	s.row++
	s.same++
	s.acquitted = false
	s.latest = e
	if len(s.of) > 0 && !s.heard {
		s.probed = e
		return
	}
	s.count(now, e)
	s.heard = false
}

// refusedToo records that a request to e was refused while there was a pause, and when its
// Retry-After ends.
func (s *suspects) refusedToo(e endpoint, until time.Duration) {
	if e.route != s.latest.route {
		s.others = max(s.others, until)
	}
}

// count counts a refusal.
func (s *suspects) count(now time.Duration, e endpoint) {
	if s.of == nil {
		s.of = make(map[uint64]suspect)
	}
	for key, one := range s.of {
		if one = (suspect{one.times(fading), one.before.times(fading), one.since}); one.refused < 0.1 {
			delete(s.of, key) // so that there are at most some 90
		} else {
			s.of[key] = one
		}
	}
	s.all = s.all.times(fading)
	for _, key := range e.keys() {
		one, ok := s.of[key]
		if !ok {
			one.before, one.since = s.all, now
		}
		one.refused++
		s.of[key] = one
	}
	s.all.refused++
}

// evidence returns the logarithm of how much likelier the outcomes are if the requests that
// the key stands for have a limit of their own, or 0 if too few of them were refused. It also
// returns the score of the others, without the routes that are refused in turn with the latest
// one and never accepted.
func (s *suspects) evidence(key uint64) (evidence float64, others score) {
	one := s.of[key]
	others = s.all.minus(one.before).minus(one.score)
	for _, route := range s.routes {
		if t := s.of[route]; route != s.latest.route && t.accepted == 0 && t.refused > severalRefused {
			others.refused = max(others.refused-t.refused, 0) // some may have come before the first one of the key
		}
	}
	if one.refused < leastRefused || one.refused*others.accepted <= others.refused*one.accepted {
		return 0, others
	}
	all := score{one.accepted + others.accepted, one.refused + others.refused}
	return one.log() + others.log() - all.log(), others
}

// strongest returns the route or resource of the latest refusal, whichever the evidence is
// stronger for.
func (s *suspects) strongest() (key uint64, evidence float64, others score) {
	key = s.latest.route
	evidence, others = s.evidence(key)
	if e, o := s.evidence(s.latest.resource); e-manyResources > evidence {
		return s.latest.resource, e - manyResources, o
	}
	return key, evidence, others
}

// rowBefore returns how many of the latest refusals were all on other routes than e or, if they
// were on the same one, of another resource.
func (s *suspects) rowBefore(e endpoint) int {
	switch {
	case !slices.Contains(s.routes, e.route):
		return s.row
	case e.resource != s.latest.resource:
		return s.same
	}
	return 0
}

// instead returns the waiter to send now if w has the next turn in its lane. While others
// wait, a request to an endpoint that was refused lately is sent only with a chance of one in
// two, or, after several refusals in a row, of one in 3, 5, 9 or 17. Otherwise, if w is a retry,
// it could be refused for ever, and no other request would be sent. The order is random, because
// a request that is always the last of a burst may be refused for that reason.
func (s *suspects) instead(w *waiter, l *lane) *waiter {
	if !slices.Contains(s.routes, w.endpoint.route) {
		return w
	}
	draw := s.order.Uint64()
	let := func(row int) bool { return draw%(1+1<<min(row-1, mostLet)) != 0 }
	byRoute, byResource := let(s.row), w.endpoint.resource == s.latest.resource && let(s.same)
	if !byRoute && !byResource {
		return w
	}
	queues := [...]*queue{&l.retries, &l.firsts}
	if byRoute {
		for _, q := range queues {
			if v := q.outside(s.routes, s.changed); v != nil {
				return v
			}
		}
	}
	if byResource {
		n := 0
		for _, q := range queues {
			for v := q.head; v != nil && n < mostSearched; v, n = v.next, n+1 {
				if v.endpoint.resource != s.latest.resource {
					return v
				}
			}
		}
	}
	return w
}
