package gate

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRequestsThatDifferInIDsHaveTheSameRoute(t *testing.T) {
	for _, tt := range []struct{ one, other string }{
		{"/v3/users/17", "/v3/users/4711"},
		{"/v3/users/17/roles", "/v3/users/18/roles"},
		{"/v3/users/8f0e2b4c6d8a4f7c9b1d3e5f7a9c1b3d", "/v3/users/0000000000000000000000000000000a"},
		{"/v3/users/123e4567-e89b-12d3-a456-426614174000", "/v3/users/deadbeef-e89b-12d3-a456-426614174fff"},
		{"/v1/servers/srv-kx7qw9zzp0q1", "/v1/servers/srv-zz1aaaa9b0c2"},
		{"/v1/queues/queue-7", "/v1/queues/queue-12"},
	} {
		one, other := Request{Method: "GET", Path: tt.one}.endpoint(), Request{Method: "GET", Path: tt.other}.endpoint()
		assert.Equal(t, one.route, other.route, "%s and %s", tt.one, tt.other)
		assert.NotEqual(t, one.resource, other.resource, "%s and %s", tt.one, tt.other)
	}
}

func TestDifferentEndpointsHaveDifferentRoutes(t *testing.T) {
	get := func(path string) Request { return Request{Method: "GET", Path: path} }
	for _, tt := range []struct{ one, other Request }{
		{get("/v3/users"), get("/v3/groups")},
		{get("/v3/users"), get("/v3/users/17")},
		{get("/v3/users/17"), get("/v3/users/17/roles")},
		{get("/v3/users/a"), get("/v3/users/b")},
		{get("/v3/ec2tokens"), get("/v3/s3tokens")},
		{get("/v3/users"), get("/v3/users/")},
		{get("/v3/users"), Request{Method: "POST", Path: "/v3/users"}},
		{get("/v3/users"), get("")},
	} {
		one, other := tt.one.endpoint(), tt.other.endpoint()
		assert.NotEqual(t, one.route, other.route, "%v and %v", tt.one, tt.other)
		assert.NotEqual(t, one.resource, other.resource, "%v and %v", tt.one, tt.other)
	}
	assert.Zero(t, Request{Key: "k"}.endpoint(), "a request without method and path has no known endpoint")
}

// outcomes tells s about requests that are sent in turn: "a" and "b" are accepted and "A" and
// "B" are refused, on two routes. The evidence that it returns is about "A".
func outcomes(s *suspects, sequence string) float64 {
	for _, c := range sequence {
		e := endpoint{route: uint64(c | 0x20), resource: uint64(c|0x20) << 8}
		if c >= 'a' {
			s.accepted(0, e)
		} else {
			s.refused(0, e)
		}
	}
	evidence, _ := s.evidence('a')
	return evidence
}

func TestThereIsEvidenceOnlyIfOneEndpointIsRefusedAndOthersAreNot(t *testing.T) {
	for _, tt := range []struct {
		name, sequence string
		enough         bool
	}{
		{"one is refused, the others are not", "AbbbAbbbbAbbbbbAbbbbA", true},
		{"one is refused more often than accepted", "AbbbbaAbbbbbAbbbbbbabbAbbbbbAbbbbbA", true},
		{"both are refused", "AbbbbBaaaaAbbbbBaaaaAbbbbBaaaaAbbbb", false},
		{"one is refused as often as the share of its requests", "aaaaaaaaabAaaaaaaaaabAaaaaaaaaabAaaaaaaaaabA", false},
		{"only one is used", "aaaaAaaaaAaaaaAaaaaAaaaa", false},
		{"two refusals", "AbbbbbbbbbbbbbbbbAbbbbbbbbbbbbbbbbbb", false},
		{"an outage, in which only one endpoint's request is retried", "bbbbbbbbbbbbbbbbbbAAAAAAAAAAaaabbbbb", false},
		{"it was refused before the others were used", "AAAAAbbbbbbbbbbbbbbbbb", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			evidence := outcomes(new(suspects), tt.sequence)
			if tt.enough {
				assert.Greater(t, evidence, enough)
			} else {
				assert.Less(t, evidence, some)
			}
		})
	}
}

func TestRequestsFromBeforeTheFirstRefusalOfAnEndpointDoNotCountAsOthers(t *testing.T) {
	s := new(suspects)
	outcomes(s, "B"+strings.Repeat("a", 200))
	assert.Less(t, outcomes(s, "AbaAbaAbaAba"), some)
}

