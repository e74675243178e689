package gate

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/internal/suspect"
)

// outcomes tells s about requests that are sent in turn: "a" and "b" are accepted and "A" and
// "B" are refused, on two routes.
func outcomes(s *suspects, sequence string) {
	for _, c := range sequence {
		e := endpoint{Route: uint64(c | 0x20), Resource: uint64(c|0x20) << 8}
		if c >= 'a' {
			s.Accepted(0, e)
		} else {
			s.Refused(0, e)
		}
	}
}

func TestARequestToTheRefusedEndpointLetsOthersGoFirstButNotForEver(t *testing.T) {
	s, l := new(suspects), new(lane)
	outcomes(s, "aA")
	refused := endpoint{Route: 'a', Resource: 'a' << 8}
	w, other := &waiter{endpoint: refused, resend: 1}, &waiter{endpoint: endpoint{Route: 'b', Resource: 'b' << 8}}
	l.retries.push(w)
	assert.Same(t, w, s.instead(w, l, s.Row()), "no other request waits")
	l.firsts.push(other)
	first := 0
	for range 1000 {
		if s.instead(w, l, s.Row()) == w {
			first++
		}
	}
	assert.InDelta(t, 500, first, 60)
	assert.Same(t, other, s.instead(other, l, s.Row()))
	outcomes(s, "AAAAAA")
	first = 0
	for range 1000 {
		if s.instead(w, l, s.Row()) == w {
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
			w := &waiter{endpoint: endpoint{Route: 'a', Resource: 'a' << 8}}
			if i > 1000 && i%3 == 0 {
				w.endpoint = endpoint{Route: 'b', Resource: 'b' << 8}
				others = append(others, w)
			}
			q(l).push(w)
		}
		early := 0
		for n := range 1500 {
			w := s.instead(q(l).head, l, s.Row())
			w.queue.remove(w)
			if len(others) > 0 && w.endpoint.Route == 'b' {
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
	other := endpoint{Route: 'b', Resource: 'b' << 8}
	for range 100 {
		l.retries.push(&waiter{endpoint: endpoint{Route: 'a', Resource: 'a' << 8}})
	}
	retry := &waiter{endpoint: other}
	l.retries.push(retry)
	l.firsts.push(&waiter{endpoint: other})
	sent := map[*waiter]int{}
	for range 100 {
		sent[s.instead(l.retries.head, l, s.Row())]++
	}
	assert.InDelta(t, 50, sent[retry], 20)
	assert.Len(t, sent, 2)
}

// An API may have a limit for each endpoint, and several of these may be exceeded at once.
func TestEndpointsThatAreRefusedInTurnLetOthersGoFirst(t *testing.T) {
	s, l := new(suspects), new(lane)
	outcomes(s, "ABABAB")
	w, other := &waiter{endpoint: endpoint{Route: 'a', Resource: 'a' << 8}}, &waiter{endpoint: endpoint{Route: 'c', Resource: 'c' << 8}}
	for _, w := range []*waiter{w, {endpoint: endpoint{Route: 'b', Resource: 'b' << 8}}, other} {
		l.firsts.push(w)
	}
	first := 0
	for range 1000 {
		switch s.instead(w, l, s.Row()) {
		case w:
			first++
		case other:
		default:
			require.Fail(t, "the other refused endpoint should not go first")
		}
	}
	assert.InDelta(t, 1000./17, first, 30)
	assert.Equal(t, 6, s.Row().Before(other.endpoint))
	outcomes(s, "CD") // now there are more routes than a row can have
	assert.Equal(t, 1, s.Row().Before(endpoint{Route: 'a'}))
	assert.Same(t, w, s.instead(w, l, s.Row()))
}

func TestAWitnessThatGoesAheadOfOthersIsFound(t *testing.T) {
	q, row := new(queue), &suspect.Row{Routes: []uint64{'a'}}
	for range 10 {
		q.push(&waiter{endpoint: endpoint{Route: 'a'}})
	}
	late := &waiter{endpoint: endpoint{Route: 'b'}}
	q.push(late)
	assert.Same(t, late, q.outside(row))
	witness := &waiter{endpoint: endpoint{Route: 'c'}, witness: true}
	q.insert(witness, q.head)
	assert.Same(t, witness, q.outside(row))
	q.remove(witness)
	assert.Same(t, late, q.outside(row))
	assert.Same(t, q.head, q.outside(&suspect.Row{Routes: []uint64{'b'}}))
}

func TestRetryAfterOfEveryOtherRouteCounts(t *testing.T) {
	s := new(suspects)
	outcomes(s, "AbBbA")
	s.refusedToo(0, endpoint{Route: 'a'}, time.Minute)
	assert.Zero(t, s.others)
	s.refusedToo(0, endpoint{Route: 'b'}, time.Minute)
	assert.Equal(t, time.Minute, s.others, "although it is refused in turn with the latest one")
}

func TestARouteWhoseRowIsOverGoesBeforeTheOneThatIsRefusedNow(t *testing.T) {
	s, l := new(suspects), new(lane)
	outcomes(s, "ABC")
	for _, route := range "abcd" {
		l.firsts.push(&waiter{endpoint: endpoint{Route: uint64(route)}})
	}
	assert.Same(t, l.firsts.tail, l.firsts.outside(s.Row()))
	l.firsts.remove(l.firsts.tail)
	assert.Nil(t, l.firsts.outside(s.Row()))
	outcomes(s, "D")
	assert.Same(t, l.firsts.head, l.firsts.outside(s.Row()))
}

// On a route with many resources that share a limit, refusals in a row are all on the same route.
func TestRefusalsOfOtherResourcesOfTheRouteDoNotKeepARetryBack(t *testing.T) {
	s, l := new(suspects), new(lane)
	for n := range uint64(10) {
		s.Refused(0, endpoint{Route: 'a', Resource: 100 + n})
		s.Accepted(0, endpoint{Route: 'a', Resource: 200})
	}
	w := &waiter{endpoint: s.Latest(), resend: 1}
	l.retries.push(w)
	l.firsts.push(&waiter{endpoint: endpoint{Route: 'a', Resource: 300}})
	first := 0
	for range 1000 {
		if s.instead(w, l, s.Row()) == w {
			first++
		}
	}
	assert.InDelta(t, 500, first, 60)
	assert.Equal(t, 1, s.Row().Before(endpoint{Route: 'a', Resource: 300}))
	assert.Equal(t, 10, s.Row().Before(endpoint{Route: 'b', Resource: 300}))
}
