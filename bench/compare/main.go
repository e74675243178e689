// Compare measures what a call costs with HTTP clients that retry requests, and tests
// whether they honor the http.RoundTripper contract. It compares iamhttp.Transport with
// other libraries, and with the base RoundTripper that all of them use.
//
//	go run ./compare                 print tables
//	go run ./compare -write          also write README.md, SUMMARY.md and compare.svg
//	go run ./compare -contract       only test the contract, and print each violation
//	go run ./compare -raw new.txt    also write the samples, for benchstat
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"testing"

	"github.com/iamhttp/iamhttp/bench/internal/cli"
	"github.com/iamhttp/iamhttp/bench/internal/peers"
	"github.com/iamhttp/iamhttp/bench/internal/sim"
)

func main() {
	testing.Init()            // registers the flags that testing.Benchmark uses
	log.SetOutput(io.Discard) // the traps of roundtriptest make net/http log errors
	os.Exit(cli.Run("compare", usage, func() error { return run(os.Args[1:], os.Stdout) }, os.Stdout, os.Stderr))
}

const usage = `usage: go run ./compare [flags]

Measures what a call costs with HTTP clients that retry requests, and tests
whether they honor the http.RoundTripper contract. This takes about five minutes
on an otherwise idle machine; -contract takes seconds. An unknown name is an
error that lists the known names.

  -peer NAMES   libraries, separated by commas, or all; without this flag, the
                libraries in README.md
  -call NAMES   calls, separated by commas, or all (all)
  -rounds N     number of times to measure everything (6, the minimum for
                benchstat)
  -raw FILE     write the samples to this file, for benchstat
  -contract     only test the contract, and print each violation
  -write        write the tables into README.md and SUMMARY.md, and draw
                compare.svg

Exit status: 0 on success, 2 if the flags are wrong, 1 on any other error. A
library that fails in a measurement is not an error.
`

const compared = "iamhttp,httpretry,rehttp,go-retryablehttp,go-retryablehttp-client,failsafe-go,go-github-ratelimit,resty-v2,resty-v3,azcore,aws-standard"

func run(args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("compare", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	var (
		names    = flags.String("peer", compared, "")
		calls    = flags.String("call", "all", "")
		rounds   = flags.Int("rounds", 6, "")
		rawFile  = flags.String("raw", "", "")
		contract = flags.Bool("contract", false, "")
		write    = flags.Bool("write", false, "")
	)
	if err := cli.Parse(flags, args); err != nil {
		return err
	}
	if *rounds < 1 {
		return cli.Wrong(errors.New("-rounds must be at least 1"))
	}
	fleet, err := sim.Select(peers.All, *names)
	chosen, err2 := sim.Select(scenarios, *calls)
	if err := errors.Join(err, err2); err != nil {
		return cli.Wrong(err)
	}
	if *write && (len(chosen) < len(scenarios) || *names != compared) {
		return cli.Wrong(errors.New("-write needs all calls, and the libraries in README.md"))
	}
	r := &report{fleet: append([]peers.Peer{peers.Base}, fleet...), scenarios: chosen, matrix: judge(subjects(fleet))}
	if *contract {
		r.matrix.write(out)
		r.matrix.explain(out)
		return nil
	}
	raw := io.Discard
	if *rawFile != "" {
		f, wrong := os.Create(*rawFile)
		if wrong != nil {
			return wrong
		}
		buffered := bufio.NewWriter(f) // remembers the error of a failed write
		defer func() { err = errors.Join(err, buffered.Flush(), f.Close()) }()
		raw = buffered
	}
	if r.results, err = measure(r.fleet, chosen, *rounds, raw, os.Stderr); err != nil {
		return err
	}
	var tables strings.Builder
	r.writeTo(&tables)
	fmt.Fprint(out, tables.String())
	if *write {
		return r.update(tables.String())
	}
	return nil
}

const (
	begin = "<!-- written by: go run ./compare -write -->\n"
	end   = "\n<!-- end of what it wrote -->"
)

// update writes the results into README.md, SUMMARY.md and compare.svg.
func (r *report) update(tables string) error {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(readme), begin)
	_, after, found2 := strings.Cut(rest, end)
	if !found || !found2 {
		return errors.New("README.md does not contain the two comments that enclose the tables")
	}
	var summary strings.Builder
	r.writeSummary(&summary)
	return errors.Join(
		os.WriteFile("README.md", []byte(before+begin+tables+end+after), 0o644),
		os.WriteFile("SUMMARY.md", []byte(summary.String()), 0o644),
		os.WriteFile("compare.svg", r.draw(), 0o644),
	)
}
