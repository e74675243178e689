package gate

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestRetriesAreSentFirstExceptLateOnes(t *testing.T) {
	retry, first := "the retry", "the first attempt"
	for name, tt := range map[string]struct {
		resend           int
		probing, waiting bool // waiting: a first attempt is waiting
		yielded          int
		now              time.Duration // the retry has waited since 10 s, and its deadline is at 30 s
		want             string
	}{
		"an early retry is sent first":                                        {lateResend - 1, false, true, 0, 19 * time.Second, retry},
		"a late retry is sent last":                                           {lateResend, false, true, 31, 19 * time.Second, first},
		"a late retry is sent after 32 first attempts":                        {lateResend, false, true, 32, 19 * time.Second, retry},
		"a retry that is one later is sent after 64 first attempts":           {lateResend + 1, false, true, 63, 19 * time.Second, first},
		"a late retry is sent if no first attempt waits":                      {lateResend, false, false, 0, 19 * time.Second, retry},
		"a late retry is sent after half of its time":                         {lateResend, false, true, 0, 20 * time.Second, retry},
		"after a pause, a first attempt is sent before a late retry":          {lateResend, true, true, 64, 19 * time.Second, first},
		"after a pause, an early retry is sent first":                         {lateResend - 1, true, true, 0, 19 * time.Second, retry},
		"after a pause, a late retry is sent first if no first attempt waits": {lateResend, true, false, 0, 19 * time.Second, retry},
		"the latest possible retry is sent at last":                           {1 << 40, false, true, 4 << 20, 19 * time.Second, retry},
	} {
		t.Run(name, func(t *testing.T) {
			var ls lanes
			ls.push(&waiter{resend: tt.resend, limited: true, since: 10 * time.Second, deadline: 30 * time.Second}, Normal)
			if tt.waiting {
				ls.push(new(waiter), Normal)
			}
			ls[Normal.lane()].yielded = tt.yielded
			w, _ := ls.pop(tt.now, tt.probing)
			got, yielded := first, tt.yielded
			if tt.resend >= lateResend {
				yielded++
			}
			if w.resend > 0 {
				got = retry
			}
			if w.resend >= lateResend {
				yielded = 0
			}
			assert.Equal(t, tt.want, got)
			assert.Equal(t, yielded, ls[Normal.lane()].yielded)
			assert.Zero(t, w.queue.n)
		})
	}
}

func TestALateRetryDoesNotDelayOtherRetries(t *testing.T) {
	var ls lanes
	late, early, first := &waiter{resend: lateResend}, &waiter{resend: 1}, new(waiter)
	for _, w := range []*waiter{late, early, first} {
		ls.push(w, Normal)
	}
	for _, want := range []*waiter{early, first, late} {
		assert.Equal(t, want, send(&ls))
	}
}

// send gives the next turn to the waiter that pop chooses.
func send(ls *lanes) *waiter {
	w, turn := ls.pop(0, false)
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
	w, _ := ls.pop(0, false)
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
