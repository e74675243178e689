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
// Client-Side Approach", arXiv 2510.04516. We worked from the abstract and the introduction
// of the paper, and from the rules and settings in the programs that its authors published.
// The comments on atb and aatb state these rules in our own words.
//
// The authors' client makes one call after another, so a gate for many callers needs
// rules that their programs do not have. Our additions and changes, each in favor of ATB and AATB:
//   - A response changes the rate only if its request left after the latest change (in
//     AATB, after the latest decrease). With only one request in flight at a time, this
//     holds for every response.
//   - In ATB, a success raises the rate only if the request had to wait for its token or
//     for the end of a pause. Otherwise the rate would grow without bound while the callers
//     stay below the limit, and halving would take far too long to lower it.
//   - The initial rate and the bucket size are the service's limit, as in the authors'
//     settings: 40 per minute and 40 tokens, for a limit of 40 per minute.
//   - A Retry-After is obeyed. The authors' service does not send one.
//   - A response that says nothing about the limit changes nothing. The authors also
//     halve the rate after 408, 425, 500, 502, 503 and 504.
//   - AATB counts exactly. The authors' programs count in slots of 2 s and 10 s.

// A quota is a limit that a gate knows from the start: rate is in requests per second, and
// tokens is how many requests the service accepts at once.
type quota struct{ rate, tokens float64 }

// authors is the quota in the authors' settings.
var authors = quota{rate: 40. / 60, tokens: 40}

// quotaOf returns the first rate limit of a situation, or authors if it has none.
func quotaOf(s sim.Situation) quota {
	if len(s.Limits) == 0 {
		return authors
	}
	l := s.Limits[0].Server
	return quota{l.Rate(), l.Tokens()}
}

// A bucket holds tokens. Each request takes one.
type bucket struct {
	tokens, size, rate float64 // rate: tokens per second
	last               time.Time
}

// leastRate is the lowest rate in the authors' programs. It is also the smallest amount
// by which a rate increases.
const leastRate = 0.01

func newBucket(limit quota) bucket {
	return bucket{tokens: 1, size: limit.tokens, rate: max(limit.rate, leastRate), last: time.Now()}
}

// take takes a token and returns 0, or returns how long to wait for the next token.
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

// raise multiplies the rate by step, but raises it by at least leastRate.
func (b *bucket) raise(step float64) { b.rate = max(b.rate*step, b.rate+leastRate) }

// lower divides the rate, which never falls below leastRate, and sets the number of tokens.
func (b *bucket) lower(by, tokens float64) {
	b.last = time.Now()
	b.rate, b.tokens = max(b.rate/by, leastRate), tokens
}

// An atb multiplies its rate by a step after a success. The step may be larger at rates
// below that at the latest refusal. A refusal halves the rate and empties the bucket. Some
// responses do not change the rate: see above.
type atb struct {
	line line

	mu        sync.Mutex
	bucket    bucket
	pause     pause
	congested float64     // the rate at the latest refusal that halved it; infinite at first
	epoch     gate.Ticket // twice the number of rate changes; a ticket is 1 higher if its request waited

	below, above float64 // the steps at rates below congested, and at all other rates
}

// newATB uses the authors' settings, in which both steps are 1.2. They work better here than
// the defaults in the authors' program, 1.5 and 1.2: with Retry-After, 300 calls at once
// against 20/s take 2.0 requests per success instead of 5.0.
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

// reportEvery is how long after an aatb's latest report a routine report is due.
// It is also the length of the window over which telemetry sums up the reports.
const reportEvery = 30 * time.Second

// telemetry collects the reports of all clients. It knows the service's limit.
type telemetry struct {
	limit float64 // requests per second

	mu      sync.Mutex
	reports []report
}

type report struct {
	at      time.Time
	from    *aatb
	sent    int  // number of requests that from has sent since its previous report
	refused bool // the report was made because a request was refused
}

// A digest summarizes the reports in the latest two windows.
type digest struct {
	sent    int // number of requests that all clients reported in the latest window
	refused int // number of refusals that were reported in the latest window
	clients int // number of clients that have reported in the latest two windows
}

// tell adds a report, and returns a digest of the earlier reports. The digest counts the
// client that made the new report, too.
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

