// Compare measures what an HTTP client that retries requests costs, and whether
// it keeps the contract of http.RoundTripper: iamhttp.Transport beside other
// libraries, and the base that they all stand on.
//
//	go run ./compare                 tables
//	go run ./compare -write          and into README.md, SUMMARY.md and compare.svg
//	go run ./compare -contract       only the contract, and what was broken how
//	go run ./compare -raw new.txt    and the samples, for benchstat
package main

import (
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
	testing.Init()            // for the flags of testing.Benchmark
	log.SetOutput(io.Discard) // net/http's, of what the traps do to it
	os.Exit(cli.Run("compare", usage, func() error { return run(os.Args[1:], os.Stdout) }, os.Stdout, os.Stderr))
}

const usage = `usage: go run ./compare [flags]

Measures what an HTTP client that retries requests costs, and whether it keeps
the contract of http.RoundTripper. It takes about five minutes, on a machine
that does nothing else; -contract takes seconds.

  -peer NAMES   libraries, separated by commas, or all
  -call NAMES   calls, or all; a name that does not exist lists those that do
  -rounds N     how often everything is measured (6, as benchstat wants)
  -raw FILE     write the samples to this file, for benchstat
  -contract     only try the contract, and say what was broken how
  -write        write the tables into README.md and SUMMARY.md, and draw
                compare.svg

Exit status: 0 if it was measured, 1 if something failed, 2 if the flags are
wrong.
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
	r := &report{fleet: append([]peers.Peer{peers.Base}, fleet...), scenarios: chosen, matrix: judge(subjects(fleet))}
	if *contract {
		r.matrix.write(out)
		r.matrix.explain(out)
		return nil
	}
	raw := io.Discard
	if *rawFile != "" {
		f, err := os.Create(*rawFile)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		raw = f
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

// update writes the results where they are shown.
func (r *report) update(tables string) error {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(readme), begin)
	_, after, found2 := strings.Cut(rest, end)
	if !found || !found2 {
		return errors.New("README.md has no place for the tables")
	}
	var summary strings.Builder
	r.writeSummary(&summary)
	return errors.Join(
		os.WriteFile("README.md", []byte(before+begin+tables+end+after), 0o644),
		os.WriteFile("SUMMARY.md", []byte(summary.String()), 0o644),
		os.WriteFile("compare.svg", r.draw(), 0o644),
	)
}
