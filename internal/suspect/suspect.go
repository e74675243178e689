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

// A Row is what the latest refusals in a row have in common: they were all on a few routes. Requests
// to others should go first. The zero value is a row of no refusals.
type Row struct {
	Routes    []uint64 `json:"o"`           // at most MostRoutes
	N         int      `json:"n"`           // number of refusals
	Resource  uint64   `json:"e"`           // of the latest one
	Same      int      `json:"s"`           // how many in a row were refusals of this resource
	Unsettled bool     `json:"u,omitempty"` // whether the outcomes of other requests would add something: nothing was accepted since the latest refusal, or there is at least half of some evidence
}

// Version returns a number that differs if the routes do.
func (r *Row) Version() (v uint64) {
	for _, route := range r.Routes {
		v += route
	}
	return v
}

// Ahead returns how many other requests go, on average, before one that was refused n times in a
// row. If it is a retry, it could otherwise be refused for ever, and no other request would be sent.
func (r *Row) Ahead(n int) int {
	return 1 << min(max(n-1, 0), mostAhead)
}

// Before returns how many of the latest refusals were all on other routes than e or, if they were on
// the same one, of another resource.
func (r *Row) Before(e Endpoint) int {
	switch {
	case !slices.Contains(r.Routes, e.Route):
		return r.N
	case e.Resource != r.Resource:
		return r.Same
	}
	return 0
}

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
// refusals that began a pause count, because those that follow may have the same cause, and the
// first one on another route during that pause, because the two may share a limit. If
// nothing was accepted since the previous one, there may be an outage. The refusal then counts
// only if the next request that is accepted is for another resource. The zero value is ready to
// use. Suspects are not safe for concurrent use.
type Suspects struct {
	all       score
	of        map[uint64]candidate
	latest    Endpoint // of the latest refusal that began a pause
	row       Row      // such refusals
	heard     bool     // whether a request was accepted since the latest one that counts
	probed    Endpoint // the endpoint of one that does not count yet; zero: there is none
	too       bool     // whether a request to another route was refused during the pause that it began
	with      Endpoint // the endpoint of that one, if probed does not count yet; zero: there is none
	along     []uint64 // the latest such routes, at most MostRoutes
	acquitted bool     // whether there was a Verdict with Acquit on the latest one
}

// Accepted records that a request to e was accepted.
func (s *Suspects) Accepted(now time.Duration, e Endpoint) Verdict {
	if s.probed != (Endpoint{}) && e.Resource != s.probed.Resource {
		s.count(now, s.probed)
		if s.with != (Endpoint{}) {
			s.add(now, s.with)
		}
	}
	s.probed, s.with, s.heard = Endpoint{}, Endpoint{}, true
	s.all.accepted++
	for _, key := range e.Keys() {
		if o, ok := s.of[key]; ok {
			o.accepted++
			s.of[key] = o
		}
	}
	s.row.Unsettled = false
	if s.row.N < 2 {
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
	r := &s.row
	if !slices.Contains(r.Routes, e.Route) {
		if len(r.Routes) == MostRoutes {
			r.Routes, r.N = nil, 0 // the old ones may still be in use
		}
		r.Routes = append(r.Routes, e.Route)
	}
	if e.Resource != r.Resource {
		r.Same = 0
	}
	r.N++
	r.Same++
	r.Resource = e.Resource
	s.acquitted, s.too = false, false
	s.latest = e
	if len(s.of) > 0 && !s.heard {
		s.probed, s.with = e, Endpoint{}
	} else {
		s.count(now, e)
		s.heard = false
	}
	v := s.verdict()
	s.acquitted = v.Acquit
	return v
}

// RefusedToo records that a request to e was refused during the pause that the latest refusal
// began. If it is on another route, the two may share a limit. Of each pause, only the first such
// request counts.
func (s *Suspects) RefusedToo(now time.Duration, e Endpoint) {
	if len(s.of) == 0 || s.too || e == (Endpoint{}) || e.Route == s.latest.Route {
		return
	}
	s.too = true
	if !slices.Contains(s.along, e.Route) {
		if len(s.along) == MostRoutes {
			s.along = nil
		}
		s.along = append(s.along, e.Route)
	}
	if s.probed != (Endpoint{}) {
		s.with = e
		return
	}
	s.add(now, e)
}

// count counts a refusal.
func (s *Suspects) count(now time.Duration, e Endpoint) {
	if s.of == nil {
		s.of = make(map[uint64]candidate)
	}
	for key, o := range s.of {
		if o = (candidate{o.times(fading), o.before.times(fading), o.since}); o.refused < 0.1 {
			delete(s.of, key) // so that there are at most some 180
		} else {
			s.of[key] = o
		}
	}
	s.all = s.all.times(fading)
	s.add(now, e)
}

// add implements count and RefusedToo.
func (s *Suspects) add(now time.Duration, e Endpoint) {
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
// one, or together with it, and never accepted.
func (s *Suspects) evidence(key uint64) (evidence float64, others score) {
	o := s.of[key]
	others = s.all.minus(o.before).minus(o.score)
	except := func(route uint64) {
		if t := s.of[route]; route != s.latest.Route && t.accepted == 0 && t.refused > severalRefused {
			others.refused = max(others.refused-t.refused, 0) // some may have come before the first one of the key
		}
	}
	for _, route := range s.row.Routes {
		except(route)
	}
	for _, route := range s.along {
		if !slices.Contains(s.row.Routes, route) {
			except(route)
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
	s.row.Unsettled = !s.heard || evidence >= some/2
	v.Acquit = others.innocent() && (v.Own || evidence > some && !s.acquitted)
	return v
}

// Reset forgets the outcomes, because the endpoint of the latest Verdict has its own account
// now.
func (s *Suspects) Reset() { *s = Suspects{} }

// Any reports whether there was a refusal since the latest Reset.
func (s *Suspects) Any() bool { return len(s.of) > 0 }

// Latest returns the endpoint of the latest refusal.
func (s *Suspects) Latest() Endpoint { return s.latest }

// Row returns the latest refusals in a row. It is valid until the next method call, except for
// Routes.
func (s *Suspects) Row() *Row { return &s.row }
