package main

import (
	"context"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/bench/internal/sim"
	"github.com/iamhttp/iamhttp/gate"
)

// ATB and AATB are the two algorithms of "Rethinking HTTP API Rate Limiting: A
// Client-Side Approach", arXiv 2510.04516. Of the paper we had the abstract and the
// introduction; of the authors' programs, which they published, we had what the rules
// do and their settings. The rules below are those of the programs, in our words.
//
// Their client makes one call after the other, so that a gate for many callers needs
// what they do not have. These are our guesses, each in favor of the two:
//   - A response changes the rate only if its request left after the latest change.
//     With one request in flight that is each of them.
//   - The rate grows only if the request had to wait for its token. Otherwise it has
//     no bound below the limit, and halving takes for ever to come back.
//   - They begin with the service's limit as rate and size of the bucket, as in their
//     settings: 40 per minute and 40 tokens, against 40 per minute.
//   - A Retry-After is obeyed, which the authors' service does not send.
//   - A response that says nothing of the limit changes nothing. The authors halve the
//     rate after 408, 425, 500, 502, 503 and 504, too.
//   - AATB's sums are exact. The authors' are of slots of 2 s and 10 s.

// A quota is a limit that a gate is told.
type quota struct{ rate, tokens float64 } // requests per second, and in one instant

// authors is the quota of the authors' settings.
var authors = quota{rate: 40. / 60, tokens: 40}

// quotaOf is the rate limit of a situation, or that of the authors if it has none.
func quotaOf(s sim.Situation) quota {
	if len(s.Limits) == 0 {
		return authors
	}
	l := s.Limits[0].Server
	return quota{l.Rate(), l.Tokens()}
}

// A bucket of tokens, one for each request.
type bucket struct {
	tokens, size, rate float64 // rate: tokens per second
	last               time.Time
}

// leastRate is the authors' least rate, and their least increase of it.
const leastRate = 0.01

func newBucket(limit quota) bucket {
	return bucket{tokens: 1, size: limit.tokens, rate: max(limit.rate, leastRate), last: time.Now()}
}

// take takes a token, or returns how long there will be none.
func (b *bucket) take() time.Duration {
	now := time.Now()
	b.tokens = min(b.size, b.tokens+now.Sub(b.last).Seconds()*b.rate)
	b.last = now
	if b.tokens < 1-1e-9 {
		return time.Duration(math.Ceil((1 - b.tokens) / b.rate * 1e9))
	}
	b.tokens--
	return 0
}

// raise multiplies the rate.
func (b *bucket) raise(step float64) { b.rate = max(b.rate*step, b.rate+leastRate) }

// lower divides the rate, and leaves so many tokens.
func (b *bucket) lower(by, tokens float64) {
	b.last = time.Now()
	b.rate, b.tokens = max(b.rate/by, leastRate), tokens
}

// An atb raises its rate by a step with each success, a larger one while it is below
// the rate of the latest refusal. A refusal halves the rate and empties the bucket.
type atb struct {
	line line

	mu        sync.Mutex
	bucket    bucket
	pause     pause
	congested float64     // the rate of the latest refusal
	epoch     gate.Ticket // of the changes, times two, plus one for a request that has waited

	below, above float64 // the steps
}

// newATB has the steps of the authors' settings, which are equal. Those are better here
// than the defaults of their program, 1.5 and 1.2: 2.0 requests per success instead of
// 5.0 with 300 calls at once against 20/s.
func newATB(limit quota) *atb {
	return &atb{
		line: newLine(), bucket: newBucket(limit), pause: newPause(), congested: math.Inf(1),
		below: 1.2, above: 1.2,
	}
}

func (a *atb) Wait(ctx context.Context, _ gate.Request) (t gate.Ticket, err error) {
	err = a.line.pass(ctx, func(waited bool) time.Duration {
		a.mu.Lock()
		defer a.mu.Unlock()
		if wait := time.Until(a.pause.until); wait > 0 {
			return wait
		}
		t = a.epoch
		if waited {
			t++
		}
		return a.bucket.take()
	})
	return t, err
}

func (a *atb) Observe(_ gate.Request, t gate.Ticket, o gate.Outcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch o.Result {
	case gate.Accepted:
		if t != a.epoch+1 {
			return
		}
		step := a.above
		if a.bucket.rate < a.congested {
			step = a.below
		}
		a.bucket.raise(step)
		a.epoch += 2
	case gate.Throttled:
		a.pause.extend(o, 0)
		if t < a.epoch {
			return
		}
		a.congested = a.bucket.rate
		a.bucket.lower(2, 0)
		a.epoch += 2
	case gate.Unknown, gate.NotSent:
	}
}

