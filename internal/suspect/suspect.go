package suspect

import (
	"math"
	"slices"
	"time"
)

const (
	enough         = 8.0  // evidence from which an endpoint has a limit of its own; each recent refusal of another request adds 1
	some           = 4.0  // evidence from which a refusal says little about other requests
	fading         = 0.95 // weight of what was counted before a refusal, compared with what is counted after it
	leastRefused   = 2.5  // number of refusals, with these weights, below which they prove nothing
	severalRefused = 1.5  // number of refusals from which a route to which no request was accepted does not count as others
	manyResources  = 3.0  // evidence that a resource needs in addition, because there are many, and by chance, one of them may be refused often
	mostAhead      = 4    // logarithm, to base 2, of the largest result of Ahead
)

// MostRoutes is the maximum number of routes to which requests are refused in a row, so that those
// to others go first.
const MostRoutes = 3

// Ahead returns how many other requests go, on average, before one to an endpoint to which
// requests were refused so many times in a row. If it is a retry, it could otherwise be refused for
// ever, and no other request would be sent.
func Ahead(row int) int { return 1 << min(row-1, mostAhead) }

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

// innocent reports whether none of these requests was refused recently.
func (s score) innocent() bool { return s.refused < 0.5 }

// A candidate is a route or a resource to which a request was refused recently.
type candidate struct {
	score
	before score         // the score of all requests before the first of these refusals
	since  time.Duration // when that one was noticed
}

// A Verdict is what follows from the outcomes.
type Verdict struct {
	Own    bool          // whether the endpoints with the key have a limit of their own, or are always refused
	Key    uint64        // a route or a resource: see Endpoint.Keys
	Since  time.Duration // when the first of their refusals was noticed
	Acquit bool          // whether the others' limit was not the reason for the latest refusal, so that its effects should be undone
}

// Suspects compare the endpoints to which requests were refused with all others. Only
// refusals that began a pause count, because those that follow may have the same cause. If
// nothing was accepted since the previous one, there may be an outage. The refusal then counts
// only if the next request that is accepted is for another resource. The zero value is ready to
// use. Suspects are not safe for concurrent use.
type Suspects struct {
	all       score
	of        map[uint64]candidate
	latest    Endpoint // of the latest refusal that began a pause
	routes    []uint64 // the routes of such refusals in a row, at most MostRoutes
	row       int      // number of these refusals
	same      int      // number of those in a row of the same resource
	heard     bool     // whether a request was accepted since the latest one that counts
	probed    Endpoint // the endpoint of one that does not count yet; zero: there is none
	acquitted bool     // whether there was a Verdict with Acquit on the latest one
	changed   int      // number of times that routes has changed
}

// Accepted records that a request to e was accepted.
func (s *Suspects) Accepted(now time.Duration, e Endpoint) Verdict {
	if s.probed != (Endpoint{}) && e.Resource != s.probed.Resource {
		s.count(now, s.probed)
	}
	s.probed, s.heard = Endpoint{}, true
	s.all.accepted++
	for _, key := range e.Keys() {
		if o, ok := s.of[key]; ok {
			o.accepted++
			s.of[key] = o
		}
	}
	if s.row < 2 {
		return Verdict{}
	}
	v := s.verdict()
	// If all endpoints share a limit, the evidence about one of them also rises above some now and
	// then, if it is looked at so often.
	if v.Acquit && !v.Own && s.of[s.latest.Route].accepted > 0 {
		return Verdict{}
	}
	s.acquitted = s.acquitted || v.Acquit
	return v
}

// Refused records that a request to e was refused, which began a pause.
func (s *Suspects) Refused(now time.Duration, e Endpoint) Verdict {
	if !slices.Contains(s.routes, e.Route) {
		if len(s.routes) == MostRoutes {
			s.routes, s.row = s.routes[:0], 0
		}
		s.routes = append(s.routes, e.Route)
		s.changed++
	}
	if e.Resource != s.latest.Resource {
		s.same = 0
	}
	s.row++
	s.same++
	s.acquitted = false
	s.latest = e
	if len(s.of) > 0 && !s.heard {
		s.probed = e
	} else {
		s.count(now, e)
		s.heard = false
	}
	v := s.verdict()
	s.acquitted = v.Acquit
	return v
}

