package redisgate

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// An opening collects the processes' histories until the first pause is over. The
// controller needs all histories at once, and each process knows only its own.
type opening struct {
	at        time.Duration       // when the account was first throttled
	pause     time.Duration       // when the pause ends
	asked     time.Duration       // the longest Retry-After
	throttles int                 // number of requests that were throttled
	histories map[string]*history // by process ID; the marks hold times instead of ages
	events    []event             // outcomes that have arrived since the opening began, except the first 429
	stated    *stated             // the latest limit that the service has stated
}

type event struct {
	at        time.Duration
	throttled bool
	after     time.Duration
}

func (o *opening) add(now time.Duration, from string, h *history) {
	if o.histories[from] != nil {
		return
	}
	for i := range h.Marks {
		h.Marks[i].At = now - h.Marks[i].At
	}
	o.at = min(o.at, now-h.Age)
	if o.histories == nil {
		o.histories = make(map[string]*history)
	}
	o.histories[from] = h
}

func (o *opening) accepted(now time.Duration) { o.events = append(o.events, event{at: now}) }

func (o *opening) throttled(now, after time.Duration) {
	o.asked = max(o.asked, after)
	if o.throttles++; o.throttles > 1 { // the controller begins with the first one, which is therefore not an event
		o.events = append(o.events, event{now, true, after})
	}
	o.pause = max(o.pause, now+after)
}

// control returns a controller that has processed everything that the opening collected.
func (o *opening) control() *fleet1.Controller {
	all := fleet1.History{Now: o.at, Marks: o.marks()}
	for _, h := range o.histories {
		all.Flying += h.Flying
		if all.Trip == 0 || h.Trip > 0 && h.Trip < all.Trip { // long polls make it longer in some processes
			all.Trip = h.Trip
		}
	}
	c := all.Close(o.asked)
	c.Late = true
	for _, e := range o.events {
		if e.throttled {
			c.Refused(e.at, fleet1.Send{}, e.after)
		} else {
			c.Accepted(e.at, fleet1.Send{})
		}
	}
	if s := o.stated; s != nil {
		c.Stated(s.Requests, s.Per)
	}
	return c
}

// marks returns the sum of the histories, starting at the earliest time for which all of
// them have data.
func (o *opening) marks() []fleet1.Mark {
	times := make(map[time.Duration]bool)
	from, all := o.at, time.Duration(-1)
	for _, h := range o.histories {
		first := h.Marks[0]
		from = min(from, first.At)
		if first.Accepted > 0 {
			all = max(all, first.At)
		}
		for _, m := range h.Marks {
			times[m.At] = true
		}
	}
	from = max(from, all)
	times[from] = true
	var sum []fleet1.Mark
	for _, at := range slices.Sorted(maps.Keys(times)) {
		if at < from {
			continue
		}
		m := fleet1.Mark{At: at}
		for _, h := range o.histories {
			i, found := slices.BinarySearchFunc(h.Marks, at, func(m fleet1.Mark, at time.Duration) int { return cmp.Compare(m.At, at) })
			if !found {
				i--
			}
			if i >= 0 {
				m.Accepted += h.Marks[i].Accepted
			}
		}
		sum = append(sum, m)
	}
	const most = 64
	for len(sum) > most { // keep every other mark, and the last
		kept := sum[:0]
		for i, m := range sum {
			if i%2 == 0 || i == len(sum)-1 {
				kept = append(kept, m)
			}
		}
		sum = kept
	}
	return sum
}
