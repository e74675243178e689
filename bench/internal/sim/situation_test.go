package sim

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

const second = time.Second

func TestLimitChangesAtTheTimesInItsCourse(t *testing.T) {
	l := Limit{Server: Bucket(100, 0.1), Course: []Change{{10 * second, 4}, {20 * second, 0}, {30 * second, 1}}}
	assert.InDelta(t, 1000+4000+0+500, l.Allows(0, 35*second), 1e-6)
	r := Situation{
		Limits: []Limit{l}, Answers: Fast, Length: 35 * second,
		Callers: []Callers{{Rate: 1000}},
	}.Run(t, once)
	for _, stretch := range []struct{ from, until time.Duration }{{0, 10 * second}, {10 * second, 20 * second}, {20 * second, 30 * second}, {30 * second, 35 * second}} {
		// The calls are 1 ms apart on average, and the bucket holds at most 40 tokens.
		assert.InDelta(t, l.Allows(stretch.from, stretch.until), r.Answered(stretch.from, stretch.until), 60, stretch)
	}
}

func TestEachCallHasItsOwnDeadline(t *testing.T) {
	r := Situation{
		Answers: "3s", Length: time.Minute,
		Callers: []Callers{{Once: 10, Apart: second, Timeout: 2 * second}},
	}.Run(t, once)
	assert.Equal(t, 10, r.Failed())
	for _, took := range r.Told() {
		assert.Equal(t, 2*second, took)
	}
}

func TestEachWorkerMakesOneCallAtATime(t *testing.T) {
	r := Situation{Answers: "100ms", Length: 10 * second, Callers: []Callers{{Workers: 3}}}.Run(t, once)
	assert.InDelta(t, 300, r.OK(), 3)
	assert.Equal(t, 3, len(r.Calls)-r.OK(), "the end of the run must cancel one call per worker")
	assert.Zero(t, r.Failed())
}

func TestAWorkerRestsAfterAFailure(t *testing.T) {
	r := Situation{
		Answers: "100ms", Length: 10 * second, Callers: []Callers{{Workers: 1}},
		Faults: []Fault{{Until: time.Minute, Share: 1, Status: 503}},
	}.Run(t, once)
	assert.Equal(t, 50, r.Failed())
}

func TestRequestsBeyondTheInFlightLimitAreRefused(t *testing.T) {
	r := Situation{
		InFlight: 5, Answers: Slow, Way: 5 * time.Millisecond, Length: time.Minute,
		Callers: []Callers{{Once: 20}},
	}.Run(t, once)
	assert.Equal(t, 5, r.OK())
	assert.Equal(t, 15, r.Failed())
	assert.Less(t, Quantile(r.Told(), 1), 11*time.Millisecond, "a refused request must fail after the round trip, 10 ms")
}

func TestFaultsHitTheirShareOfRequestsInTheirPeriod(t *testing.T) {
	r := Situation{
		Answers: Fast, Length: 30 * second, Callers: []Callers{{Rate: 300}},
		Faults: []Fault{
			{From: 10 * second, Until: 20 * second, Share: 0.25, Status: 503},
			{From: 10 * second, Until: 20 * second, Share: 0.25, Silence: second},
			{From: 25 * second, Until: 30 * second, Share: 1, Count: 7, Status: 429, RetryAfter: "1"},
		},
	}.Run(t, once)
	assert.Zero(t, r.Made(0, 9*second).Failed())
	silent := 0
	for _, c := range r.Calls {
		if c.Err == errSilence {
			silent++
			assert.InDelta(t, 1.005, (c.End - c.At).Seconds(), 0.001)
		}
	}
	assert.InDelta(t, 750, silent, 100)
	assert.InDelta(t, 1500, r.Made(10*second, 20*second).Failed(), 150)
	assert.Equal(t, 7, r.Made(24*second, 30*second).Failed())
}

