package gate

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/iamhttp/iamhttp/internal/suspect"
)

// An endpoint is what a request is sent to. The zero value stands for an unknown endpoint.
type endpoint = suspect.Endpoint

func (r Request) endpoint() endpoint { return suspect.Of(r.Method, r.Path) }

const mostSearched = 64 // maximum number of waiters among which one for another resource is looked for

// The suspects of an account decide which of its requests go first.
type suspects struct {
	suspect.Suspects
	others time.Duration // the latest time until which a request to another route than the latest refused one has to wait, because it was refused during a pause
	order  rand.PCG      // for instead; always begins with the same numbers, because a simulation must be reproducible
}

// refusedToo records that a request to e was refused while there was a pause, and when its
// Retry-After ends.
func (s *suspects) refusedToo(now time.Duration, e endpoint, until time.Duration) {
	s.RefusedToo(now, e)
	if e.Route != s.Latest().Route {
		s.others = max(s.others, until)
	}
}

// instead returns the waiter to send now if w has the next turn in its lane. While others
// wait, a request to an endpoint that was refused in a row is sent only with a chance of one in
// two, or, after several refusals, of one in 3, 5, 9 or 17. Otherwise, if w is a retry, it could
// be refused for ever, and no other request would be sent. The order is random, because
// a request that is always the last of a burst may be refused for that reason.
func (s *suspects) instead(w *waiter, l *lane, row *suspect.Row) *waiter {
	if !slices.Contains(row.Routes, w.endpoint.Route) {
		return w
	}
	draw := s.order.Uint64()
	let := func(n int) bool { return draw%uint64(1+row.Ahead(n)) != 0 } //nolint:gosec // Ahead is positive
	byRoute, byResource := let(row.N), w.endpoint.Resource == row.Resource && let(row.Same)
	if !byRoute && !byResource {
		return w
	}
	queues := [...]*queue{&l.retries, &l.firsts}
	if byRoute {
		for _, q := range queues {
			if v := q.outside(row); v != nil {
				return v
			}
		}
	}
	if byResource {
		n := 0
		for _, q := range queues {
			for v := q.head; v != nil && n < mostSearched; v, n = v.next, n+1 {
				if v.endpoint.Resource != row.Resource {
					return v
				}
			}
		}
	}
	return w
}
