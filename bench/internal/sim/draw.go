package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// Draw returns a random situation: limits, callers, deadlines, and changes over time. Most
// drawn situations have between 100 and 20,000 calls. The same seed always gives the same
// situation.
func Draw(seed uint64) Situation {
	d := draw{rand.New(rand.NewPCG(seed, drawStream))}
	s := Situation{
		RetryAfter: oneOf(d, Seconds, Seconds, Seconds, Absent, Absent, "1", "5"),
		Answers:    oneOf(d, Fast, "50ms", "50ms", LogNormal, LogNormal, "300ms", Slow),
		Length:     d.span(time.Minute, 8*time.Minute),
		Seed:       seed,
	}
	rate := d.between(0.5, accepted/s.Length.Seconds())
	switch kind := d.Float64(); {
	case kind < 0.05: // no limit
	case kind < 0.15:
		s.InFlight = int(d.between(1, 50))
		s.Way = 5 * time.Millisecond
		s.Answers = oneOf(d, "300ms", Slow, "3s")
		answer, _ := time.ParseDuration(string(s.Answers))
		rate = float64(s.InFlight) / answer.Seconds()
		s.Length = max(time.Minute, min(s.Length, atLeast(0, accepted/rate)))
	case kind < 0.25:
		s.Limits = []Limit{{Server: d.server(rate), Method: "GET"}, {Server: d.server(rate * d.between(0.05, 1)), Method: "POST"}}
	default:
		s.Limits = []Limit{{Server: d.server(rate)}}
	}
	s.Callers = d.callers(s, rate)
	d.happen(&s, rate)
	if s.InFlight == 0 && d.chance(0.3) { // a gateway refuses requests sooner than the service behind it responds
		s.Way = 5 * time.Millisecond
	}
	d.stillness(&s)
	return s
}

// stillness draws a quiet time between a few calls and all others, and requests that stay
// open, such as watches.
func (d draw) stillness(s *Situation) {
	method := s.Callers[0].Method
	if d.chance(0.1) {
		quiet := d.span(5*time.Second, time.Minute)
		for i := range s.Callers {
			s.Callers[i].From += quiet
		}
		s.Callers = append(s.Callers, Callers{Method: method, Once: 1 + d.IntN(30)})
		s.Length += quiet
	}
	if s.InFlight == 0 && d.chance(0.1) {
		s.Way = 5 * time.Millisecond // otherwise, a refusal would take as long as a watch
		s.Callers = append(s.Callers, Callers{
			Method: method, Once: int(d.between(3, 300)), Apart: d.span(time.Millisecond, time.Second),
			Answers: oneOf[Answers](d, "20s", "1m0s", "1h0m0s"),
		})
	}
}

// accepted is the largest number of calls that the drawn rate of a situation allows during
// its length. Situations with an in-flight limit can allow more, because they last at least
// a minute.
const accepted = 3000

const drawStream uint64 = 1<<62 + 1

type draw struct{ *rand.Rand }

func (d draw) chance(p float64) bool { return d.Float64() < p }

// between draws a number between least and most. All orders of magnitude are equally
// likely.
func (d draw) between(least, most float64) float64 {
	return least * math.Pow(most/least, d.Float64())
}

func (d draw) span(least, most time.Duration) time.Duration {
	t := time.Duration(d.between(float64(least), float64(most)))
	return t.Round(min(time.Second, least/10))
}

func oneOf[T any](d draw, of ...T) T { return of[d.IntN(len(of))] }

func (d draw) server(rate float64) Server {
	if d.chance(0.75) {
		return Bucket(rate, d.between(0.02, 10))
	}
	window := oneOf(d, time.Second, 10*time.Second, time.Minute)
	return Server{
		Algorithm: oneOf(d, FixedWindow, FixedWindow, SlidingWindow),
		Limit:     max(1, math.Round(rate*window.Seconds())), Window: window,
	}
}

