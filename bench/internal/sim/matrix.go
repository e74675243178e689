package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The servers, arrivals, response times and kinds of Retry-After that make up the matrix.
var (
	Servers = slices.Concat(
		[]Server{Bucket(1, 1), Bucket(10, 0.1), Bucket(10, 1)},
		[]Server{Bucket(100, 0.02), Bucket(100, 0.1), Bucket(100, 1)},
		[]Server{Bucket(500, 0.02), Bucket(500, 0.1), Bucket(500, 1)},
		windows,
		with(changing, func(s *Server) { s.Change = 0.5 }),
		with(changing, func(s *Server) { s.Change = 2 }),
		with(shared, func(s *Server) { s.Strangers = 0.5 }),
	)
	RetryAfters = []RetryAfter{Seconds, Date, Absent, Sixty}
	AllArrivals = []Arrivals{
		{Calls: 1000}, {Calls: 10000},
		{Calls: 1000, Load: 0.5}, {Calls: 1000, Load: 1}, {Calls: 1000, Load: 2}, {Calls: 1000, Load: 10},
		{Calls: 1000, Load: 1.8, OnOff: true},
	}
	AllAnswers = []Answers{Fast, LogNormal, Slow}
)

var (
	windows = []Server{
		{Algorithm: FixedWindow, Limit: 60, Window: time.Minute},
		{Algorithm: FixedWindow, Limit: 100, Window: time.Second},
		{Algorithm: SlidingWindow, Limit: 100, Window: 10 * time.Second},
		{Algorithm: SlidingWindow, Limit: 100, Window: time.Second},
	}
	changing = []Server{Bucket(10, 0.1), Bucket(10, 1), Bucket(100, 0.1), Bucket(100, 1), windows[0], windows[1]}
	shared   = []Server{Bucket(10, 0.1), Bucket(10, 1), Bucket(100, 0.1), Bucket(100, 1)}
)

// Bucket returns a token bucket that gains rate tokens per second, and holds the tokens
// that it gains in depth seconds, but at least one.
func Bucket(rate, depth float64) Server {
	return Server{Algorithm: TokenBucket, Limit: rate, Window: time.Second, Depth: atLeast(0, depth)}
}

func with(servers []Server, change func(*Server)) []Server {
	servers = slices.Clone(servers)
	for i := range servers {
		change(&servers[i])
	}
	return servers
}

// Matrix returns a scenario for every combination of its arguments.
func Matrix(servers []Server, retryAfters []RetryAfter, arrivals []Arrivals, answers []Answers, seeds ...uint64) []Scenario {
	var all []Scenario
	for _, s := range servers {
		for _, ra := range retryAfters {
			for _, ar := range arrivals {
				for _, an := range answers {
					for _, seed := range seeds {
						all = append(all, Scenario{s, ra, ar, an, seed})
					}
				}
			}
		}
	}
	return all
}

// Select picks elements of a slice by name. names is a list separated by commas, and the
// result has the order of this list. The name "all" stands for all elements.
func Select[T any](from []T, names string) ([]T, error) {
	var chosen []T
	for name := range strings.SplitSeq(names, ",") {
		if name == "all" {
			chosen = append(chosen, from...)
			continue
		}
		i := slices.IndexFunc(from, func(t T) bool { return fmt.Sprint(t) == name })
		if i < 0 {
			return nil, fmt.Errorf("unknown name %q; the known names are %v", name, from)
		}
		chosen = append(chosen, from[i])
	}
	return chosen, nil
}