// An aatb has a bucket too, but depends on telemetry. After a window in which no refusal
// was reported and its rate did not change, an aatb raises its rate: by a larger step if it
// is alone, if it has sent less than 3/4 as much as the average client, or if the earlier
// reports in the window contain no requests. After a window with refusals, it pauses. If
// one of its own requests is refused, and left after the latest decrease of the rate, the
// aatb waits as long as the service needs to serve all recently refused requests at its
// limit, and up to a second more. It also lowers its rate: by less if it has sent less than
// half as much as the average client.
//
// An aatb makes routine reports only when a request arrives, or while one waits. The
// authors' program also makes them at other times.
type aatb struct {
	line line
	all  *telemetry

	mu      sync.Mutex
	bucket  bucket
	pause   pause
	sent    int         // number of requests sent since the latest report
	told    time.Time   // time of the latest report or, before the first one, of the gate's creation
	changed time.Time   // time of the latest change of the rate or, before the first one, of the gate's creation
	epoch   gate.Ticket // number of refusals that lowered the rate
}

// An aatb that has sent little raises its rate by aatbLittle; one that has sent much, by
// aatbMuch. Both factors are from the authors' settings.
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

// tell reports how many requests a has sent since its latest report. It returns the
// digest, this number of requests, and the digest's average number per client.
func (a *aatb) tell(refused bool) (d digest, sent, average float64) {
	now := time.Now()
	d = a.all.tell(report{now, a, a.sent, refused})
	sent = float64(a.sent)
	a.told, a.sent = now, 0
	return d, sent, float64(d.sent) / float64(d.clients)
}

// routine makes a routine report. After that, it pauses, raises the rate, or does nothing
// more.
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

// holdUntil extends the pause to at least d from now.
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

// leave calls Wait, and returns the ticket and how long Wait took.
func leave(t *testing.T, g gate.Gate) (gate.Ticket, time.Duration) {
	t.Helper()
	began := time.Now()
	ticket, err := g.Wait(t.Context(), gate.Request{Key: "iam.test"})
	require.NoError(t, err)
	return ticket, time.Since(began)
}

// answered reports a result to a gate.
func answered(g gate.Gate, t gate.Ticket, r gate.Result) {
	g.Observe(gate.Request{Key: "iam.test"}, t, gate.Outcome{Result: r})
}

func TestATBRaisesItsRateIfARequestThatWaitedSucceedsAndHalvesItAfterARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newATB(quota{rate: 1, tokens: 1})
		g.below = 1.5
		ticket, took := leave(t, g)
		assert.Zero(t, took, "the bucket must start with one token")
		answered(g, ticket, gate.Accepted)
		rate := 1.0
		for _, step := range []struct {
			result gate.Result
			times  float64
		}{
			{gate.Accepted, 1.5}, {gate.Accepted, 1.5},
			{gate.Unknown, 1},
			{gate.Throttled, 0.5},                      // at a rate of 2.25
			{gate.Accepted, 1.5}, {gate.Accepted, 1.5}, // up to 2.53
			{gate.Accepted, 1.2},                         // above 2.25
			{gate.Throttled, 0.5}, {gate.Throttled, 0.5}, // at 3.04 and 1.52
			{gate.Accepted, 1.5}, {gate.Accepted, 1.5}, // up to 1.71
			{gate.Accepted, 1.2}, // above 1.52
		} {
			ticket, took := leave(t, g)
			assert.InDelta(t, 1/rate, took.Seconds(), 1e-6)
			answered(g, ticket, step.result)
			rate *= step.times
		}
	})
}

func TestATBHalvesItsRateOnceForRequestsThatLeftTogether(t *testing.T) {
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

func TestAATBRaisesItsRateAfterAWindowWithoutRefusals(t *testing.T) {
	for name, tt := range map[string]struct {
		others int // the other client has sent one request more than this; -1: there is no other client
		step   float64
	}{
		"alone":                              {-1, aatbLittle},
		"with a client that sends much more": {1000, aatbLittle},
		"with a client that sends less":      {0, aatbMuch},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				all := &telemetry{limit: 1}
				g := newAATB(quota{rate: 1, tokens: 1}, all)
				if tt.others >= 0 {
					all.tell(report{time.Now().Add(reportEvery - time.Second), newAATB(authors, all), tt.others + 1, false})
				}
				for range 30 { // one request per second; the last one leaves a second before the window ends
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

func TestAATBWaitsUntilTheServiceCanServeAllRefusedRequests(t *testing.T) {
	for name, tt := range map[string]struct {
		others int // requests in each of the four reports of another client
		by     float64
	}{"after sending more than others": {0, 3}, "after sending much less than others": {100, 2}} {
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

func TestAATBPausesForAWindowAfterAnotherClientWasRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := &telemetry{limit: 1}
		g := newAATB(quota{rate: 1, tokens: 1}, all)
		time.Sleep(reportEvery)
		all.tell(report{time.Now(), newAATB(authors, all), 1, true})
		_, took := leave(t, g)
		assert.InDelta(t, reportEvery.Seconds(), took.Seconds(), 2)
	})
}
