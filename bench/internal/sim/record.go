package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Record holds the outcome of each call in a run of a Situation. Times are measured from
// the start of the run.
type Record struct {
	Situation Situation
	Calls     []Call // in the order in which they were made
	Sent      int    // requests that were sent
	Forbidden int    // requests sent while a Retry-After that had already arrived was in force
}

// A Call is one call of a caller, retries included.
type Call struct {
	Kind    int           // index of the call's Callers in the Situation
	At, End time.Duration // when the call started, and when it ended
	Sent    int           // requests that the call sent
	Err     error         // nil: the call succeeded
	Cut     bool          // the call failed because the run was over

	number int
}

// Of returns a Record of the calls that the Callers with these names made, or r itself if
// names is empty. In a new Record, the Situation stays the same, and Forbidden is 0.
func (r *Record) Of(names ...string) *Record {
	if len(names) == 0 {
		return r
	}
	part := &Record{Situation: r.Situation}
	for _, c := range r.Calls {
		if slices.Contains(names, r.Situation.Callers[c.Kind].Name) {
			part.Calls = append(part.Calls, c)
			part.Sent += c.Sent
		}
	}
	return part
}

// Made returns a Record of the calls that were made between two times. The Situation stays
// the same, and Forbidden is 0.
func (r *Record) Made(from, until time.Duration) *Record {
	part := &Record{Situation: r.Situation}
	for _, c := range r.Calls {
		if c.At >= from && c.At < until {
			part.Calls = append(part.Calls, c)
			part.Sent += c.Sent
		}
	}
	return part
}

// OK is the number of calls that succeeded.
func (r *Record) OK() int { return r.count(func(c Call) bool { return c.Err == nil }) }

// Failed is the number of calls that failed before the end of the run.
func (r *Record) Failed() int { return r.count(func(c Call) bool { return c.Err != nil && !c.Cut }) }

// Answered is the number of calls that succeeded between two times.
func (r *Record) Answered(from, until time.Duration) int {
	return r.count(func(c Call) bool { return c.Err == nil && c.End >= from && c.End < until })
}

func (r *Record) count(is func(Call) bool) int {
	n := 0
	for _, c := range r.Calls {
		if is(c) {
			n++
		}
	}
	return n
}

// SentPerOK is the number of requests per success. It is not finite if no call succeeded.
func (r *Record) SentPerOK() float64 { return float64(r.Sent) / float64(r.OK()) }

// Makespan is the time of the last success, or 0 if no call succeeded.
func (r *Record) Makespan() time.Duration {
	var last time.Duration
	for _, c := range r.Calls {
		if c.Err == nil {
			last = max(last, c.End)
		}
	}
	return last
}

// Latency returns the durations of the calls that succeeded, in ascending order.
func (r *Record) Latency() []time.Duration {
	var times []time.Duration
	for _, c := range r.Calls {
		if c.Err == nil {
			times = append(times, c.End-c.At)
		}
	}
	slices.Sort(times)
	return times
}

// Told returns the durations of the calls that failed, in ascending order. Calls that
// failed because the run was over are left out.
func (r *Record) Told() []time.Duration {
	var times []time.Duration
	for _, c := range r.Calls {
		if c.Err != nil && !c.Cut {
			times = append(times, c.End-c.At)
		}
	}
	slices.Sort(times)
	return times
}

// Mean returns the mean of times, or 0 if there are none.
func Mean(times []time.Duration) time.Duration {
	var sum time.Duration
	for _, t := range times {
		sum += t
	}
	return sum / time.Duration(max(1, len(times)))
}

// A rate counts as regained if calls succeed at that rate on average, both over the next 3 s
// (settled) and over the next 15 s (stays). Short dips are allowed within the 15 s, because
// a gate that probes for a higher rate may be throttled.
const (
	settled = 3 * time.Second
	stays   = 15 * time.Second
)

// Regained returns the time from the given moment until calls succeed again at the given
// rate per second. It returns 0 and false if the run ends before that rate has lasted for
// 15 s.
func (r *Record) Regained(from time.Duration, rate float64) (time.Duration, bool) {
	var ends []time.Duration
	for _, c := range r.Calls {
		if c.Err == nil && c.End >= from {
			ends = append(ends, c.End)
		}
	}
	slices.Sort(ends)
	answered := func(at, d time.Duration) float64 {
		first, _ := slices.BinarySearch(ends, at)
		end, _ := slices.BinarySearch(ends, at+d)
		return float64(end-first) / d.Seconds()
	}
	for at := from; at+stays <= r.Situation.Length; at += 100 * time.Millisecond {
		if answered(at, settled) >= rate && answered(at, stays) >= rate {
			return at - from, true
		}
	}
	return 0, false
}

// Jain returns Jain's index of fairness for the kinds of callers, computed from the calls
// that succeeded between two times. The index is 1 if each kind has the same number of
// these calls, and 1/n if one of n kinds has all of them. It is NaN if there are none.
func (r *Record) Jain(from, until time.Duration) float64 {
	got := make([]float64, len(r.Situation.Callers))
	for _, c := range r.Calls {
		if c.Err == nil && c.End >= from && c.End < until {
			got[c.Kind]++
		}
	}
	var sum, squares float64
	for _, g := range got {
		sum += g
		squares += g * g
	}
	return sum * sum / (float64(len(got)) * squares)
}

// Errors returns a line for each error text, with the number of calls that failed with
// this error. Calls that failed because the run was over are left out.
func (r *Record) Errors() string {
	counts := map[string]int{}
	for _, c := range r.Calls {
		if c.Err != nil && !c.Cut {
			counts[c.Err.Error()]++
		}
	}
	var lines []string
	for text, n := range counts {
		lines = append(lines, fmt.Sprintf("%7d × %s", n, text))
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(b, a) })
	return strings.Join(lines, "\n")
}
