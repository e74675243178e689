package gate

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// A turnstile is a Pacer that admits as many requests as there are turns left.
type turnstile struct {
	*fleet1.Controller
	turns   int
	pause   time.Duration
	gap     time.Duration // time that Earliest assumes for each request ahead
	trip    time.Duration
	backlog int      // argument of the latest call to Next
	told    []string // the calls to Accepted and Idle, in order
	probing bool
	silence time.Duration
}

func (p *turnstile) Accepted(time.Duration, fleet1.Send) { p.told = append(p.told, "accepted") }
func (p *turnstile) Idle(time.Duration)                  { p.told = append(p.told, "idle") }
func (p *turnstile) Probing() bool                       { return p.probing }
func (p *turnstile) Silence() time.Duration              { return p.silence }
func (p *turnstile) Unsend(fleet1.Send)                  { p.turns++ }

func (p *turnstile) Next(now time.Duration, backlog int) time.Duration {
	p.backlog = backlog
	if p.turns == 0 {
		return max(p.pause, now+time.Hour)
	}
	return max(p.pause, now)
}

func (p *turnstile) Sent(time.Duration, int) fleet1.Send {
	p.turns--
	return fleet1.Send{Turn: 1}
}

func (p *turnstile) Earliest(now time.Duration, ahead int) time.Duration {
	return max(p.pause, now+time.Duration(ahead)*p.gap)
}
func (p *turnstile) Paused() time.Duration { return p.pause }
func (p *turnstile) Trip() time.Duration   { return p.trip }

// others is a Fleet that records how it is called. If known is set, Opened returns it as
// the Pacer of every key.
type others struct {
	share     int
	known     *turnstile
	opened    func()
	throttled []string
	history   fleet1.History // argument of the latest call to Throttled
	forgotten []string
}

func (f *others) Opened(string) (int, fleet1.Pacer) {
	if f.opened != nil {
		f.opened()
	}
	if f.known == nil {
		return f.share, nil
	}
	return f.share, f.known
}

func (f *others) Throttled(key string, h fleet1.History, retryAfter time.Duration, _ fleet1.Endpoint) fleet1.Pacer {
	f.throttled, f.history = append(f.throttled, key), h
	return &turnstile{Controller: h.Close(retryAfter), pause: h.Now + retryAfter}
}

func (f *others) Forgotten(key string) { f.forgotten = append(f.forgotten, key) }

func closed() *turnstile {
	h := fleet1.History{Marks: []fleet1.Mark{{}}}
	return &turnstile{Controller: h.Close(0)}
}

func TestFleetCanCloseAnOpenAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(Adaptive)
		visit := g.Join(&others{})
		require.False(t, visit("k", nil), "visit should return false before the account exists")
		ticket, err := g.Wait(t.Context(), plain)
		require.NoError(t, err)
		g.Observe(plain, ticket, accepted)

		p := closed()
		require.True(t, visit("k", func(now time.Duration, old fleet1.Pacer, _ int, history func() fleet1.History) fleet1.Pacer {
			assert.Nil(t, old)
			assert.Equal(t, int64(1), history().Marks[len(history().Marks)-1].Accepted)
			return p
		}))
		left := 0
		for range 3 {
			go func() {
				_, err := g.Wait(context.Background(), plain)
				assert.NoError(t, err)
				left++
			}()
		}
		synctest.Wait()
		assert.Zero(t, left)
		for n := range 3 {
			visit("k", func(time.Duration, fleet1.Pacer, int, func() fleet1.History) fleet1.Pacer {
				p.turns = 1
				return p
			})
			synctest.Wait()
			assert.Equal(t, n+1, left, "one request should be sent for each turn")
		}
	})
}