func TestAResourceNeedsMoreEvidenceThanARoute(t *testing.T) {
	s := new(suspects)
	evidence := outcomes(s, "AbbbAbbbbAbbbbbAbbbbA")
	key, same, _ := s.strongest()
	assert.Equal(t, uint64('a'), key, "if both are as likely, it is the route")
	assert.InDelta(t, evidence, same, 1e-9)
}

// After a refusal of A, b was accepted, so the refusal was not due to an outage.
func TestARefusedProbeCountsIfAnotherEndpointIsAcceptedNext(t *testing.T) {
	before, after := new(suspects), new(suspects)
	outcomes(before, "AbAAb")
	outcomes(after, "AbAAa")
	assert.InDelta(t, 2.85, before.of['a'].refused, 0.01)
	assert.InDelta(t, 1.95, after.of['a'].refused, 0.01)
}

func TestSuspectsAreForgotten(t *testing.T) {
	s := new(suspects)
	for i := range 10_000 {
		s.refused(0, endpoint{route: uint64(2*i + 1), resource: uint64(2*i + 2)})
		s.accepted(0, endpoint{route: 3, resource: 4})
	}
	assert.Less(t, len(s.of), 100)
}

func TestARequestToTheRefusedEndpointLetsOthersGoFirstButNotForEver(t *testing.T) {
	s, l := new(suspects), new(lane)
	outcomes(s, "aA")
	refused := endpoint{route: 'a', resource: 'a' << 8}
	w, other := &waiter{endpoint: refused, resend: 1}, &waiter{endpoint: endpoint{route: 'b', resource: 'b' << 8}}
	l.retries.push(w)
	assert.Same(t, w, s.instead(w, l), "no other request waits")
	l.firsts.push(other)
	first := 0
	for range 1000 {
		if s.instead(w, l) == w {
			first++
		}
	}
	assert.InDelta(t, 500, first, 60)
	assert.Same(t, other, s.instead(other, l))
	outcomes(s, "AAAAAA")
	first = 0
	for range 1000 {
		if s.instead(w, l) == w {
			first++
		}
	}
	assert.InDelta(t, 1000./17, first, 30, "after many refusals in a row")
}

// Otherwise, a burst to the endpoint would keep others back until all of it has been sent.
func TestOthersBehindABurstToTheRefusedEndpointMayGoFirst(t *testing.T) {
	for _, q := range []func(*lane) *queue{func(l *lane) *queue { return &l.retries }, func(l *lane) *queue { return &l.firsts }} {
		s, l := new(suspects), new(lane)
		outcomes(s, "aA")
		var others []*waiter
		for i := range 2000 {
			w := &waiter{endpoint: endpoint{route: 'a', resource: 'a' << 8}}
			if i > 1000 && i%3 == 0 {
				w.endpoint = endpoint{route: 'b', resource: 'b' << 8}
				others = append(others, w)
			}
			q(l).push(w)
		}
		early := 0
		for n := range 1500 {
			w := s.instead(q(l).head, l)
			w.queue.remove(w)
			if len(others) > 0 && w.endpoint.route == 'b' {
				require.Same(t, others[0], w, "the others should be sent in order of arrival")
				others = others[1:]
				early = n
			}
		}
		assert.Empty(t, others)
		assert.Less(t, early, 2*333+100)
	}
}

func TestARetryOnAnotherRouteGoesBeforeFirstAttempts(t *testing.T) {
	s, l := new(suspects), new(lane)
	outcomes(s, "aA")
	other := endpoint{route: 'b', resource: 'b' << 8}
	for range 100 {
		l.retries.push(&waiter{endpoint: endpoint{route: 'a', resource: 'a' << 8}})
	}
	retry := &waiter{endpoint: other}
	l.retries.push(retry)
	l.firsts.push(&waiter{endpoint: other})
	sent := map[*waiter]int{}
	for range 100 {
		sent[s.instead(l.retries.head, l)]++
	}
	assert.InDelta(t, 50, sent[retry], 20)
	assert.Len(t, sent, 2)
}

