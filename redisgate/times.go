package redisgate

import "time"

const (
	patience     = 400 * time.Millisecond  // how long requests wait for an answer before this process goes on alone
	tooSlow      = 300 * time.Millisecond  // a server that takes longer to answer counts as lost
	outOfDate    = leaseTime               // after this a command is not worth sending any more
	askAgain     = 200 * time.Millisecond  // between two questions to the leader
	rejoinEvery  = 500 * time.Millisecond  // between two attempts to rejoin
	maxAway      = time.Minute             // between them at most, if the connection flaps
	reconnect    = time.Second             // between two attempts to subscribe
	aliveEvery   = time.Second             // between two reports of a process whose requests are all in flight
	leaseTime    = 1500 * time.Millisecond // a leader leads for this long unless it renews its lease
	renewLease   = 400 * time.Millisecond  // between two renewals
	leaderIdle   = 5 * time.Second         // without requests, after which a leader resigns
	memberFresh  = 500 * time.Millisecond  // since its latest report, after which a member gets no turns
	memberGone   = 3 * time.Second         // since its latest report, after which its turns are taken back
	presence     = 10 * time.Second        // between two signs of life on the server
	absence      = 30 * time.Second        // without a sign of life, after which a process is not counted
	keep         = 10 * time.Minute        // how long an account is remembered that no process uses
	noticeAgain  = keep / 4                // between two notices that an account is in use, for processes that do not use it
	startWait    = 250 * time.Millisecond  // how long New waits for the server
	closeWait    = 500 * time.Millisecond  // how long Close waits for the server
	defaultPause = 250 * time.Millisecond  // after a 429 without Retry-After, until the leader says more; the controller's too
)