func TestWaitersThatCannotWaitForTheEndOfAFleetPauseAreRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		pause   time.Duration
		maxWait time.Duration
		err     error
		away    int // how many of the four waiters, with deadlines in 1, 2, 1 and 2 minutes, are refused
	}{
		"some deadlines are not after the end of the pause":   {time.Minute, 0, ErrDeadline, 2},
		"no deadline is after the end of the pause":           {2 * time.Minute, 0, ErrDeadline, 4},
		"the pause is longer than MaxWait":                    {10 * time.Second, 9 * time.Second, ErrPaused, 4},
		"the pause is shorter than MaxWait and the deadlines": {time.Second, 9 * time.Second, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := new(Adaptive)
				p := closed()
				visit := g.Join(&others{known: p})
				a := g.account("k")
				time.Sleep(time.Minute)
				refused := make(chan error, 4)
				for i := range 4 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+i%2)*time.Minute)
					defer cancel()
					go func() {
						_, err := g.Wait(ctx, Request{Key: "k", Resend: i / 2, MaxWait: tt.maxWait})
						refused <- err
					}()
				}
				synctest.Wait()
				visit("k", func(now time.Duration, _ fleet1.Pacer, _ int, _ func() fleet1.History) fleet1.Pacer {
					p.pause = now + tt.pause
					return p
				})
				synctest.Wait()
				require.Len(t, refused, tt.away)
				for range tt.away {
					var e *Error
					require.ErrorAs(t, <-refused, &e)
					assert.Equal(t, tt.pause, e.RetryAfter)
					assert.ErrorIs(t, e, tt.err)
				}
				assert.Equal(t, 4-tt.away, a.waiting())
			})
		})
	}
}

func TestFleetIsNotifiedOfTheFirst429AndOfForgottenKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(Adaptive)
		f := new(others)
		g.Join(f)
		for _, key := range []string{"a", "b"} {
			r := Request{Key: key}
			ticket, err := g.Wait(t.Context(), r)
			require.NoError(t, err)
			o := accepted
			if key == "a" {
				o = Outcome{Result: Throttled, RetryAfter: time.Second}
			}
			g.Observe(r, ticket, o)
		}
		assert.Equal(t, []string{"a"}, f.throttled)
		time.Sleep(3 * keepQuiet)
		synctest.Wait()
		assert.ElementsMatch(t, []string{"a", "b"}, f.forgotten)
	})
}

func TestAccountIsKeptForTenMinutesAfterItsFleetHasPausedIt(t *testing.T) {
	const pause = time.Second
	for name, tt := range map[string]struct {
		throttle func(g *Adaptive, visit func(string, fleet1.Visitor) bool)
		kept     bool
	}{
		"another process was throttled": {func(_ *Adaptive, visit func(string, fleet1.Visitor) bool) {
			visit("k", func(now time.Duration, p fleet1.Pacer, _ int, _ func() fleet1.History) fleet1.Pacer {
				p.(*turnstile).pause = now + pause
				return p
			})
		}, true},
		"an inner request was throttled": {func(g *Adaptive, _ func(string, fleet1.Visitor) bool) {
			a := g.account("k")
			a.tickets[1] = sent{inner: true}
			g.Observe(plain, 1, Outcome{Result: Throttled, RetryAfter: pause})
		}, true},
		"a notice without a pause": {func(_ *Adaptive, visit func(string, fleet1.Visitor) bool) {
			visit("k", func(_ time.Duration, p fleet1.Pacer, _ int, _ func() fleet1.History) fleet1.Pacer { return p })
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := new(Adaptive)
				visit := g.Join(&others{known: closed()})
				g.account("k")
				time.Sleep(keepQuiet - time.Minute)
				tt.throttle(g, visit)
				time.Sleep(2 * time.Minute)
				_, known := g.Stats("k")
				assert.Equal(t, tt.kept, known, "a minute after the first sweep")
				time.Sleep(keepQuiet)
				_, known = g.Stats("k")
				assert.False(t, known, "a minute after the second sweep, which is more than ten minutes after the pause")
			})
		})
	}
}

