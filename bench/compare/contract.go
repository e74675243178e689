package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/bench/internal/peers"
	"github.com/iamhttp/iamhttp/roundtriptest"
)

// A subject is what the contract suite is tried on.
type subject struct {
	name     string
	client   bool
	wrap     func(base http.RoundTripper) http.RoundTripper
	options  roundtriptest.Options
	exempted map[string]error // traps that are not tried, by name
}

// subjects are those of a fleet, ours in both modes, RoundTrippers first.
func subjects(fleet []peers.Peer) []subject {
	repeats := roundtriptest.Options{Repeats: http.StatusTooManyRequests}
	var all, clients []subject
	for _, p := range fleet {
		switch {
		case p.Name == peers.Base.Name:
		case p.Name == "iamhttp":
			all = append(all, subject{name: "iamhttp, PassThrough", options: repeats, wrap: func(base http.RoundTripper) http.RoundTripper {
				return &iamhttp.Transport{Base: base, PassThrough: true}
			}})
			all = append(all, subject{name: "iamhttp", options: roundtriptest.Options{Repeats: repeats.Repeats, StatusErrors: true}, wrap: func(base http.RoundTripper) http.RoundTripper {
				return &iamhttp.Transport{Base: base}
			}})
		case p.Client:
			clients = append(clients, subject{name: p.Name, client: true, options: repeats, exempted: exempted(p.Name), wrap: func(base http.RoundTripper) http.RoundTripper {
				return bare{p.Wrap(base, peers.Options{})}
			}})
		default:
			all = append(all, subject{name: p.Name, options: repeats, wrap: func(base http.RoundTripper) http.RoundTripper {
				return p.Wrap(base, peers.Options{})
			}})
		}
	}
	return append(all, clients...)
}

// bare takes off what the http.Client in a client puts around an error of the
// base, as it is net/http that writes the whole URL there.
type bare struct{ http.RoundTripper }

func (b bare) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(req)
	if e, ok := err.(*url.Error); ok {
		err = e.Err
	}
	return resp, err
}

// errOfTheWrapping: a client is no RoundTripper. What makes it one would decide.
var errOfTheWrapping = errors.New("the wrapping would decide")

// exempted are the traps that a client is not asked.
func exempted(client string) map[string]error {
	not := map[string]error{
		"redirects belong to the client":           roundtriptest.ErrNotApplicable, // which this is
		"CloseIdleConnections reaches the base":    errOfTheWrapping,
		"wrapped twice it sends as often as once":  errOfTheWrapping,
		"errors of one kind have one pointer type": roundtriptest.ErrNotApplicable,
	}
	if client == "go-retryablehttp-client" {
		return not // it takes an http.Request as it is
	}
	not["the request is not modified"] = errOfTheWrapping
	not["the body is always closed"] = errOfTheWrapping
	switch client {
	case "azcore": // it takes no body that cannot seek
		not["a body that is gone is not sent again as an empty one"] = errOfTheWrapping
	case "aws-standard", "aws-adaptive": // the code generated for a service makes the errors
		not["an answer is a response or else an error"] = errOfTheWrapping
		not["a client's timeout does not hide the answer"] = errOfTheWrapping
		not["an error tells no secret"] = errOfTheWrapping
	}
	return not
}

// A verdict is what a trap says of a subject: nil if it was avoided.
type verdict struct{ err error }

func (v verdict) String() string {
	switch {
	case v.err == nil:
		return "✓"
	case errors.Is(v.err, roundtriptest.ErrNotApplicable):
		return "·"
	case errors.Is(v.err, errOfTheWrapping):
		return "○"
	case strings.HasPrefix(v.err.Error(), "a 429 was to be repeated"):
		return "–"
	}
	return "**✗**"
}

// fault is what went wrong, in a line; empty if nothing did.
func (v verdict) fault() string {
	if v.err == nil || errors.Is(v.err, roundtriptest.ErrNotApplicable) || errors.Is(v.err, errOfTheWrapping) {
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
			if err, ok := s.exempted[trap.Name]; ok {
				row[i] = verdict{err}
				continue
			}
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

// write writes a table of the RoundTrippers, and one of the clients.
func (m matrix) write(w io.Writer) {
	fmt.Fprint(w, "\n**The traps of [roundtriptest](../roundtriptest), with the defaults of each.**\n\n",
		"`✓` avoided; `✗` fallen into; `·` asks nothing of it; `–` could not be tried, as it does not repeat that 429.\n")
	m.table(w, func(s subject) bool { return !s.client })
	if !slices.ContainsFunc(m.subjects, func(s subject) bool { return s.client }) {
		return
	}
	fmt.Fprint(w, `
The clients are no RoundTrippers. Each is wrapped to be one: a request goes in as its documentation says, with its body as bytes
where it has them, and the response comes out with its body unread, which resty and azcore are told. `+"`○`"+` where the wrapping would decide, which is
no fault of theirs:

- go-retryablehttp takes an http.Request; the requests of the others are made anew, from method, URL, header and content. So the
  caller's own is read and closed, and not modified, by the wrapping.
- To hand CloseIdleConnections on, and to put one client on another, takes a wrapping too.
- azcore takes no body that cannot seek.
- Which answers are errors, and what those say, is in the code that the AWS SDK generates for a service, and here in the wrapping.

A client follows redirects itself, that asks nothing of it. What net/http puts around the error of a client, with the whole URL, is
taken off. resty v2, told to leave the bodies to the caller, drops those of the answers that it repeats unclosed; v3 closes them.
`)
	m.table(w, func(s subject) bool { return s.client })
}

func (m matrix) table(w io.Writer, of func(subject) bool) {
	fmt.Fprint(w, "\n| |")
	columns := 0
	for _, s := range m.subjects {
		if of(s) {
			fmt.Fprintf(w, " %s |", s.name)
			columns++
		}
	}
	fmt.Fprint(w, "\n|---|", strings.Repeat(":-:|", columns), "\n")
	for i, row := range m.verdicts {
		fmt.Fprintf(w, "| %s |", m.traps[i].Name)
		for j, v := range row {
			if of(m.subjects[j]) {
				fmt.Fprintf(w, " %v |", v)
			}
		}
		fmt.Fprintln(w)
	}
	fmt.Fprint(w, "| **fell into** |")
	for _, s := range m.subjects {
		if of(s) {
			n, of := m.faults(s.name)
			fmt.Fprintf(w, " **%d of %d** |", n, of)
		}
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
