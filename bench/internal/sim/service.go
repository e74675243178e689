package sim

import (
	"cmp"
	"errors"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// A service simulates a Situation's network and service. It is the base
// http.RoundTripper of the clients.
type service struct {
	situation Situation
	start     time.Time

	mu        sync.Mutex
	hosts     map[string]*host
	faults    []int // number of requests that each fault has hit
	sent      int
	told      map[account]*prohibition
	forbidden int
}

// An account identifies a set of requests. Every client must apply a Retry-After at least
// to all later requests in the same account.
type account struct {
	process            int
	method, host, path string
}

// A host has its own limits.
type host struct {
	limits  []limiter
	working int           // number of requests that the host is processing
	banned  time.Duration // when the latest ban ends
}

// An errand is one call, retries included.
type errand struct {
	number  int
	rand    *rand.Rand
	sent    int
	cost    float64
	answers Answers // response time; empty: the situation's
	on      account
}

type errandKey struct{}

// errSilence is the error for a request that gets no response.
var errSilence = errors.New("sim: no response")

// A verdict is how the service responds to a request.
type verdict struct {
	status     int // 0: there is no response
	retryAfter string
	after      time.Duration // time that the service takes to process the request
	release    bool          // the request is counted in host.working if it takes time to process
}

func (v *service) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	e, ok := ctx.Value(errandKey{}).(*errand)
	if !ok {
		return nil, errLost
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !v.leave(e) {
		return nil, errCutOff
	}
	answer, luck := cmp.Or(e.answers, v.situation.Answers).draw(e.rand), e.rand.Float64()
	way := v.situation.Way
	if way == 0 {
		way = answer / 2
	}
	// Requests that are sent at the same instant do not arrive at the same instant: see trip.
	own := time.Duration(e.number%sameTimes) * time.Nanosecond
	if err := sleep(ctx, way+own); err != nil {
		return nil, err
	}
	d := v.decide(req, answer-2*way, luck, e.cost)
	if d.after > 0 {
		err := sleep(ctx, d.after)
		if d.release {
			v.release(req.URL.Host)
		}
		if err != nil {
			return nil, err
		}
	}
	if d.status == 0 {
		return nil, errSilence
	}
	if err := sleep(ctx, way+own); err != nil {
		return nil, err
	}
	header := http.Header{}
	if d.retryAfter != "" {
		header.Set("Retry-After", d.retryAfter)
		v.tell(e.on, d)
	}
	return &http.Response{
		StatusCode: d.status,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:  header,
		Body:    http.NoBody,
		Request: req,
	}, nil
}

// sameTimes is the number of successive calls whose small extra delays all differ.
const sameTimes = 50_000

// mostSent is the number of requests after which every further request fails, so that no
// client can send forever.
const mostSent = 20_000_000

func (v *service) leave(e *errand) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.sent++
	e.sent++
	if p := v.told[e.on]; p != nil && p.covers(time.Now()) {
		v.forbidden++
	}
	return v.sent <= mostSent
}

// tell records the Retry-After of a response that arrives now, if its status is that of a
// refusal.
func (v *service) tell(on account, d verdict) {
	if d.status != cmp.Or(v.situation.Refusal, http.StatusTooManyRequests) {
		return // not throttled
	}
	seconds, err := strconv.Atoi(d.retryAfter)
	if err != nil {
		panic("sim: Retry-After is not a number of seconds: " + d.retryAfter)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	p := v.told[on]
	if p == nil {
		p = new(prohibition)
		v.told[on] = p
	}
	now := time.Now()
	p.extend(now, now.Add(time.Duration(seconds)*time.Second))
}

func (v *service) decide(req *http.Request, work time.Duration, luck, cost float64) verdict {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Since(v.start)
	if d, met := v.fault(now, luck); met {
		return d
	}
	h := v.host(req.URL.Host)
	wait := h.banned - now
	if wait <= 0 && v.situation.InFlight > 0 && h.working >= v.situation.InFlight {
		wait = time.Second // the service does not know when it will have room
	}
	if wait <= 0 {
		for i, l := range v.situation.Limits {
			if (l.Method == "" || l.Method == req.Method) && !h.limits[i].take(now) {
				wait = max(wait, h.limits[i].wait(now), 1)
			}
		}
	}
	if wait <= 0 {
		for i, l := range v.situation.Limits {
			if cost > 1 && (l.Method == "" || l.Method == req.Method) {
				h.limits[i].charge(cost - 1)
			}
		}
		if work > 0 {
			h.working++
		}
		return verdict{status: http.StatusOK, after: work, release: true}
	}
	if v.situation.Ban > 0 {
		h.banned = now + v.situation.Ban
		wait = v.situation.Ban
	}
	return verdict{status: cmp.Or(v.situation.Refusal, http.StatusTooManyRequests), retryAfter: v.situation.RetryAfter.of(wait)}
}

// of returns the value of the Retry-After header for a wait, or "" if there is no header.
func (ra RetryAfter) of(wait time.Duration) string {
	switch ra {
	case Absent, "":
		return ""
	case Seconds:
		if wait > 24*time.Hour {
			wait = time.Minute // the limit is zero, and the service does not know for how long
		}
		return strconv.Itoa(int(max(1, math.Ceil(wait.Seconds()))))
	}
	return string(ra)
}

// fault returns the response to a request that is hit by a fault. If no fault hits it,
// met is false.
func (v *service) fault(now time.Duration, luck float64) (_ verdict, met bool) {
	for i, f := range v.situation.Faults {
		if now < f.From || now >= f.Until || f.Count > 0 && v.faults[i] >= f.Count {
			continue
		}
		if luck -= f.Share; luck < 0 {
			v.faults[i]++
			return verdict{status: f.Status, retryAfter: f.RetryAfter, after: f.Silence}, true
		}
	}
	return verdict{}, false
}

func (v *service) host(name string) *host {
	h := v.hosts[name]
	if h == nil {
		h = new(host)
		for _, l := range v.situation.Limits {
			h.limits = append(h.limits, l.limiter(v.situation.Seed))
		}
		v.hosts[name] = h
	}
	return h
}

func (v *service) release(name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.hosts[name].working--
}