// reportEvery is how often an aatb tells what it has sent, and what telemetry sums up.
const reportEvery = 30 * time.Second

// telemetry is what clients tell of themselves. It knows the limit of the service.
type telemetry struct {
	limit float64 // requests per second

	mu      sync.Mutex
	reports []report
}

type report struct {
	at      time.Time
	from    *aatb
	sent    int
	refused bool
}

// A digest is what telemetry answers.
type digest struct {
	sent    int // of all, in a window
	refused int // in a window
	clients int // that have told something in two windows
}

// tell takes a report, and answers with what it knew before.
func (t *telemetry) tell(r report) digest {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reports = slices.DeleteFunc(t.reports, func(old report) bool { return r.at.Sub(old.at) >= 2*reportEvery })
	var d digest
	clients := map[*aatb]bool{r.from: true}
	for _, old := range t.reports {
		clients[old.from] = true
		if r.at.Sub(old.at) < reportEvery {
			d.sent += old.sent
			if old.refused {
				d.refused++
			}
		}
	}
	d.clients = len(clients)
	t.reports = append(t.reports, r)
	return d
}

// An aatb has a bucket, too, but asks telemetry what to do. In each window in which
// nobody was refused it raises its rate, by more if it sends little beside the others.
// In one in which somebody was it pauses. After a refusal of its own it waits for as
// long as the limit takes to serve all who were refused, and lowers its rate, by more
// if it sends much beside the others.
//
// It tells nothing while no request waits. The authors' program tells even then.
type aatb struct {
	line line
	all  *telemetry

	mu      sync.Mutex
	bucket  bucket
	pause   pause
	sent    int         // since the latest report
	told    time.Time   // the latest report
	changed time.Time   // the latest change of the rate
	epoch   gate.Ticket // of the refusals that counted
}

// The steps are those of the authors' settings.
const aatbLittle, aatbMuch = 1.4, 1.2

func newAATB(limit quota, all *telemetry) *aatb {
	now := time.Now()
	return &aatb{line: newLine(), all: all, bucket: newBucket(limit), pause: newPause(), told: now, changed: now}
}

func (a *aatb) Wait(ctx context.Context, _ gate.Request) (epoch gate.Ticket, err error) {
	err = a.line.pass(ctx, func(bool) time.Duration {
		a.mu.Lock()
		defer a.mu.Unlock()
		if time.Since(a.told) >= reportEvery {
			a.routine()
		}
		wait := time.Until(a.pause.until)
		if wait <= 0 {
			wait = a.bucket.take()
		}
		if wait <= 0 {
			epoch = a.epoch
			a.sent++
			return 0
		}
		return min(wait, time.Until(a.told.Add(reportEvery)))
	})
	return epoch, err
}

// tell reports what was sent since the last time. It returns that, too, and what each
// client sends on the average.
func (a *aatb) tell(refused bool) (d digest, sent, average float64) {
	now := time.Now()
	d = a.all.tell(report{now, a, a.sent, refused})
	sent = float64(a.sent)
	a.told, a.sent = now, 0
	return d, sent, float64(d.sent) / float64(d.clients)
}

func (a *aatb) routine() {
	d, sent, average := a.tell(false)
	switch {
	case d.refused > 0:
		a.holdUntil(reportEvery + time.Duration((4*a.pause.rng.Float64()-2)*float64(time.Second)))
	case time.Since(a.changed) >= reportEvery:
		step := aatbMuch
		if sent < 0.75*average || d.clients == 1 || average == 0 {
			step = aatbLittle
		}
		a.bucket.raise(step)
		a.changed = a.told
	}
}

// holdUntil makes a pause that ends so long from now.
func (a *aatb) holdUntil(d time.Duration) {
	if until := time.Now().Add(d); until.After(a.pause.until) {
		a.pause.until = until
	}
}

func (a *aatb) Observe(_ gate.Request, t gate.Ticket, o gate.Outcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if o.Result != gate.Throttled {
		return
	}
	a.pause.extend(o, 0)
	if t != a.epoch {
		return
	}
	a.epoch++
	d, sent, average := a.tell(true)
	wait := float64(d.refused+1)/a.all.limit + a.pause.rng.Float64()
	a.holdUntil(time.Duration(wait * float64(time.Second)))
	by := 3.0
	if sent < average/2 {
		by = 2
	}
	a.bucket.lower(by, min(1.1, a.bucket.size))
	a.changed = a.told
}

