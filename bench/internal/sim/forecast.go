package sim

import (
	"math/rand/v2"
	"time"
)

// A Forecast knows a Situation's rate limits, how they change, and what strangers will take
// of them. No real client can know that. It is for a client that others are compared with.
// It must not be used by several goroutines at once.
type Forecast struct {
	situation Situation
	limits    []limiter
	start     time.Time
	answer    time.Duration
}

// Forecast returns a Forecast for a run that begins now.
func (s Situation) Forecast() *Forecast {
	f := &Forecast{situation: s, start: time.Now()}
	for _, l := range s.Limits {
		f.limits = append(f.limits, l.limiter(s.Seed))
	}
	const drawn = 100
	r := rand.New(rand.NewPCG(s.Seed, drawStream))
	for range drawn {
		f.answer += s.Answers.draw(r) / drawn
	}
	return f
}

// Answer returns how long a response takes on average, apart from that of Callers with
// Answers of their own.
func (f *Forecast) Answer() time.Duration { return f.answer }

// Take counts a request that is sent now and returns 0, or returns how long to wait before
// it would be accepted. It assumes that no other requests are sent in the meantime, and that
// a request takes as long as half of an average response to arrive.
func (f *Forecast) Take(method string) time.Duration {
	way := f.situation.Way
	if way == 0 {
		way = f.answer / 2
	}
	arrival := time.Since(f.start) + way
	var wait time.Duration
	for i, l := range f.situation.Limits {
		if l.Method == "" || l.Method == method {
			wait = max(wait, f.limits[i].wait(arrival))
		}
	}
	if wait > 0 {
		return min(wait, time.Second) // the limit may change
	}
	for i, l := range f.situation.Limits {
		if l.Method == "" || l.Method == method {
			f.limits[i].take(arrival)
		}
	}
	return 0
}
