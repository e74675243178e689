package sim

import (
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// once is a client that sends each call's request once.
func once(base http.RoundTripper) func(*http.Request) (*http.Response, error) { return base.RoundTrip }

// patient returns a client that waits before each retry, and retries a call until it
// succeeds or gets an error.
func patient(wait time.Duration) Client {
	return func(base http.RoundTripper) func(*http.Request) (*http.Response, error) {
		return func(req *http.Request) (*http.Response, error) {
			for {
				resp, err := base.RoundTrip(req)
				if err != nil || resp.StatusCode == http.StatusOK {
					return resp, err
				}
				time.Sleep(wait)
			}
		}
	}
}

func TestServerAcceptsAsManyRequestsAsItsLimitAllows(t *testing.T) {
	for _, s := range Servers {
		if s.Change != 0 || s.Strangers != 0 {
			continue
		}
		t.Run(s.String(), func(t *testing.T) {
			l := s.limiter(0, 1)
			accepted := 0
			const seconds = 600
			for now := time.Duration(0); now < seconds*time.Second; {
				if wait := l.wait(now); wait > 0 {
					now += wait
					continue
				}
				require.True(t, l.take(now), "a request at %v was refused when the wait was zero", now)
				accepted++
			}
			assert.InEpsilon(t, s.Rate()*seconds+s.Tokens(), accepted, 0.25/s.Tokens()+0.02+s.Window.Seconds()/seconds)
		})
	}
}

func TestLimiterAcceptsARequestExactlyAfterItsWait(t *testing.T) {
	for _, s := range Servers {
		if s.Strangers != 0 {
			continue
		}
		t.Run(s.String(), func(t *testing.T) {
			for i := range 40 {
				// fill makes i more requests than the server accepts at once.
				fill := func() (limiter, time.Duration) {
					l := s.limiter(time.Hour, 1)
					now := time.Duration(i) * 37 * time.Millisecond
					for range int(s.Tokens()) + i {
						now += time.Duration(i) * 11 * time.Microsecond
						l.take(now)
					}
					return l, now
				}
				l, now := fill()
				wait := l.wait(now)
				assert.True(t, l.take(now+wait), "a request must be accepted after %v", wait)
				if wait > time.Millisecond {
					l, now = fill()
					assert.False(t, l.take(now+wait-time.Millisecond), "a request must be refused a millisecond before the wait of %v ends", wait)
				}
			}
		})
	}
}

func TestSlidingWindowCountsRefusedRequests(t *testing.T) {
	l := Server{Algorithm: SlidingWindow, Limit: 10, Window: time.Second}.limiter(0, 1)
	for range 20 {
		l.take(0)
	}
	assert.False(t, l.take(1400*time.Millisecond), "the request must be refused, because 20 × 0.6 and the request itself are more than 10")
	assert.True(t, l.take(1600*time.Millisecond), "the request must be accepted, because 20 × 0.4 and two requests are 10")
}

func TestLimitChangesAtTheGivenTime(t *testing.T) {
	s := Bucket(10, 0.1)
	s.Change = 2
	l := s.limiter(10*time.Second, 1)
	l.take(0)
	assert.Equal(t, 100*time.Millisecond, l.wait(0))
	l.take(20 * time.Second)
	l.take(20 * time.Second)
	assert.Equal(t, 50*time.Millisecond, l.wait(20*time.Second))
}

func TestStrangersUseTheLimitInProportionToTheirRequests(t *testing.T) {
	s := Bucket(100, 0.1)
	s.Strangers = 0.5
	l := s.limiter(0, 1)
	accepted := 0
	ours := rand.New(rand.NewPCG(1, 0))
	for now := time.Duration(0); now < 100*time.Second; now += exponential(ours, 200) {
		if l.take(now) {
			accepted++
		}
	}
	// We send 200 requests per second and the strangers 50, so the strangers get a fifth
	// of the limit.
	assert.InDelta(t, 8000, accepted, 400)
}

func TestSameSeedGivesTheSameRun(t *testing.T) {
	servers := slices.DeleteFunc(slices.Clone(Servers), func(s Server) bool { return s.Rate() < 100 })
	for _, s := range Matrix(servers, []RetryAfter{Seconds}, []Arrivals{{Calls: 200}, {Calls: 200, Load: 2}}, []Answers{LogNormal}, 7) {
		client := patient(1100 * time.Millisecond)
		first, second := s.Run(t, client, true), s.Run(t, client, true)
		assert.Equal(t, first, second, s)
		other := s
		other.Seed++
		assert.NotEqual(t, first.Latency, other.Run(t, client, true).Latency, s)
	}
}

func TestPatientClientIsNotFasterThanTheIdealServer(t *testing.T) {
	for _, s := range Matrix(Servers, []RetryAfter{Seconds}, []Arrivals{{Calls: 100}, {Calls: 100, Load: 2}}, []Answers{Fast}, 1) {
		if s.Server.Algorithm == SlidingWindow {
			continue // a sliding window counts throttled requests, so such a client may never succeed
		}
		r := s.Run(t, patient(500*time.Millisecond), false)
		assert.Equal(t, 100, r.OK, s)
		assert.GreaterOrEqual(t, r.MakespanRatio(), 0.999, s)
	}
}

func TestIdealServerIsAsFastAsTheLimitAllows(t *testing.T) {
	for s, want := range map[Server]time.Duration{
		Bucket(100, 1):    9 * time.Second, // 100 at once, 900 at 100 per second
		Bucket(100, 0.1):  9900 * time.Millisecond,
		Bucket(10, 0.02):  99900 * time.Millisecond,
		windows[0]:        16 * time.Minute, // the last 40 succeed in the seventeenth minute
		windows[1]:        9 * time.Second,
		changing[2].by(2): 5*time.Second - 100*time.Millisecond + 2500*time.Millisecond, // about 510 before the change and 490 after
	} {
		r := Scenario{s, Seconds, Arrivals{Calls: 1000}, Fast, 1}.Run(t, once, false)
		assert.InDelta(t, (want + 10*time.Millisecond).Seconds(), r.IdealMakespan.Seconds(), 0.11, s)
	}
}

func (s Server) by(change float64) Server {
	s.Change = change
	return s
}

func TestRequestCountsAsForbiddenOnlyWhileAReceivedRetryAfterLasts(t *testing.T) {
	s := Scenario{Bucket(1, 1), Seconds, Arrivals{Calls: 2}, Fast, 1}
	for _, c := range []struct {
		wait time.Duration
		want int
	}{{0, 0}, {time.Millisecond, 1}, {time.Second, 0}} {
		attempt := 0
		r := s.Run(t, func(base http.RoundTripper) func(*http.Request) (*http.Response, error) {
			return func(req *http.Request) (*http.Response, error) {
				resp, err := base.RoundTrip(req)
				if err == nil && resp.StatusCode == http.StatusTooManyRequests && attempt == 0 {
					attempt++
					time.Sleep(c.wait)
					return base.RoundTrip(req)
				}
				return resp, err
			}
		}, false)
		assert.Equal(t, c.want, r.Forbidden, "wrong number of forbidden requests when the retry is sent %v after the 429", c.wait)
	}
}

func TestServerSendsTheRetryAfterOfTheScenario(t *testing.T) {
	for ra, check := range map[RetryAfter]func(t *testing.T, header string){
		Seconds: func(t *testing.T, h string) { assert.Equal(t, "1", h) },
		Sixty:   func(t *testing.T, h string) { assert.Equal(t, "60", h) },
		Absent:  func(t *testing.T, h string) { assert.Empty(t, h) },
		Date: func(t *testing.T, h string) {
			at, err := http.ParseTime(h)
			require.NoError(t, err)
			assert.Contains(t, []string{"2000-01-01 00:00:02", "2000-01-01 00:00:03"}, at.Format(time.DateTime))
		},
	} {
		t.Run(string(ra), func(t *testing.T) {
			var header string
			Scenario{Bucket(10, 0.1), ra, Arrivals{Calls: 2}, Fast, 1}.Run(t, func(base http.RoundTripper) func(*http.Request) (*http.Response, error) {
				return func(req *http.Request) (*http.Response, error) {
					resp, err := base.RoundTrip(req)
					if err == nil && resp.StatusCode == http.StatusTooManyRequests {
						header = resp.Header.Get("Retry-After")
					}
					return resp, err
				}
			}, false)
			check(t, header)
		})
	}
}

func TestRequestWithoutTheContextOfItsCallFails(t *testing.T) {
	r := Scenario{Bucket(10, 0.1), Seconds, Arrivals{Calls: 1}, Fast, 1}.Run(t, func(base http.RoundTripper) func(*http.Request) (*http.Response, error) {
		return func(req *http.Request) (*http.Response, error) {
			return base.RoundTrip(req.WithContext(context.Background()))
		}
	}, false)
	assert.Equal(t, map[string]int{errLost.Error(): 1}, r.Errors)
}

func TestScenarioNamesAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Matrix(Servers, RetryAfters, AllArrivals, AllAnswers, 1) {
		assert.False(t, seen[s.String()], "two scenarios are named %v", s)
		seen[s.String()] = true
	}
}

func TestChargedRequestCountsAsSeveral(t *testing.T) {
	for _, s := range []Server{Bucket(10, 2), {Algorithm: FixedWindow, Limit: 20, Window: time.Second}, {Algorithm: SlidingWindow, Limit: 20, Window: time.Second}} {
		l := s.limiter(0, 1)
		for range 2 {
			require.True(t, l.take(0), "%v: two requests that count as ten each must be accepted", s)
			l.charge(9)
		}
		assert.False(t, l.take(0), "%v: the request after these two must be refused", s)
	}
}