func TestFleetIsAskedOnceIfManyCallersCreateTheSameAccount(t *testing.T) {
	g := new(Adaptive)
	f := &others{share: 1}
	g.Join(f)
	opened := 0
	f.opened = func() { opened++ }
	left := make(chan error)
	for range defaultStartWindow {
		go func() {
			_, err := g.Wait(t.Context(), plain)
			left <- err
		}()
	}
	for range defaultStartWindow {
		require.NoError(t, <-left)
	}
	assert.Equal(t, 1, opened)
	assert.Empty(t, f.forgotten)
}

func TestFleetNoticeReachesAnAccountThatIsBeingCreated(t *testing.T) {
	g := new(Adaptive)
	f := new(others)
	visit := g.Join(f)
	found := make(chan bool)
	p := closed()
	f.opened = func() { // a notice arrives while the gate asks the fleet
		go func() {
			found <- visit("k", func(time.Duration, fleet1.Pacer, int, func() fleet1.History) fleet1.Pacer { return p })
		}()
		runtime.Gosched()
	}
	a := g.account("k")
	require.True(t, <-found)
	assert.Equal(t, fleet1.Pacer(p), a.pacer)
}

func TestRequestsForAnAccountThatIsBeingCreatedObeyTheFleetsPacer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(Adaptive)
		f := &others{known: closed()}
		g.Join(f)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		refused := make(chan error)
		call := func() {
			_, err := g.Wait(ctx, plain)
			refused <- err
		}
		f.opened = func() { // requests that arrive in the meantime must not be sent either
			for range 3 {
				go call()
			}
			runtime.Gosched()
		}
		go call()
		for range 4 {
			require.ErrorIs(t, <-refused, context.DeadlineExceeded)
		}
	})
}

func TestStartWindowIsDividedAmongTheFleet(t *testing.T) {
	for _, tt := range []struct{ window, share, want int }{
		{8, 0, 8}, {8, 1, 8}, {8, 2, 4}, {8, 4, 2},
		{0, 4, 16},
		{2, 4, 1}, // each gate may have at least one request in flight
		{-1, 4, 1000},
	} {
		t.Run(fmt.Sprintf("window %d, shared by %d", tt.window, tt.share), func(t *testing.T) {
			g := &Adaptive{StartWindow: tt.window}
			g.Join(&others{share: tt.share})
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			left := 0
			for left < 1000 {
				if _, err := g.Wait(ctx, plain); err != nil {
					break
				}
				left++
			}
			assert.Equal(t, tt.want, left)
		})
	}
}

func TestVisitReportsWhetherThereIsAnAccount(t *testing.T) {
	g := new(Adaptive)
	visit := g.Join(&others{})
	called := 0
	look := func(time.Duration, fleet1.Pacer, int, func() fleet1.History) fleet1.Pacer {
		called++
		return nil
	}
	assert.False(t, visit("k", look), "visit should return false before the account exists")
	a := g.account("k")
	assert.True(t, visit("k", look), "visit should return true even if it does not change the account")
	require.True(t, a.retire(true))
	assert.False(t, visit("k", look), "visit should return false while the account is being forgotten")
	assert.Equal(t, 1, called)
}

// At the end of a pause, the leader of a fleet has to know how many requests wait.
func TestPacerLearnsDuringAPauseHowManyRequestsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(Adaptive)
		p := closed()
		p.pause = time.Hour
		g.Join(&others{known: p})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for n := range 3 {
			queueUp(ctx, g)
			assert.Equal(t, n+1, p.backlog)
		}
	})
}

// A leader would hand out turns for callers that have given up.
func TestOnlyWaitersCountInAFleet(t *testing.T) {
	a := &account{missed: 3, turned: 2, pacer: fleet1.Resume(0, fleet1.Learned{Pace: 1, Silence: 1}, 0)}
	assert.Equal(t, 5, a.demand())
	a.pacer = struct{ fleet1.Pacer }{a.pacer}
	assert.Zero(t, a.demand())
}
