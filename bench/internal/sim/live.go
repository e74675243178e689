package sim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Run makes a situation's calls. Each process has its own client. For t, see
// Scenario.Run.
func (s Situation) Run(t *testing.T, client Client) *Record {
	return s.RunIn(t, func(*testing.T) Client { return client })
}

// RunIn is like Run, for clients that have to be made and closed in virtual time. The argument of
// the function is a test that ends when all calls have ended.
func (s Situation) RunIn(t *testing.T, client func(*testing.T) Client) *Record {
	var r *Record
	synctest.Test(t, func(t *testing.T) { r = s.run(client(t)) })
	return r
}

func (s Situation) run(client Client) *Record {
	// Start at a fraction of a second that depends on the seed.
	time.Sleep(time.Duration(rand.New(rand.NewPCG(s.Seed, startStream)).Int64N(int64(time.Second))))
	v := &service{situation: s, start: time.Now(), hosts: map[string]*host{}, told: map[account]*prohibition{}, faults: make([]int, len(s.Faults))}
	live := &live{situation: s, service: v, record: &Record{Situation: s}}
	for _, c := range s.Callers {
		for len(live.clients) <= c.Process {
			live.clients = append(live.clients, client(v))
		}
	}
	// A timer cancels this context, because a deadline would become each call's deadline.
	ctx, cancel := context.WithCancelCause(context.Background())
	end := time.AfterFunc(s.Length, func() { cancel(errEnd) })
	defer end.Stop()
	defer cancel(nil)
	var all sync.WaitGroup
	for i := range s.Callers {
		if s.Callers[i].Workers > 0 {
			live.work(ctx, &all, i)
		} else {
			all.Go(func() { live.come(ctx, &all, i) })
		}
	}
	all.Wait()
	r := live.record
	r.Sent, r.Forbidden = v.sent, v.forbidden
	slices.SortFunc(r.Calls, func(a, b Call) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.number, b.number)) })
	return r
}

// A live is the state of a run of a situation.
type live struct {
	situation Situation
	service   *service
	clients   []func(*http.Request) (*http.Response, error)

	mu     sync.Mutex
	record *Record
}

// errEnd is the cause with which calls are canceled when the run is over.
var errEnd = errors.New("sim: the run is over")

// come makes the calls of one kind of callers without workers. A call does not wait for
// earlier calls to end.
func (l *live) come(ctx context.Context, all *sync.WaitGroup, kind int) {
	c := l.situation.Callers[kind]
	rng := rand.New(rand.NewPCG(l.situation.Seed+uint64(kind), arrivalStream))
	n := 0
	for at := range c.times(rng, l.situation.Length) {
		if sleep(ctx, time.Until(l.service.start.Add(at))) != nil {
			return
		}
		number := n
		n++
		all.Go(func() { l.call(ctx, kind, number) })
	}
}

// work makes the calls of one kind of callers with workers.
func (l *live) work(ctx context.Context, all *sync.WaitGroup, kind int) {
	c := l.situation.Callers[kind]
	for worker := range c.Workers {
		all.Go(func() {
			if sleep(ctx, c.From+time.Duration(worker)) != nil {
				return
			}
			for n := worker; ctx.Err() == nil && time.Since(l.service.start) < c.end(l.situation.Length); n += c.Workers {
				if !l.call(ctx, kind, n) && sleep(ctx, rest) != nil {
					return
				}
			}
		})
	}
}

// call makes one call and reports whether it succeeded.
func (l *live) call(ctx context.Context, kind, n int) bool {
	c := l.situation.Callers[kind]
	rng := rand.New(rand.NewPCG(l.situation.Seed+uint64(kind)<<48, uint64(n)))
	e := &errand{number: n*len(l.situation.Callers) + kind, rand: rng, cost: c.Cost, answers: c.Answers}
	at := time.Since(l.service.start)
	whole := ctx
	if c.Timeout > 0 {
		timeout := c.Timeout
		if c.Most > c.Timeout {
			timeout += time.Duration(rng.Int64N(int64(c.Most - c.Timeout)))
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	if c.Canceled > 0 && rng.Float64() < c.Canceled {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		defer time.AfterFunc(time.Duration(rng.Int64N(int64(10*time.Second))), cancel).Stop()
	}
	if c.GivesUp > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		defer time.AfterFunc(c.GivesUp, cancel).Stop()
	}
	if c.Context != nil {
		ctx = c.Context(ctx)
	}
	host := "iam.test"
	if c.Hosts > 1 {
		host = fmt.Sprintf("iam-%d.test", n%c.Hosts)
	}
	e.on = account{c.Process, cmp.Or(c.Method, http.MethodGet), host, cmp.Or(c.Path, "/v3/users")}
	err := l.send(context.WithValue(ctx, errandKey{}, e), e.on, l.clients[c.Process])
	end := time.Since(l.service.start)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.record.Calls = append(l.record.Calls, Call{Kind: kind, At: at, End: end, Sent: e.sent, Err: err, Cut: err != nil && whole.Err() != nil, number: e.number})
	return err == nil
}

func (l *live) send(ctx context.Context, on account, do func(*http.Request) (*http.Response, error)) error {
	req, err := http.NewRequestWithContext(ctx, on.method, "http://"+on.host+on.path, nil)
	if err != nil {
		return err
	}
	resp, err := do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return statusError(resp.Status)
	}
	return nil
}