// count counts a refusal.
func (s *Suspects) count(now time.Duration, e Endpoint) {
	if s.of == nil {
		s.of = make(map[uint64]candidate)
	}
	for key, o := range s.of {
		if o = (candidate{o.times(fading), o.before.times(fading), o.since}); o.refused < 0.1 {
			delete(s.of, key) // so that there are at most some 90
		} else {
			s.of[key] = o
		}
	}
	s.all = s.all.times(fading)
	for _, key := range e.Keys() {
		o, ok := s.of[key]
		if !ok {
			o.before, o.since = s.all, now
		}
		o.refused++
		s.of[key] = o
	}
	s.all.refused++
}

// evidence returns the logarithm of how much likelier the outcomes are if the requests that
// the key stands for have a limit of their own, or 0 if too few of them were refused. It also
// returns the score of the others, without the routes that are refused in turn with the latest
// one and never accepted.
func (s *Suspects) evidence(key uint64) (evidence float64, others score) {
	o := s.of[key]
	others = s.all.minus(o.before).minus(o.score)
	for _, route := range s.routes {
		if t := s.of[route]; route != s.latest.Route && t.accepted == 0 && t.refused > severalRefused {
			others.refused = max(others.refused-t.refused, 0) // some may have come before the first one of the key
		}
	}
	if o.refused < leastRefused || o.refused*others.accepted <= others.refused*o.accepted {
		return 0, others
	}
	all := score{o.accepted + others.accepted, o.refused + others.refused}
	return o.log() + others.log() - all.log(), others
}

// strongest returns the route or resource of the latest refusal, whichever the evidence is
// stronger for.
func (s *Suspects) strongest() (key uint64, evidence float64, others score) {
	key = s.latest.Route
	evidence, others = s.evidence(key)
	if e, o := s.evidence(s.latest.Resource); e-manyResources > evidence {
		return s.latest.Resource, e - manyResources, o
	}
	return key, evidence, others
}

// verdict returns what follows from the outcomes about the endpoint of the latest refusal.
func (s *Suspects) verdict() Verdict {
	key, evidence, others := s.strongest()
	v := Verdict{Own: evidence >= enough+others.refused, Key: key, Since: s.of[key].since}
	v.Acquit = others.innocent() && (v.Own || evidence > some && !s.acquitted)
	return v
}

// Reset forgets the outcomes, because the endpoint of the latest Verdict has its own account
// now.
func (s *Suspects) Reset() { *s = Suspects{changed: s.changed + 1} }

// Any reports whether there was a refusal since the latest Reset.
func (s *Suspects) Any() bool { return len(s.of) > 0 }

// Unsettled reports whether the outcomes of other requests would add something: nothing was
// accepted since the latest refusal, or there is at least this part of some evidence.
func (s *Suspects) Unsettled(part float64) bool {
	if !s.heard {
		return true
	}
	_, evidence, _ := s.strongest()
	return evidence >= part*some
}

// Latest returns the endpoint of the latest refusal.
func (s *Suspects) Latest() Endpoint { return s.latest }

// Routes returns the routes of the latest refusals in a row, and a number that differs if they
// do.
func (s *Suspects) Routes() (routes []uint64, version int) { return s.routes, s.changed }

// Row returns how many refusals in a row were on these routes, and how many of the same
// resource.
func (s *Suspects) Row() (routes, resource int) { return s.row, s.same }

// RowBefore returns how many of the latest refusals were all on other routes than e or, if they
// were on the same one, of another resource.
func (s *Suspects) RowBefore(e Endpoint) int {
	switch {
	case !slices.Contains(s.routes, e.Route):
		return s.row
	case e.Resource != s.latest.Resource:
		return s.same
	}
	return 0
}
