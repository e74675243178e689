// Compare measures what HTTP clients that retry requests cost, and whether they obey
// the contract of http.RoundTripper. It compares iamhttp.Transport with other
// libraries, and with the base that all of them use.
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

	"github.com/iamhttp/iamhttp/bench/internal/peers"
	"github.com/iamhttp/iamhttp/bench/internal/sim"
)

func main() {
	testing.Init()            // for the flags of testing.Benchmark
	log.SetOutput(io.Discard) // net/http logs what the traps do to it
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

const compared = "iamhttp,httpretry,rehttp,go-retryablehttp,go-retryablehttp-client,failsafe-go,go-github-ratelimit,resty-v2,resty-v3,azcore,aws-standard"

func run(args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("compare", flag.ExitOnError)
	var (
		names    = flags.String("peer", compared, "`names` of peers, or all")
		calls    = flags.String("call", "all", "`names` of calls, or all")
		rounds   = flags.Int("rounds", 6, "how often everything is measured; benchstat wants 6")
		rawFile  = flags.String("raw", "", "write the samples to this `file`")
		contract = flags.Bool("contract", false, "only try the contract, and say what was broken how")
		write    = flags.Bool("write", false, "write the tables into README.md and SUMMARY.md, and draw compare.svg")
	)
	flags.Parse(args) // exits for us
	fleet, err := sim.Select(peers.All, *names)
	chosen, err2 := sim.Select(scenarios, *calls)
	if err := errors.Join(err, err2); err != nil {
		return err
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

// update writes the results into the files that show them.
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
