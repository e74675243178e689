package main

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

// A result is one run's outcome.
type result struct {
	plan
	begin    time.Time
	reports  []report
	commands int // number of commands that the Redis server ran; 0: not measured
	dead     int // number of processes that were killed

	sent, ok, failed int           // requests sent, calls that succeeded, and calls that failed
	early            int           // requests that were sent while a Retry-After was in force
	makespan         time.Duration // from the start to the last success
	jain             float64       // Jain's index when the first process finished
}

// slack is how long the other processes may keep sending requests after one process has
// received a 429. It allows for a round trip between processes on a busy machine.
const slack = 10 * time.Millisecond

// reckon computes the figures from the reports.
func (r *result) reckon() {
	var all []send
	firstDone := int64(0) // when the first process finished, in Unix µs
	for _, rep := range r.reports {
		r.failed += rep.Failed
		last := int64(0)
		for _, s := range rep.Sends {
			all = append(all, s)
			if s.Status == http.StatusOK {
				r.ok++
				last = max(last, s.Answered)
			}
		}
		r.makespan = max(r.makespan, time.UnixMicro(last).Sub(r.begin))
		if firstDone == 0 || last < firstDone {
			firstDone = last
		}
	}
	r.sent = len(all)
	var shares []float64
	for _, rep := range r.reports {
		n := 0.0
		for _, s := range rep.Sends {
			if s.Status == http.StatusOK && s.Answered <= firstDone {
				n++
			}
		}
		shares = append(shares, n)
	}
	r.jain = jain(shares)
	r.early = early(all)
}

// jain is Jain's index of fairness. It is 1 if all shares are equal.
func jain(shares []float64) float64 {
	sum, squares := 0.0, 0.0
	for _, x := range shares {
		sum += x
		squares += x * x
	}
	if squares == 0 {
		return 1
	}
	return sum * sum / (float64(len(shares)) * squares)
}

// early counts the requests that were sent while a Retry-After was in force. A
// Retry-After that one process receives applies to all processes, beginning slack later.
func early(sends []send) (n int) {
	type pause struct{ from, until int64 }
	var pauses []pause
	for _, s := range sends {
		if s.Status == http.StatusTooManyRequests && s.RetryAfter > 0 {
			pauses = append(pauses, pause{s.Answered + slack.Microseconds(), s.Answered + int64(s.RetryAfter)*1e6})
		}
	}
	slices.SortFunc(pauses, func(a, b pause) int { return int(a.from - b.from) })
	slices.SortFunc(sends, func(a, b send) int { return int(a.At - b.At) })
	until, next := int64(0), 0
	for _, s := range sends {
		for ; next < len(pauses) && pauses[next].from <= s.At; next++ {
			until = max(until, pauses[next].until)
		}
		if s.At < until {
			n++
		}
	}
	return n
}

// perOK returns the number of requests per success.
func (r *result) perOK() float64 { return float64(r.sent) / float64(max(r.ok, 1)) }

// best returns the time that an ideal scheduler would need for the calls that succeeded.
// Such a scheduler first sends as many requests at once as the server accepts, and then
// one request whenever the limit allows one.
func (r *result) best() time.Duration {
	saved := depth
	if r.server == haproxyLimited {
		saved = r.rate
	}
	return time.Duration(float64(max(r.ok-saved, 1)) / float64(r.rate) * float64(time.Second))
}

func writeTable(w io.Writer, results []result) {
	p := results[0].plan
	switch p.server {
	case nginxOpen:
		fmt.Fprintf(w, "\n**%d processes × %d callers, %d calls, nginx without a limit**\n\n", p.processes, p.callers, p.processes*p.calls)
		for _, r := range results {
			fmt.Fprintf(w, "%s: %d failed, %.4f commands per request\n", r.client, r.failed, float64(r.commands)/float64(max(r.sent, 1)))
		}
		return
	case nginxLimited:
		fmt.Fprintf(w, "\n**%d processes × %d callers, %d calls, nginx: %d requests/s, burst of %d, Retry-After: 1**\n\n", p.processes, p.callers, p.processes*p.calls, p.rate, depth)
	default:
		fmt.Fprintf(w, "\n**%d processes × %d callers, %d calls, HAProxy: %d requests in a second, including refused ones, Retry-After: 1**\n\n", p.processes, p.callers, p.processes*p.calls, p.rate)
	}
	fmt.Fprintln(w, "| client | sent per success | failed | time, × ideal | sent while told to wait | Jain's index | commands per request |")
	fmt.Fprintln(w, "|---|--:|--:|--:|--:|--:|--:|")
	for _, r := range results {
		commands := "–"
		if r.commands > 0 {
			commands = fmt.Sprintf("%.1f", float64(r.commands)/float64(max(r.sent, 1)))
		}
		ratio := "–" // left out if many calls failed, because these end early, or if processes were killed
		if r.dead == 0 && r.failed*10 < r.processes*r.calls {
			ratio = fmt.Sprintf("%.2f", r.makespan.Seconds()/r.best().Seconds())
		}
		fmt.Fprintf(w, "| %s | %.2f | %d | %s | %d | %.3f | %s |\n", r.client, r.perOK(), r.failed, ratio, r.early, r.jain, commands)
	}
}