// leave waits for a gate and returns how long that took.
func leave(t *testing.T, g gate.Gate) (gate.Ticket, time.Duration) {
	t.Helper()
	began := time.Now()
	ticket, err := g.Wait(t.Context(), gate.Request{Key: "iam.test"})
	require.NoError(t, err)
	return ticket, time.Since(began)
}

// answered tells a gate an outcome.
func answered(g gate.Gate, t gate.Ticket, r gate.Result) {
	g.Observe(gate.Request{Key: "iam.test"}, t, gate.Outcome{Result: r})
}

func TestATBRaisesItsRateWithEachSuccessAndHalvesItWithEachRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newATB(quota{rate: 1, tokens: 1})
		g.below = 1.5
		ticket, took := leave(t, g)
		assert.Zero(t, took, "one token is there at the start")
		answered(g, ticket, gate.Accepted)
		rate := 1.0
		for _, step := range []struct {
			result gate.Result
			times  float64
		}{
			{gate.Accepted, 1.5}, {gate.Accepted, 1.5},
			{gate.Unknown, 1},
			{gate.Throttled, 0.5},                      // at 2.25
			{gate.Accepted, 1.5}, {gate.Accepted, 1.5}, // to 2.53
			{gate.Accepted, 1.2},                         // above 2.25
			{gate.Throttled, 0.5}, {gate.Throttled, 0.5}, // at 3.04 and 1.52
			{gate.Accepted, 1.5}, {gate.Accepted, 1.5}, // to 1.71
			{gate.Accepted, 1.2}, // above 1.52
		} {
			ticket, took := leave(t, g)
			assert.InDelta(t, 1/rate, took.Seconds(), 1e-6)
			answered(g, ticket, step.result)
			rate *= step.times
		}
	})
}

func TestATBCountsOneOfTheRefusalsThatLeftTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newATB(quota{rate: 1, tokens: 3})
		time.Sleep(3 * time.Second)
		var tickets []gate.Ticket
		for range 3 {
			ticket, _ := leave(t, g)
			tickets = append(tickets, ticket)
		}
		for _, ticket := range tickets {
			answered(g, ticket, gate.Throttled)
		}
		_, took := leave(t, g)
		assert.InDelta(t, 2, took.Seconds(), 1e-6)
	})
}

func TestAATBRaisesItsRateOnceInAWindowWithoutARefusal(t *testing.T) {
	for name, tt := range map[string]struct {
		others int // requests that another client has sent
		step   float64
	}{
		"alone":                 {-1, aatbLittle},
		"beside a busy client":  {1000, aatbLittle},
		"beside an idle client": {0, aatbMuch},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				all := &telemetry{limit: 1}
				g := newAATB(quota{rate: 1, tokens: 1}, all)
				if tt.others >= 0 {
					all.tell(report{time.Now().Add(reportEvery - time.Second), newAATB(authors, all), tt.others + 1, false})
				}
				for range 30 { // one each second, the last a second before the window ends
					ticket, _ := leave(t, g)
					answered(g, ticket, gate.Accepted)
				}
				leave(t, g)
				_, took := leave(t, g)
				assert.InDelta(t, 1/tt.step, took.Seconds(), 1e-6)
			})
		})
	}
}

func TestAATBWaitsUntilTheLimitHasServedAllWhoWereRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		others int // requests that another client has sent
		by     float64
	}{"after much": {0, 3}, "after little": {100, 2}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				all := &telemetry{limit: 0.5}
				other := newAATB(authors, all)
				for range 4 {
					all.tell(report{time.Now(), other, tt.others, true})
				}
				g := newAATB(quota{rate: 1, tokens: 1}, all)
				ticket, _ := leave(t, g)
				answered(g, ticket, gate.Throttled)
				_, took := leave(t, g)
				assert.GreaterOrEqual(t, took.Seconds(), 5/0.5)
				assert.LessOrEqual(t, took.Seconds(), 5/0.5+1)
				_, took = leave(t, g)
				assert.InDelta(t, tt.by, took.Seconds(), 1e-6)
			})
		})
	}
}

func TestAATBPausesForAWindowWhenOthersWereRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := &telemetry{limit: 1}
		g := newAATB(quota{rate: 1, tokens: 1}, all)
		time.Sleep(reportEvery)
		all.tell(report{time.Now(), newAATB(authors, all), 1, true})
		_, took := leave(t, g)
		assert.InDelta(t, reportEvery.Seconds(), took.Seconds(), 2)
	})
}
