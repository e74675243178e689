package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/bench/internal/peers"
	"github.com/iamhttp/iamhttp/roundtriptest"
)

// A subject is what the contract suite is tried on.
type subject struct {
	name    string
	wrap    func(base http.RoundTripper) http.RoundTripper
	options roundtriptest.Options
}

// subjects are those of a fleet that are RoundTrippers, ours in both modes. Who
// is a client does not promise to keep a contract that it only builds on.
func subjects(fleet []peers.Peer) []subject {
	var all []subject
	for _, p := range fleet {
		switch {
		case p.Client || p.Name == peers.Base.Name:
		case p.Name == "iamhttp":
			all = append(all, subject{"iamhttp, PassThrough", func(base http.RoundTripper) http.RoundTripper {
				return &iamhttp.Transport{Base: base, PassThrough: true}
			}, roundtriptest.Options{Repeats: http.StatusTooManyRequests}})
			all = append(all, subject{"iamhttp", func(base http.RoundTripper) http.RoundTripper {
				return &iamhttp.Transport{Base: base}
			}, roundtriptest.Options{Repeats: http.StatusTooManyRequests, StatusErrors: true}})
		default:
			all = append(all, subject{p.Name, func(base http.RoundTripper) http.RoundTripper {
				return p.Wrap(base, peers.Options{})
			}, roundtriptest.Options{Repeats: http.StatusTooManyRequests}})
		}
	}
	return all
}

// A verdict is what a trap says of a subject: nil if it was avoided.
type verdict struct{ err error }

func (v verdict) String() string {
	switch {
	case v.err == nil:
		return "✓"
	case errors.Is(v.err, roundtriptest.ErrNotApplicable):
		return "·"
	case strings.HasPrefix(v.err.Error(), "a 429 was to be repeated"):
		return "–"
	}
	return "**✗**"
}

// fault is what went wrong, in a line; empty if nothing did.
func (v verdict) fault() string {
	if v.err == nil || errors.Is(v.err, roundtriptest.ErrNotApplicable) {
		return ""
	}
	return strings.Join(strings.Fields(v.err.Error()), " ")
}

// A matrix is every trap tried on every subject.
type matrix struct {
	subjects []subject
	traps    []roundtriptest.Trap
	verdicts [][]verdict // by trap, then by subject
}

func judge(all []subject) matrix {
	m := matrix{subjects: all, traps: slices.Collect(roundtriptest.Traps())}
	for _, trap := range m.traps {
		row := make([]verdict, len(all))
		for i, s := range all {
			row[i] = verdict{trap.Check(new(testing.T), s.wrap, s.options)}
		}
		m.verdicts = append(m.verdicts, row)
	}
	return m
}

// faults is how many traps a subject fell into, and of how many.
func (m matrix) faults(name string) (n, of int) {
	i := slices.IndexFunc(m.subjects, func(s subject) bool { return s.name == name })
	if i < 0 {
		return 0, 0
	}
	for _, row := range m.verdicts {
		switch row[i].String() {
		case "**✗**":
			n++
			of++
		case "✓":
			of++
		}
	}
	return n, of
}

func (m matrix) write(w io.Writer) {
	fmt.Fprint(w, "\n| |")
	for _, s := range m.subjects {
		fmt.Fprintf(w, " %s |", s.name)
	}
	fmt.Fprint(w, "\n|---|", strings.Repeat(":-:|", len(m.subjects)), "\n")
	for i, row := range m.verdicts {
		fmt.Fprintf(w, "| %s |", m.traps[i].Name)
		for _, v := range row {
			fmt.Fprintf(w, " %v |", v)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprint(w, "| **fell into** |")
	for _, s := range m.subjects {
		n, of := m.faults(s.name)
		fmt.Fprintf(w, " **%d of %d** |", n, of)
	}
	fmt.Fprintln(w)
}

// explain writes what went wrong, with the clause that it breaks.
func (m matrix) explain(w io.Writer) {
	for i, row := range m.verdicts {
		fmt.Fprintf(w, "\n%s\n  (%s)\n", m.traps[i].Name, m.traps[i].Clause)
		for j, v := range row {
			if f := v.fault(); f != "" {
				fmt.Fprintf(w, "  %s %s: %s\n", v, m.subjects[j].name, f)
			}
		}
	}
}
