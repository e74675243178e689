package redisgate

import "time"

const (
	patience     = 400 * time.Millisecond  // how long requests wait for an answer before this process goes on alone
	tooSlow      = 300 * time.Millisecond  // a server that takes longer to answer counts as lost
	askAgain     = 250 * time.Millisecond  // without an answer, after which the leader is asked for one, again and again
	tellEvery    = 500 * time.Millisecond  // between two reports while the leader knows of more requests that wait
	settled      = time.Second             // since a pause; outcomes are told at once until then, because the leader's burst waits for them
	batch        = 50 * time.Millisecond   // between two batches of messages, if the server is far or many requests wait
	rejoinEvery  = 500 * time.Millisecond  // between two attempts to rejoin
	maxAway      = time.Minute             // between them at most, if the connection flaps
	reconnect    = time.Second             // between two attempts to subscribe
	aliveEvery   = time.Second             // between two reports of a process whose requests are all in flight
	leaseTime    = 1500 * time.Millisecond // a leader leads for this long unless it renews its lease
	renewLease   = 400 * time.Millisecond  // between two renewals
	leaderIdle   = 5 * time.Second         // without requests, after which a leader resigns
	memberFresh  = time.Second             // since its latest report, after which a member gets no turns
	memberGone   = 3 * time.Second         // since its latest report, after which its turns are taken back
	presence     = 10 * time.Second        // between two signs of life on the server
	absence      = 30 * time.Second        // without a sign of life, after which a process is not counted
	keep         = 10 * time.Minute        // how long an account is remembered that no process uses
	noticeAgain  = keep / 4                // between two notices that an account is in use, for processes that do not use it
	startWait    = 250 * time.Millisecond  // how long New waits for the server
	closeWait    = 500 * time.Millisecond  // how long Close waits for the server
	defaultPause = 250 * time.Millisecond  // after a 429 without Retry-After, until the leader says more; the controller's too
)

// A distance is how long the server takes for one round trip; 0: not known yet. A
// message from one process to another takes as long, and a turn twice as long: the
// report that asks for it, and the turn. So the limits of such waits are longer
// if the server is far. Some of the constants above are what holds if it is
// near.
type distance time.Duration

const (
	farthest = distance(500 * time.Millisecond) // processes with a server farther away go alone
	slowly   = 10 * time.Second                 // the time constant at which a server becomes farther
	slack    = patience - tooSlow               // for what a round trip takes beside the network
)

// taken returns the distance after a round trip, the latest one having ended so
// long before. It is a minimum that rises slowly: a server that becomes slow makes
// no request wait longer before the process goes on alone.
func (d distance) taken(trip, since time.Duration) distance {
	t := min(max(distance(trip), 1), 2*farthest)
	if d == 0 || t < d {
		return t
	}
	return d + (t-d)*min(distance(since), distance(time.Second))/distance(slowly)
}

// tooSlow is what an answer of the server takes at most, or the server is lost. A
// command that needs a new connection takes three round trips.
func (d distance) tooSlow() time.Duration {
	if d == 0 {
		d = farthest
	}
	return max(tooSlow, slack+time.Duration(4*d))
}

// turn is what an answer of a leader takes at most: two round trips, with batches
// under way, allowing twice that.
func (d distance) turn() time.Duration { return max(patience-askAgain, time.Duration(4*d)) }

// patience is how long requests wait for an answer before this process goes on
// alone.
func (d distance) patience() time.Duration { return askAgain + d.turn() }

// lease is for how long a leader leads without renewing its lease. It is also the
// time after which a command is not worth sending any more.
func (d distance) lease() time.Duration { return max(leaseTime, leaseTime/2+time.Duration(4*d)) }

// distance returns the server's.
func (g *Gate) distance() distance { return distance(g.away.Load()) }

// left returns what is left of a pause that another process, or the server, has told
// of: the message took half a round trip at least.
func (d distance) left(pause time.Duration) time.Duration {
	return max(pause-time.Duration(d)/2, min(pause, 1))
}

// took notes how long a round trip took.
func (g *Gate) took(trip time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	g.away.Store(int64(g.distance().taken(trip, now-g.tookAt)))
	g.tookAt = now
}
