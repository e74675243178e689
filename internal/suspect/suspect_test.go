package suspect

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
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
		one, other := Of("GET", tt.one), Of("GET", tt.other)
		assert.Equal(t, one.Route, other.Route, "%s and %s", tt.one, tt.other)
		assert.NotEqual(t, one.Resource, other.Resource, "%s and %s", tt.one, tt.other)
	}
}

func TestDifferentEndpointsHaveDifferentRoutes(t *testing.T) {
	type request struct{ method, path string }
	get := func(path string) request { return request{"GET", path} }
	for _, tt := range []struct{ one, other request }{
		{get("/v3/users"), get("/v3/groups")},
		{get("/v3/users"), get("/v3/users/17")},
		{get("/v3/users/17"), get("/v3/users/17/roles")},
		{get("/v3/users/a"), get("/v3/users/b")},
		{get("/v3/ec2tokens"), get("/v3/s3tokens")},
		{get("/v3/users"), get("/v3/users/")},
		{get("/v3/users"), request{"POST", "/v3/users"}},
		{get("/v3/users"), get("")},
	} {
		one, other := Of(tt.one.method, tt.one.path), Of(tt.other.method, tt.other.path)
		assert.NotEqual(t, one.Route, other.Route, "%v and %v", tt.one, tt.other)
		assert.NotEqual(t, one.Resource, other.Resource, "%v and %v", tt.one, tt.other)
	}
	assert.Zero(t, Of("", ""), "a request without method and path has no known endpoint")
}

// outcomes tells s about requests that are sent in turn: "a" and "b" are accepted and "A" and
// "B" are refused, on two routes. The evidence that it returns is about "A".
func outcomes(s *Suspects, sequence string) float64 {
	for _, c := range sequence {
		e := Endpoint{Route: uint64(c | 0x20), Resource: uint64(c|0x20) << 8}
		if c >= 'a' {
			s.Accepted(0, e)
		} else {
			s.Refused(0, e)
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
			evidence := outcomes(new(Suspects), tt.sequence)
			if tt.enough {
				assert.Greater(t, evidence, enough)
			} else {
				assert.Less(t, evidence, some)
			}
		})
	}
}

func TestRequestsFromBeforeTheFirstRefusalOfAnEndpointDoNotCountAsOthers(t *testing.T) {
	s := new(Suspects)
	outcomes(s, "B"+strings.Repeat("a", 200))
	assert.Less(t, outcomes(s, "AbaAbaAbaAba"), some)
}

func TestAResourceNeedsMoreEvidenceThanARoute(t *testing.T) {
	s := new(Suspects)
	evidence := outcomes(s, "AbbbAbbbbAbbbbbAbbbbA")
	key, same, _ := s.strongest()
	assert.Equal(t, uint64('a'), key, "if both are as likely, it is the route")
	assert.InDelta(t, evidence, same, 1e-9)
}

// After a refusal of A, b was accepted, so the refusal was not due to an outage.
func TestARefusedProbeCountsIfAnotherEndpointIsAcceptedNext(t *testing.T) {
	before, after := new(Suspects), new(Suspects)
	outcomes(before, "AbAAb")
	outcomes(after, "AbAAa")
	assert.InDelta(t, 2.85, before.of['a'].refused, 0.01)
	assert.InDelta(t, 1.95, after.of['a'].refused, 0.01)
}

func TestSuspectsAreForgotten(t *testing.T) {
	s := new(Suspects)
	for i := range 10_000 {
		s.Refused(0, Endpoint{Route: uint64(2*i + 1), Resource: uint64(2*i + 2)})
		s.RefusedToo(0, Endpoint{Route: uint64(2*i + 100_001), Resource: uint64(2*i + 100_002)})
		s.Accepted(0, Endpoint{Route: 3, Resource: 4})
	}
	assert.Less(t, len(s.of), 200)
	assert.LessOrEqual(t, len(s.along), MostRoutes)
}

func TestRoutesThatAreRefusedInTurnAndNeverAcceptedDoNotCountAsOthers(t *testing.T) {
	never, sometimes := new(Suspects), new(Suspects)
	outcomes(never, "ABcABcABcABcABcA")
	outcomes(sometimes, "AbBcAbBcAbBcAbBcAbBcA")
	_, others := never.evidence('a')
	assert.Less(t, others.refused, 0.1)
	_, others = sometimes.evidence('a')
	assert.Greater(t, others.refused, 3.)
	once := new(Suspects)
	outcomes(once, "ABcAcAcAcA")
	_, others = once.evidence('a')
	assert.Greater(t, others.refused, 0.5, "a single refusal may be due to a limit that they share")
}

func TestASuspectedRefusalIsAcquittedOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		accepted int // requests to the suspect
		want     int
	}{"never accepted": {0, 1}, "accepted now and then": {1, 0}} {
		t.Run(name, func(t *testing.T) {
			s := new(Suspects)
			outcomes(s, strings.Repeat("a", tt.accepted))
			for range 3 {
				outcomes(s, "A"+strings.Repeat("a", tt.accepted)+"b")
			}
			n := 0
			for v := s.Accepted(0, Endpoint{Route: 'b', Resource: 'b' << 8}); !v.Own; v = s.Accepted(0, Endpoint{Route: 'b', Resource: 'b' << 8}) {
				if v.Acquit {
					n++
				}
			}
			assert.Equal(t, tt.want, n)
		})
	}
}

func TestOutcomesOfOthersAddNothingOnceTheyAreHeardUnlessThereIsEvidence(t *testing.T) {
	for sequence, unsettled := range map[string]bool{
		"":                     false,
		"A":                    true,
		"Ab":                   false,
		"AbA":                  true,
		"AbAa":                 false,
		"AbbbAbbbbAbbbbbAbbbb": true,
	} {
		s := new(Suspects)
		outcomes(s, sequence)
		assert.Equal(t, unsettled, s.Row().Unsettled, "after %q", sequence)
	}
}

// Late responses arrive during an outage, in which the refusals that begin pauses do not count.
func TestRefusalsDuringAnOutageProveNothing(t *testing.T) {
	e := func(route uint64) Endpoint { return Endpoint{Route: route, Resource: route << 8} }
	s := new(Suspects)
	for range 10_000 {
		s.Refused(0, e('a'))
		s.RefusedToo(0, e('b'))
	}
	assert.LessOrEqual(t, len(s.of), 4)
	for range 100 {
		s.Accepted(0, e('a'))
	}
	assert.Zero(t, s.of['b'].refused-1)
	assert.False(t, s.Refused(0, e('b')).Own)
}

func TestARequestThatIsRefusedTogetherWithAProbeCountsIfTheProbeDoes(t *testing.T) {
	c := Endpoint{Route: 'c', Resource: 'c' << 8}
	s := new(Suspects)
	outcomes(s, "AbAA")
	s.RefusedToo(0, c)
	assert.NotContains(t, s.of, uint64('c'))
	outcomes(s, "b")
	assert.Contains(t, s.of, uint64('c'))

	s = new(Suspects)
	outcomes(s, "AbAA")
	s.RefusedToo(0, c)
	outcomes(s, "Ab")
	assert.NotContains(t, s.of, uint64('c'), "it was refused together with an earlier probe")
}

func TestRefusalsThatWereOnlyNoticedDuringAPauseDoNotChangeTheOrder(t *testing.T) {
	s := new(Suspects)
	outcomes(s, "Ab")
	row := *s.Row()
	for route := range uint64(5) {
		s.RefusedToo(0, Endpoint{Route: 100 + route, Resource: 200 + route})
	}
	assert.Equal(t, row, *s.Row())
}

// Requests to the endpoint that was refused go last, so it may be refused several times in a row
// although it shares a limit with others, and of those that are accepted, few are its own.
func TestAnEndpointThatIsNotRefusedAloneHasNoLimitOfItsOwn(t *testing.T) {
	of := func(route rune) Endpoint { return Endpoint{Route: uint64(route), Resource: uint64(route) << 8} }
	for _, tt := range []struct {
		name   string
		too    [3][]Endpoint // also refused in each pause
		enough bool
	}{
		{"no others are refused", [3][]Endpoint{}, true},
		{"another is refused in each pause", [3][]Endpoint{{of('c')}, {of('d')}, {of('e')}}, false},
		{"many others are refused, but in one pause", [3][]Endpoint{{of('c'), of('d'), of('e'), of('f')}}, true},
		{"the same one is refused in each pause, and never accepted", [3][]Endpoint{{of('c')}, {of('c')}, {of('c')}}, true},
		{"others on the same route are refused", [3][]Endpoint{{{Route: 'a', Resource: 1}}, {{Route: 'a', Resource: 2}}, {{Route: 'a', Resource: 3}}}, true},
		{"unknown endpoints are refused", [3][]Endpoint{{{}}, {{}}, {{}}}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := new(Suspects)
			for _, too := range tt.too {
				outcomes(s, "A")
				for _, e := range too {
					s.RefusedToo(0, e)
				}
				outcomes(s, strings.Repeat("b", 90)+"a")
			}
			v := s.Refused(0, of('a'))
			assert.Equal(t, tt.enough, v.Own)
		})
	}
}

// A leader sends its row to other processes while it may already begin the next one.
func TestARowThatIsOverDoesNotChange(t *testing.T) {
	s := new(Suspects)
	outcomes(s, "ABC")
	row := *s.Row()
	outcomes(s, "DEF")
	assert.Equal(t, Row{Routes: []uint64{'a', 'b', 'c'}, N: 3, Resource: 'c' << 8, Same: 1, Unsettled: true}, row)
	assert.Equal(t, []uint64{'d', 'e', 'f'}, s.Row().Routes)
}