// An API may have a limit for each endpoint, and several of these may be exceeded at once.
func TestEndpointsThatAreRefusedInTurnLetOthersGoFirst(t *testing.T) {
	s, l := new(suspects), new(lane)
	outcomes(s, "ABABAB")
	w, other := &waiter{endpoint: endpoint{route: 'a', resource: 'a' << 8}}, &waiter{endpoint: endpoint{route: 'c', resource: 'c' << 8}}
	for _, w := range []*waiter{w, {endpoint: endpoint{route: 'b', resource: 'b' << 8}}, other} {
		l.firsts.push(w)
	}
	first := 0
	for range 1000 {
		switch s.instead(w, l) {
		case w:
			first++
		case other:
		default:
			require.Fail(t, "the other refused endpoint should not go first")
		}
	}
	assert.InDelta(t, 1000./17, first, 30)
	assert.Equal(t, 6, s.rowBefore(other.endpoint))
	outcomes(s, "CD") // now there are more routes than a row can have
	assert.Equal(t, 1, s.rowBefore(endpoint{route: 'a'}))
	assert.Same(t, w, s.instead(w, l))
}

func TestAWitnessThatGoesAheadOfOthersIsFound(t *testing.T) {
	q, routes := new(queue), []uint64{'a'}
	for range 10 {
		q.push(&waiter{endpoint: endpoint{route: 'a'}})
	}
	late := &waiter{endpoint: endpoint{route: 'b'}}
	q.push(late)
	assert.Same(t, late, q.outside(routes, 1))
	witness := &waiter{endpoint: endpoint{route: 'c'}, witness: true}
	q.insert(witness, q.head)
	assert.Same(t, witness, q.outside(routes, 1))
	q.remove(witness)
	assert.Same(t, late, q.outside(routes, 1))
	assert.Same(t, q.head, q.outside([]uint64{'b'}, 2))
}

func TestRetryAfterOfEveryOtherRouteCounts(t *testing.T) {
	s := new(suspects)
	outcomes(s, "AbBbA")
	s.refusedToo(endpoint{route: 'a'}, time.Minute)
	assert.Zero(t, s.others)
	s.refusedToo(endpoint{route: 'b'}, time.Minute)
	assert.Equal(t, time.Minute, s.others, "although it is refused in turn with the latest one")
}

func TestRoutesThatAreRefusedInTurnAndNeverAcceptedDoNotCountAsOthers(t *testing.T) {
	never, sometimes := new(suspects), new(suspects)
	outcomes(never, "ABcABcABcABcABcA")
	outcomes(sometimes, "AbBcAbBcAbBcAbBcAbBcA")
	_, others := never.evidence('a')
	assert.Less(t, others.refused, 0.1)
	_, others = sometimes.evidence('a')
	assert.Greater(t, others.refused, 3.)
	once := new(suspects)
	outcomes(once, "ABcAcAcAcA")
	_, others = once.evidence('a')
	assert.Greater(t, others.refused, 0.5, "a single refusal may be due to a limit that they share")
}

func TestARouteWhoseRowIsOverGoesBeforeTheOneThatIsRefusedNow(t *testing.T) {
	s, l := new(suspects), new(lane)
	outcomes(s, "ABC")
	for _, route := range "abcd" {
		l.firsts.push(&waiter{endpoint: endpoint{route: uint64(route)}})
	}
	assert.Same(t, l.firsts.tail, l.firsts.outside(s.routes, s.changed))
	l.firsts.remove(l.firsts.tail)
	assert.Nil(t, l.firsts.outside(s.routes, s.changed))
	outcomes(s, "D")
	assert.Same(t, l.firsts.head, l.firsts.outside(s.routes, s.changed))
}

// On a route with many resources that share a limit, refusals in a row are all on the same route.
func TestRefusalsOfOtherResourcesOfTheRouteDoNotKeepARetryBack(t *testing.T) {
	s, l := new(suspects), new(lane)
	for n := range uint64(10) {
		s.refused(0, endpoint{route: 'a', resource: 100 + n})
		s.accepted(0, endpoint{route: 'a', resource: 200})
	}
	w := &waiter{endpoint: s.latest, resend: 1}
	l.retries.push(w)
	l.firsts.push(&waiter{endpoint: endpoint{route: 'a', resource: 300}})
	first := 0
	for range 1000 {
		if s.instead(w, l) == w {
			first++
		}
	}
	assert.InDelta(t, 500, first, 60)
	assert.Equal(t, 1, s.rowBefore(endpoint{route: 'a', resource: 300}))
	assert.Equal(t, 10, s.rowBefore(endpoint{route: 'b', resource: 300}))
}