func TestStrangersUseTheLimitOnlyWhileTheyArePresent(t *testing.T) {
	l := Limit{Server: Bucket(100, 0.1), Strangers: []Presence{{10 * second, 20 * second, 0.5}}}
	r := Situation{Limits: []Limit{l}, Answers: Fast, Length: 30 * second, Callers: []Callers{{Rate: 1000}}}.Run(t, once)
	assert.InDelta(t, 1000, r.Answered(0, 10*second), 30)
	assert.InDelta(t, 950, r.Answered(10*second, 20*second), 30, "strangers make 50 requests per second and the callers 1000, so strangers must take about a twentieth of the limit")
	assert.InDelta(t, 1000, r.Answered(20*second, 30*second), 30)
}

func TestLimitCountsOnlyItsMethodAndEachHostHasItsOwnLimit(t *testing.T) {
	s := Situation{
		Limits: []Limit{{Server: Bucket(1, 10), Method: "GET"}, {Server: Bucket(1, 5), Method: "POST"}}, Answers: Fast, Length: time.Minute,
		Callers: []Callers{{Name: "read", Once: 100, Hosts: 2}, {Name: "write", Method: "POST", Once: 100}},
	}
	r := s.Run(t, once)
	assert.Equal(t, 20, r.Of("read").OK())
	assert.Equal(t, 5, r.Of("write").OK())
}

func TestEachRefusalRestartsTheBan(t *testing.T) {
	r := Situation{
		Limits: []Limit{{Server: Bucket(1, 1)}}, Ban: 5 * second, RetryAfter: Seconds, Answers: Fast, Length: time.Minute,
		Callers: []Callers{{Once: 3}, {Once: 1, From: 4 * second}, {Once: 1, From: 8 * second}, {Once: 1, From: 14 * second}},
	}.Run(t, once)
	assert.Equal(t, 1, r.Made(0, second).OK())
	assert.Zero(t, r.Made(second, 10*second).OK())
	assert.Equal(t, 1, r.Made(10*second, 20*second).OK())
}

func TestEachProcessHasItsOwnClient(t *testing.T) {
	var clients atomic.Int64
	Situation{Answers: Fast, Length: second, Callers: []Callers{{Once: 1}, {Once: 1, Process: 2}, {Once: 1, Process: 1}}}.Run(t,
		func(base http.RoundTripper) func(*http.Request) (*http.Response, error) {
			clients.Add(1)
			return base.RoundTrip
		})
	assert.EqualValues(t, 3, clients.Load())
}

func TestRequestDuringARetryAfterCountsAsForbidden(t *testing.T) {
	s := Situation{Limits: []Limit{{Server: Bucket(1, 0)}}, RetryAfter: Seconds, Answers: Fast, Length: time.Minute, Callers: []Callers{{Once: 2}}}
	assert.Zero(t, s.Run(t, patient(second)).Forbidden)
	assert.Equal(t, 2, s.Run(t, patient(second/2)).Forbidden, "two retries must count as forbidden: the first is refused, and the second is accepted")
}

func TestSameSeedDrawsTheSameSituationAndRun(t *testing.T) {
	for seed := range uint64(5) {
		s := Draw(seed)
		assert.Equal(t, s, Draw(seed))
		first := s.Run(t, once)
		assert.NotEmpty(t, first.Calls, s)
		assert.Equal(t, first, s.Run(t, once), s)
	}
}

func TestRateCountsAsRegainedOnlyIfItLasts(t *testing.T) {
	r := &Record{Situation: Situation{Length: time.Minute}}
	for at := time.Duration(0); at < time.Minute; at += second / 10 {
		if at < 10*second || at >= 20*second && at < 23*second || at >= 30*second {
			r.Calls = append(r.Calls, Call{End: at})
		}
	}
	after, ok := r.Regained(10*second, 9)
	assert.True(t, ok)
	assert.InDelta(t, 20, after.Seconds(), 0.5, "three seconds at that rate must not count as regained")
	_, ok = r.Regained(10*second, 11)
	assert.False(t, ok)
}

func TestJainsIndexIsOneForEqualSharesAndOneNthForASingleKind(t *testing.T) {
	r := &Record{Situation: Situation{Callers: make([]Callers, 4)}}
	for i := range 40 {
		r.Calls = append(r.Calls, Call{Kind: i % 4})
	}
	assert.InDelta(t, 1, r.Jain(0, second), 1e-9)
	assert.InDelta(t, 0.25, (&Record{Situation: r.Situation, Calls: r.Calls[:1]}).Jain(0, second), 1e-9)
}
