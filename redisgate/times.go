package redisgate

import "time"

const (
	patience     = 400 * time.Millisecond  // how long requests wait for a reply before this process continues alone
	tooSlow      = 300 * time.Millisecond  // time without a reply after which the server counts as lost
	askAgain     = 250 * time.Millisecond  // interval between questions to a leader that does not reply
	tellEvery    = 500 * time.Millisecond  // interval between periodic reports while the leader knows that more requests wait
	settled      = time.Second             // time after a pause during which outcomes are reported at once, because the leader's burst waits for them
	suspicious   = 5 * time.Second         // the same if the leader suspects a limit on the number in flight
	batch        = 50 * time.Millisecond   // interval between batches of messages if the server is far away or many requests wait
	rejoinEvery  = 500 * time.Millisecond  // interval between attempts to rejoin
	maxAway      = time.Minute             // longest interval between attempts to rejoin, reached if the connection flaps
	reconnect    = time.Second             // interval between attempts to subscribe
	aliveEvery   = time.Second             // interval between reports from a process whose requests are all in flight
	leaseTime    = 1500 * time.Millisecond // how long a leader leads without renewing its lease
	renewLease   = 400 * time.Millisecond  // interval between renewals of a lease
	renewPaused  = 5 * time.Second         // longest interval between renewals during a pause
	mostLetters  = 200                     // maximum number of messages sent at once
	minLead      = 2 * time.Second         // how long a leader leads, at least, before it passes the lead on to a nearer process
	leaderIdle   = 5 * time.Second         // time without reports after which an idle leader resigns
	mostOpen     = time.Minute             // age of a leader from which requests that were sent before there were turns no longer count as in flight
	memberFresh  = time.Second             // age of a member's latest report after which the member gets no turns
	memberGone   = 3 * time.Second         // age of a member's latest report after which its turns are taken back
	presence     = 10 * time.Second        // interval between the signs of life that a process leaves on the server
	absence      = 30 * time.Second        // age of its latest sign of life after which a process is no longer counted
	keep         = 10 * time.Minute        // how long an account that no process uses is remembered
	noticeAgain  = keep / 4                // interval at which processes that do not use an account are told that the account is in use
	waitedAgain  = 20 * time.Second        // interval at which all processes are told that requests have to wait
	startWait    = 250 * time.Millisecond  // how long New waits for the server, at most
	closeWait    = 500 * time.Millisecond  // how long Close waits for the server, at most
	defaultPause = 250 * time.Millisecond  // pause after a 429 without Retry-After, until the leader reports a pause; also the controller's shortest pause of its own
)

// A distance is the duration of a round trip to the server, or 0 if it is not known yet.
// A message from one process to another takes about as long. A turn takes twice as long,
// because a report has to ask for the turn first. The time that a process waits for a
// reply therefore grows with the distance. Some of the constants above are the values for
// a nearby server.
type distance time.Duration

const (
	nearby   = distance(420 * time.Millisecond) // from this distance on, a process does not join the fleet, unless a nearer process leads
	farthest = distance(500 * time.Millisecond) // from this distance on, a process leaves the fleet, unless a nearer process leads
	unknown  = distance(500 * time.Millisecond) // upper estimate of a distance that is not known yet
	slowly   = 10 * time.Second                 // time constant with which the distance grows
	slack    = patience - tooSlow               // allowance for the part of a round trip that is not spent on the network
)

// taken returns the updated distance after a round trip that took trip. since is the time
// since the previous round trip ended. The distance is a minimum that rises slowly, so
// that a server that becomes slow does not soon make requests wait much longer before the
// process continues alone.
func (d distance) taken(trip, since time.Duration) distance {
	t := min(max(distance(trip), 1), 2*farthest)
	if d == 0 || t < d {
		return t
	}
	return d + (t-d)*min(distance(since), distance(time.Second))/distance(slowly)
}

// tooSlow returns how long the server may take to reply before it counts as lost. A
// command that needs a new connection takes three round trips.
func (d distance) tooSlow() time.Duration {
	if d == 0 {
		d = unknown
	}
	return max(tooSlow, slack+time.Duration(4*d))
}

// turn returns how long a leader may take to reply. The result is at least twice the
// duration of the two round trips that a reply needs, because messages also wait for
// their batches.
func (d distance) turn() time.Duration { return max(patience-askAgain, time.Duration(4*d)) }

// patience returns how long requests wait for a reply before this process continues
// alone.
func (d distance) patience() time.Duration { return askAgain + d.turn() }

// farther returns the distance beyond which a leader is too far away for a member at
// distance d. A reply from a leader at that distance still arrives within the time that
// turn returns, plus slack.
func (d distance) farther() distance { return 2*d + distance(50*time.Millisecond) }

// lease returns how long a leader leads without renewing its lease. A lease command that
// is older than this is no longer worth sending.
func (d distance) lease() time.Duration { return max(leaseTime, leaseTime/2+time.Duration(4*d)) }

// distance returns the distance to the server.
func (g *Gate) distance() distance { return distance(g.away.Load()) }

// left returns what is left of a pause that another process or the server has reported.
// The report of the pause took at least half a round trip to arrive.
func (d distance) left(pause time.Duration) time.Duration {
	return max(pause-time.Duration(d)/2, min(pause, 1))
}

// took records how long a round trip took.
func (g *Gate) took(trip time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	g.away.Store(int64(g.distance().taken(trip, now-g.tookAt)))
	g.tookAt = now
}
