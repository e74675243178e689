// Overload measures how many requests a server with a rate limit gets from HTTP clients,
// and how many of their calls succeed. The clients are iamhttp.Transport with and without
// a gate, other libraries, and hand-written loops. The clients are real; the network, the
// server and the clock are simulated.
//
//	go run ./overload                                       print tables
//	go run ./overload -svg DIR                              also draw pictures
//	go run ./overload -picture overload/img/throttled.svg   draw the README's picture
//	go run ./overload -client gate -server all -retry-after all -arrivals all -answers all -csv gate.csv
//
// Tests check how close the gate comes to its goals in three kinds of runs: combinations of
// servers, kinds of Retry-After, arrivals and response times (the matrix: see FIGURES.md),
// situations that users of cloud APIs encounter (the rows: see ROWS.md and
// rowlist_test.go), and situations that are drawn at random (the draws: see
// draws_test.go). PEERS.md and DRAWS.md compare the gate with other algorithms.
//
// # The simulation
//
// In this program and in the matrix, a server is a token bucket, a fixed window, or a
// sliding window that is estimated from the counts of two periods. The sliding window
// counts throttled requests too, as HAProxy does. The limit may halve or double halfway
// through the run. Other clients, called strangers, may use the same limit; they send at
// random times and never wait. The server accepts or refuses a request when half of the
// response time has passed, and a 429 takes as long as a 200, so clients learn late that
// they are throttled. For the rows and the draws, see sim.Situation.
//
// The ideal is a server that queues all requests and throttles none. It does not serve
// strangers while a request is waiting, so the ideal is usually out of reach if there are
// strangers.
//
// "Sent while told to wait" counts the requests that were sent while a Retry-After was in
// force. Requests that were sent at the very instant at which the Retry-After arrived, or
// in its last 50 µs, are not counted. "Time" is the time from the start of the run to the
// last success, divided by the same time for the ideal. "Wait" is a call's duration minus
// the response time of its last attempt. "In flight" is the largest number of requests in
// flight.
//
// The same seed gives the same calls, response times and strangers. The clients draw
// their own jitter, so figures may differ from run to run. The tests seed the gate's
// jitter, so that FIGURES.md is the same each time. Without this seed, one of 4,420
// runs exceeded its bound: it needed 1.39 requests per success, and 1.35 were allowed.
//
// Two clients need help. go-github-ratelimit waits only if the 429 has the body that
// GitHub sends, so package peers adds that body. The adaptive mode of the AWS SDK polls
// the clock while less than a nanosecond is left to wait. It would poll forever in
// virtual time, so each poll takes a microsecond here.
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
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/iamhttp/iamhttp/bench/internal/cli"
	"github.com/iamhttp/iamhttp/bench/internal/peers"
	"github.com/iamhttp/iamhttp/bench/internal/sim"
)

func main() {
	os.Exit(cli.Run("overload", usage, func() error { return run(os.Args[1:], os.Stdout) }, os.Stdout, os.Stderr))
}

const usage = `usage: go run ./overload [flags]

Measures how many requests a server with a rate limit gets from HTTP clients,
and how many of their calls succeed. Without flags, this takes only a few
seconds, because the clients run in virtual time. Names are separated by commas.
"all" stands for all names; an unknown name is an error that lists the known
names.

  -client NAMES       clients; "gate" is iamhttp with a gate; without this flag,
                      the clients in overload/SUMMARY.md
  -attempts LIST      maximum number of times that a client sends a request;
                      0 is the client's default; a client whose number cannot
                      be set gets one run, with its default (0,20)
  -server NAMES       the server's limits: tb is a token bucket, fw a fixed
                      window, sw a sliding window; tb100/0.1 allows 100
                      requests per second, and as many at once as in 0.1 s
                      (tb100/1,tb100/0.1,tb10/0.1,fw60/1m0s)
  -retry-after NAMES  kinds of Retry-After (seconds)
  -arrivals NAMES     calls@once, calls@multiple of the limit (or of what
                      strangers leave of it), or calls@onoffmultiple: on and
                      off for five seconds each (1000@once,1000@2)
  -answers NAMES      response times (10ms)
  -seed LIST          seeds of the random numbers, with one run per seed (1)
  -csv FILE           write all figures to this file, and do not print tables
  -svg DIR            write pictures of the requests over time to this directory
  -picture FILE       only draw the README's picture, and write it to this file

Exit status: 0 on success, 2 if the flags are wrong, 1 on any other error. A
call that fails is not an error.
`

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("overload", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	var (
		clients    = flags.String("client", "gate,iamhttp,loop-1s,go-retryablehttp,failsafe-go,rehttp,azcore,aws-standard,aws-adaptive,go-github-ratelimit", "")
		attempts   = flags.String("attempts", "0,20", "")
		servers    = flags.String("server", "tb100/1,tb100/0.1,tb10/0.1,fw60/1m0s", "")
		retryAfter = flags.String("retry-after", "seconds", "")
		arrivals   = flags.String("arrivals", "1000@once,1000@2", "")
		answers    = flags.String("answers", "10ms", "")
		seeds      = flags.String("seed", "1", "")
		csvFile    = flags.String("csv", "", "")
		svgDir     = flags.String("svg", "", "")
		picture    = flags.String("picture", "", "")
	)
	if err := cli.Parse(flags, args); err != nil {
		return err
	}
	if *picture != "" {
		return writePicture(*picture)
	}
	scenarios, err := scenarios(*servers, *retryAfter, *arrivals, *answers, *seeds)
	fleet, err2 := contestants(*clients, *attempts)
	if err := errors.Join(err, err2); err != nil {
		return cli.Wrong(err)
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

// A contestant is a client with a maximum number of attempts.
type contestant struct {
	peers.Peer
	attempts int // 0: the client's default
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
		if !p.Capped {
			all = append(all, contestant{p, 0})
			continue
		}
		for _, n := range tries {
			all = append(all, contestant{p, n})
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
		n, err := strconv.ParseUint(s, 10, 63)
		if err != nil {
			return nil, fmt.Errorf("%q is not a whole number from 0 to 2^63-1", s)
		}
		ns = append(ns, T(n))
	}
	return ns, nil
}

// inOrder runs all contestants in all scenarios, with at most GOMAXPROCS runs at the
// same time. It yields the results of one scenario at a time, in the order of
// scenarios.
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
