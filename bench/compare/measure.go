package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/iamhttp/iamhttp/bench/internal/peers"
)

// A sample is the result of one benchmark.
type sample map[string]float64 // keyed by unit

// A series holds one call's samples, one from each round.
type series struct {
	samples []sample
	fault   error  // the first failure, after which nothing is measured; nil if nothing failed
	remark  string // a note on the samples; may be empty
}

// values returns the sorted values for a unit.
func (s *series) values(unit string) []float64 {
	values := make([]float64, len(s.samples))
	for i, s := range s.samples {
		values[i] = s[unit]
	}
	slices.Sort(values)
	return values
}

func (s *series) median(unit string) float64 {
	v := s.values(unit)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

func (s *series) bounds(unit string) (lowest, highest float64) {
	v := s.values(unit)
	return v[0], v[len(v)-1]
}

// results holds all series, keyed by the names of the network, scenario and peer.
type results map[[3]string]*series

func (r results) of(network string, s scenario, p peers.Peer) *series {
	return r[[3]string{network, s.name, p.Name}]
}

// calls returns a call for each scenario, each of its networks, and each peer. The function
// end, which is never nil, stops the services that the calls use, and removes the file
// that they upload.
func calls(fleet []peers.Peer, chosen []scenario) (all []*call, end func() error, err error) {
	var ends []func() error
	end = func() (err error) {
		for _, f := range ends {
			err = errors.Join(err, f())
		}
		return err
	}
	dir, err := os.MkdirTemp("", "compare")
	if err != nil {
		return nil, end, err
	}
	ends = append(ends, func() error { return os.RemoveAll(dir) })
	upload := filepath.Join(dir, "upload")
	largest := bytes.Repeat([]byte("0123456789abcdef"), 64*mib/16)
	if err := os.WriteFile(upload, largest, 0o600); err != nil {
		return nil, end, err
	}
	for _, network := range networks {
		s, err := newService(network)
		if err != nil {
			return nil, end, err
		}
		ends = append(ends, s.close)
		for _, sc := range chosen {
			if slices.Contains(sc.over, network) {
				for _, p := range fleet {
					all = append(all, &call{scenario: sc, peer: p, service: s, upload: upload, content: largest[:sc.size]})
				}
			}
		}
	}
	return all, end, nil
}

// measure works in rounds, so that noise on the machine affects all calls equally. In each
// round, it benchmarks every call that has not failed yet. It writes the samples to raw, in
// the format that benchstat reads.
func measure(fleet []peers.Peer, chosen []scenario, rounds int, raw, progress io.Writer) (r results, err error) {
	all, end, err := calls(fleet, chosen)
	defer func() { err = errors.Join(err, end()) }()
	if err != nil {
		return nil, err
	}
	r = results{}
	fmt.Fprintf(raw, "goos: %s\ngoarch: %s\npkg: github.com/iamhttp/iamhttp/bench/compare\n", runtime.GOOS, runtime.GOARCH)
	for round := range rounds {
		fmt.Fprintf(progress, "round %d of %d\n", round+1, rounds)
		for _, c := range all {
			key := [3]string{c.service.network, c.name, c.peer.Name}
			s := r[key]
			if s == nil {
				s = &series{}
				r[key] = s
				if s.fault = c.prepare(); s.fault == nil && c.waiting == 0 {
					s.fault = c.check()
				}
				s.fault = c.plain(s.fault)
			}
			if s.fault != nil {
				continue
			}
			if err := flag.Set("test.benchtime", c.benchtime); err != nil {
				return nil, err
			}
			runtime.GC()
			b := testing.Benchmark(c.bench)
			if s.fault = c.plain(c.fault); s.fault != nil {
				continue
			}
			s.remark = c.remark
			fmt.Fprintf(raw, "BenchmarkPeers/%s-%d\t%s\t%s\n", c.benchmark(), runtime.GOMAXPROCS(0), b, b.MemString())
			one := sample{
				"ns/op":     float64(b.T.Nanoseconds()) / float64(b.N),
				"B/op":      float64(b.AllocedBytesPerOp()),
				"allocs/op": float64(b.AllocsPerOp()),
			}
			maps.Copy(one, b.Extra)
			s.samples = append(s.samples, one)
		}
	}
	return r, nil
}

// plain replaces the parts of an error's text that differ from run to run.
func (c *call) plain(err error) error {
	if err == nil {
		return nil
	}
	s := strings.ReplaceAll(err.Error(), c.upload, "the file")
	s = strings.ReplaceAll(s, c.service.url, "the service")
	s = regexp.MustCompile(`127\.0\.0\.1:\d+`).ReplaceAllString(s, "loopback")
	return errors.New(s)
}