// callers draws one or two kinds of callers, which run in the same one to five processes.
func (d draw) callers(s Situation, rate float64) []Callers {
	var all []Callers
	processes := 1
	if d.chance(0.15) {
		processes = 2 + d.IntN(4)
	}
	for kind := range 1 + d.IntN(2) {
		c := Callers{Method: oneOf(d, "GET", "POST")}
		if d.chance(0.8) {
			c.Timeout = d.span(200*time.Millisecond, time.Minute)
			if d.chance(0.3) {
				c.Most = 5 * c.Timeout
			}
		}
		if d.chance(0.1) {
			c.Canceled = d.Float64()
		}
		switch n := d.IntN(6); {
		case n < 2 && kind > 0: // the first kind's calls are never all made at once
			c.Once = int(d.between(10, 20*rate+20))
			c.Apart = d.span(time.Nanosecond*10, time.Millisecond)
		case n < 3:
			// Without a limit, or with short timeouts, many workers would make too many calls.
			c.Workers = 1 + int(d.between(1, 100))/processes
			if s.Limits == nil && s.InFlight == 0 || c.Timeout > 0 && c.Timeout < 2*time.Second {
				c.Workers = min(c.Workers, 4)
			}
		default:
			c.Rate = rate * d.between(0.2, 6) / float64(processes)
		}
		if d.chance(0.2) {
			c.From = time.Duration(d.Float64() * float64(s.Length) / 3)
		}
		for p := range processes {
			c.Process = p
			all = append(all, c)
		}
	}
	return all
}

// happen draws what happens over time: changes of the limits, the presence of strangers,
// faults and bans.
func (d draw) happen(s *Situation, rate float64) {
	from := time.Duration((0.1 + 0.3*d.Float64()) * float64(s.Length)).Round(time.Second)
	until := min(s.Length/2, from+d.span(time.Second, time.Minute))
	for i := range s.Limits {
		if d.chance(0.3) {
			times := oneOf(d, 0, 0.01, 0.1, 0.5, 2, 4, 10)
			s.Limits[i].Course = []Change{{from, times}}
			if times < 0.5 || d.chance(0.5) {
				s.Limits[i].Course = append(s.Limits[i].Course, Change{until, 1})
			}
		}
		if d.chance(0.2) {
			s.Limits[i].Strangers = []Presence{{from, until, d.between(0.1, 1.5)}}
		}
	}
	retryAfter, silence := "", 0.25
	if seconds := oneOf(d, 0, 1, 5); seconds > 0 {
		retryAfter, silence = strconv.Itoa(seconds), float64(seconds)
	}
	switch d.IntN(12) {
	case 0:
		s.Faults = []Fault{{From: from, Until: until, Share: d.Float64(), Status: 503}}
	case 1:
		s.Faults = []Fault{{From: from, Until: until, Share: d.Float64(), Status: 429, RetryAfter: retryAfter}}
	case 2:
		s.Faults = []Fault{
			{From: from, Until: until, Share: 1. / 3, Status: 503},
			{From: from, Until: until, Share: 1. / 3, Silence: 5 * time.Second},
			{From: from, Until: until, Share: 1. / 3, Status: 429, RetryAfter: retryAfter},
		}
	case 3:
		s.Faults = []Fault{{From: from, Until: s.Length, Share: 1, Count: 1, Status: 429, RetryAfter: retryAfter}}
	case 4:
		// The 429s are so rare that even a client that stops all calls after each of them
		// loses only about a hundredth of its time.
		if s.Limits == nil && s.InFlight == 0 {
			rate = s.offered()
		}
		s.Faults = []Fault{{Until: s.Length, Share: 0.01 / (rate * silence), Status: 429, RetryAfter: retryAfter}}
	}
	if d.chance(0.05) {
		s.Ban = d.span(time.Second, 30*time.Second)
	}
}

