// Overload measures how HTTP clients load a server with a rate limit, and how
// many of their calls succeed: iamhttp.Transport with and without a gate, other
// libraries, and hand-written loops. Network, server and clock are simulated; the
// clients are real.
//
//	go run ./overload                                    the table
//	go run ./overload -svg DIR                           and drawn
//	go run ./overload -picture overload/img/throttled.svg   the picture of the README
//	go run ./overload -client gate -server all -retry-after all -arrivals all -answers all -csv gate.csv
//
// Tests hold the gate to goals: in this matrix (FIGURES.md), in rows where the limit
// or the callers change (ROWS.md, rowlist_test.go), and in situations that are drawn
// at random (draws_test.go).
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/iamhttp/iamhttp/bench/internal/peers"
	"github.com/iamhttp/iamhttp/bench/internal/sim"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "overload:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("overload", flag.ExitOnError)
	var (
		clients    = flags.String("client", "gate,iamhttp,loop-1s,go-retryablehttp,failsafe-go,rehttp,azcore,aws-standard,aws-adaptive,go-github-ratelimit", "`names` of clients, or all")
		attempts   = flags.String("attempts", "0,20", "maximum number of times that a client sends a request; 0: its default")
		servers    = flags.String("server", "tb100/1,tb100/0.1,tb10/0.1,fw60/1m0s", "`names` of servers, or all")
		retryAfter = flags.String("retry-after", "seconds", "`names` of kinds of Retry-After, or all")
		arrivals   = flags.String("arrivals", "1000@once,1000@2", "`names` of arrivals, or all: calls @ once, or calls @ multiple of the limit")
		answers    = flags.String("answers", "10ms", "`names` of answer times, or all")
		seeds      = flags.String("seed", "1", "of the random numbers; several give several runs")
		csvFile    = flags.String("csv", "", "write all figures to this `file`, instead of a table to standard output")
		svgDir     = flags.String("svg", "", "draw the requests over time into this `directory`")
		picture    = flags.String("picture", "", "only draw the picture of the README, into this `file`")
	)
	flags.Parse(args) // exits for us
	if *picture != "" {
		return writePicture(*picture)
	}
	scenarios, err := scenarios(*servers, *retryAfter, *arrivals, *answers, *seeds)
	fleet, err2 := contestants(*clients, *attempts)
	if err := errors.Join(err, err2); err != nil {
		return err
	}

	if *svgDir != "" {
		if err := os.MkdirAll(*svgDir, 0o755); err != nil {
			return err
		}
	}
	var file *os.File
	if *csvFile != "" {
		if file, err = os.Create(*csvFile); err != nil {
			return err
		}
		defer file.Close()
		writeCSVHeader(file)
	} else {
		measured := make([]peers.Peer, len(fleet))
		for i, c := range fleet {
			measured[i] = c.Peer
		}
		fmt.Fprintln(out, peers.Versions(measured...))
	}
	for results := range inOrder(scenarios, fleet, *svgDir != "") {
		if file != nil {
			for i, r := range results {
				writeCSV(file, fleet[i], r)
			}
		} else {
			writeTable(out, fleet, results)
		}
		if *svgDir != "" {
			name := filepath.Join(*svgDir, fileName(results[0].Scenario)+".svg")
			if err := os.WriteFile(name, draw(fleet, results), 0o644); err != nil {
				return err
			}
		}
	}
	if file != nil {
		return file.Close()
	}
	return nil
}

// A contestant is a client with one setting.
type contestant struct {
	peers.Peer
	attempts int // 0: its default
}

func (c contestant) String() string {
	if c.attempts == 0 {
		return c.Name
	}
	return fmt.Sprintf("%s, %d attempts", c.Name, c.attempts)
}

func (c contestant) client(base http.RoundTripper) peers.Do { return c.Wire(base, c.attempts) }

func contestants(names, attempts string) ([]contestant, error) {
	chosen, err := sim.Select(peers.All, names)
	tries, err2 := numbers[int](attempts)
	var all []contestant
	for _, p := range chosen {
		for i, n := range tries {
			if p.Capped || i == 0 {
				all = append(all, contestant{p, n})
			}
		}
	}
	return all, errors.Join(err, err2)
}

func scenarios(servers, retryAfter, arrivals, answers, seeds string) ([]sim.Scenario, error) {
	s, err1 := sim.Select(sim.Servers, servers)
	ra, err2 := sim.Select(sim.RetryAfters, retryAfter)
	ar, err3 := sim.Select(sim.AllArrivals, arrivals)
	an, err4 := sim.Select(sim.AllAnswers, answers)
	se, err5 := numbers[uint64](seeds)
	return sim.Matrix(s, ra, ar, an, se...), errors.Join(err1, err2, err3, err4, err5)
}

func numbers[T int | uint64](list string) ([]T, error) {
	var ns []T
	for s := range strings.SplitSeq(list, ",") {
		var n T
		if _, err := fmt.Sscan(s, &n); err != nil {
			return nil, fmt.Errorf("%q: %w", s, err)
		}
		ns = append(ns, n)
	}
	return ns, nil
}

// inOrder runs all contestants in all scenarios, as many at a time as there are
// processors, and yields the results of one scenario after the other.
func inOrder(scenarios []sim.Scenario, fleet []contestant, trace bool) func(yield func([]sim.Result) bool) {
	return func(yield func([]sim.Result) bool) {
		limit := make(chan struct{}, runtime.GOMAXPROCS(0))
		done := make([]sync.WaitGroup, len(scenarios))
		results := make([][]sim.Result, len(scenarios))
		for i := range scenarios {
			results[i] = make([]sim.Result, len(fleet))
			done[i].Add(len(fleet))
		}
		go func() {
			for i, s := range scenarios {
				for j, c := range fleet {
					limit <- struct{}{}
					go func() {
						defer func() { <-limit; done[i].Done() }()
						results[i][j] = s.Run(new(testing.T), c.client, trace)
					}()
				}
			}
		}()
		for i := range scenarios {
			done[i].Wait()
			if !yield(results[i]) {
				return
			}
			results[i] = nil
		}
	}
}
