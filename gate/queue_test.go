package gate

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestRetriesAreSentFirstExceptLateOnes(t *testing.T) {
	early, late, first := &waiter{resend: lateResend - 1}, &waiter{resend: lateResend}, new(waiter)
	for name, tt := range map[string]struct {
		waiting []*waiter // in order of arrival
		probing bool
		want    *waiter
	}{
		"an early retry":                                        {[]*waiter{late, first, early}, false, early},
		"an early retry after a pause":                          {[]*waiter{late, first, early}, true, early},
		"a first attempt that came before a late retry":         {[]*waiter{first, late}, false, first},
		"a late retry that came first":                          {[]*waiter{late, first}, false, late},
		"after a pause, another request":                        {[]*waiter{late, first}, true, first},
		"after a pause, a first attempt that came first":        {[]*waiter{first, late}, true, first},
		"after a pause, a late retry if nobody else waits":      {[]*waiter{late}, true, late},
		"after a pause, the second of several requests at most": {[]*waiter{late, {resend: lateResend + 1}, first}, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var ls lanes
			for _, w := range tt.waiting {
				*w = waiter{resend: w.resend}
				ls.push(w, Normal)
			}
			if tt.want == nil {
				tt.want = tt.waiting[1]
			}
			w, _ := ls.pop(tt.probing)
			assert.Same(t, tt.want, w)
			assert.Equal(t, len(tt.waiting)-1, ls.waiting())
		})
	}
}

func TestLateRetriesAreSentInOrderOfArrival(t *testing.T) {
	var ls lanes
	var waiting []*waiter
	for i := range 20 {
		w := &waiter{resend: i % 2 * (lateResend + i)}
		waiting = append(waiting, w)
		assert.Equal(t, i, ls.ahead(w, Normal))
		ls.push(w, Normal)
	}
	for _, want := range waiting {
		assert.Same(t, want, send(&ls))
	}
}

// send gives the next turn to the waiter that pop chooses.
func send(ls *lanes) *waiter {
	w, turn := ls.pop(false)
	ls.took(turn)
	return w
}

func TestUrgentRequestsAreSentFirstButEachPriorityGetsATenthOfTheTurns(t *testing.T) {
	for name, waiting := range map[string][]Priority{
		"all priorities":         {Interactive, Normal, Bulk},
		"Interactive and Bulk":   {Interactive, Bulk},
		"Normal and Bulk":        {Normal, Bulk},
		"Interactive and Normal": {Interactive, Normal},
		"only Normal":            {Normal},
		"undefined priorities":   {Interactive + 7, Bulk - 7},
	} {
		t.Run(name, func(t *testing.T) {
			const turns = 1000
			var ls lanes
			of := make(map[*waiter]Priority)
			for range turns {
				for _, p := range waiting {
					w := new(waiter)
					of[w] = p
					ls.push(w, p)
				}
			}
			got := make(map[Priority]int)
			for range turns {
				got[of[send(&ls)]]++
			}
			for _, p := range waiting {
				assert.GreaterOrEqual(t, got[p], turns/10-1, "priority %d got too few turns", p)
			}
			assert.GreaterOrEqual(t, got[waiting[0]], turns-(len(waiting)-1)*(turns/10+1), "the most urgent priority should get all other turns")
		})
	}
}

func TestPriorityKeepsATurnThatAWaiterIsTooLateFor(t *testing.T) {
	var ls lanes
	for range mostPassed + 1 {
		ls.push(new(waiter), Interactive)
	}
	late, next := new(waiter), new(waiter)
	ls.push(late, Bulk)
	ls.push(next, Bulk)
	for range mostPassed {
		send(&ls)
	}
	w, _ := ls.pop(false)
	assert.Same(t, late, w)
	assert.Same(t, next, send(&ls))
}

func TestRequestsOfOnePriorityAreSentInTheOrderOfArrival(t *testing.T) {
	var ls lanes
	first, second := new(waiter), new(waiter)
	ls.push(first, Bulk)
	ls.push(second, Bulk)
	assert.Same(t, first, send(&ls))
	assert.Same(t, second, send(&ls))
	assert.Zero(t, ls.waiting())
}

func TestUrgentRequestDoesNotWaitForALongQueue(t *testing.T) {
	var ls lanes
	for range 10000 {
		ls.push(new(waiter), Bulk)
		send(&ls) // turns that were given before a waiter arrived must not count for that waiter's lane
		ls.push(new(waiter), Bulk)
	}
	w := new(waiter)
	ls.push(w, Interactive)
	assert.Same(t, w, send(&ls))
}

func TestAheadCountsTheRequestsThatAreSentEarlier(t *testing.T) {
	var ls lanes
	push := func(n int, p Priority, resend int) {
		for range n {
			ls.push(&waiter{resend: resend}, p)
		}
	}
	push(100, Interactive, 0)
	push(5, Normal, 1)
	push(20, Normal, 0)
	push(50, Bulk, 0)
	assert.Equal(t, 100, ls.ahead(&waiter{}, Interactive), "first attempts of the same priority are ahead of a first attempt")
	assert.Equal(t, 0, ls.ahead(&waiter{resend: 1}, Interactive), "no first attempt of the same priority is ahead of a retry")
	assert.Equal(t, 5+9*6, ls.ahead(&waiter{resend: 1}, Normal), "more urgent requests get only nine tenths of the turns")
	assert.Equal(t, 25+100, ls.ahead(&waiter{}, Normal))
	assert.Equal(t, 50+125, ls.ahead(&waiter{}, Bulk))

	var seen []int
	ls.all(func(_ *waiter, ahead int) { seen = append(seen, ahead) })
	assert.Len(t, seen, 175)
	assert.Equal(t, 99, seen[99])
	assert.Equal(t, 9, seen[100], "wrong number of requests ahead of the first Normal waiter")
	assert.Equal(t, 174, seen[174])
}