// offered returns the number of calls per second that the callers make if the service
// accepts all calls. Bursts are not counted.
func (s Situation) offered() float64 {
	sum := 0.0
	answer := s.Answers.draw(rand.New(rand.NewPCG(s.Seed, drawStream)))
	for _, c := range s.Callers {
		sum += c.Rate + float64(c.Workers)/answer.Seconds()
	}
	return sum
}

// String describes a situation in one line.
func (s Situation) String() string {
	var b strings.Builder
	for i, l := range s.Limits {
		if i > 0 {
			b.WriteString(" and ")
		}
		b.WriteString(l.String())
	}
	if s.InFlight > 0 {
		fmt.Fprintf(&b, "%d in flight", s.InFlight)
	}
	if b.Len() == 0 {
		b.WriteString("no limit")
	}
	if s.Ban > 0 {
		fmt.Fprintf(&b, " ban %v", s.Ban)
	}
	fmt.Fprintf(&b, ", RA %v, answers %v", s.RetryAfter, s.Answers)
	if s.Way > 0 {
		fmt.Fprintf(&b, ", refusals %v", 2*s.Way)
	}
	fmt.Fprintf(&b, ", %v", s.Length.Round(time.Second))
	last := 0
	for _, c := range s.Callers {
		if last = max(last, c.Process); c.Process == 0 {
			fmt.Fprintf(&b, "; %v", c)
		}
	}
	if last > 0 {
		fmt.Fprintf(&b, " in %d processes", last+1)
	}
	for _, f := range s.Faults {
		fmt.Fprintf(&b, "; %v", f)
	}
	return b.String()
}

func (l Limit) String() string {
	var b strings.Builder
	b.WriteString(l.Server.String())
	if l.Method != "" {
		b.WriteString(" of " + l.Method)
	}
	for _, c := range l.Course {
		fmt.Fprintf(&b, " ×%v at %.0fs", c.Times, c.At.Seconds())
	}
	for _, p := range l.Strangers {
		fmt.Fprintf(&b, " strangers %.0f%% %.0f–%.0fs", 100*p.Share, p.From.Seconds(), p.Until.Seconds())
	}
	return b.String()
}

func (c Callers) String() string {
	var b strings.Builder
	b.WriteString(c.Method)
	switch {
	case c.Once > 0:
		fmt.Fprintf(&b, " %d at once", c.Once)
		if c.Apart > 1 {
			fmt.Fprintf(&b, ", %v apart", c.Apart)
		}
	case c.Workers > 0:
		fmt.Fprintf(&b, " %d workers", c.Workers)
	default:
		fmt.Fprintf(&b, " %.3g/s", c.Rate)
	}
	if c.From > 0 {
		fmt.Fprintf(&b, " from %.0fs", c.From.Seconds())
	}
	if c.Timeout > 0 {
		fmt.Fprintf(&b, " timeout %v", c.Timeout)
	}
	if c.Most > 0 {
		fmt.Fprintf(&b, " to %v", c.Most)
	}
	if c.Canceled > 0 {
		fmt.Fprintf(&b, " %.0f%% canceled", 100*c.Canceled)
	}
	if c.Answers != "" {
		fmt.Fprintf(&b, ", answers %v", c.Answers)
	}
	return b.String()
}

func (f Fault) String() string {
	var b strings.Builder
	switch {
	case f.Count > 0:
		fmt.Fprintf(&b, "%d × ", f.Count)
	default:
		fmt.Fprintf(&b, "%.3g%% ", 100*f.Share)
	}
	if f.Status == 0 {
		fmt.Fprintf(&b, "silent for %v", f.Silence)
	} else {
		fmt.Fprintf(&b, "%d", f.Status)
	}
	if f.RetryAfter != "" {
		b.WriteString(" RA " + f.RetryAfter)
	}
	fmt.Fprintf(&b, " %.0f–%.0fs", f.From.Seconds(), f.Until.Seconds())
	return b.String()
}
