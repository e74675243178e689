package main

import (
	"context"
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

// A subject is a RoundTripper that the contract suite tests.
type subject struct {
	name     string
	client   bool
	wrap     func(base http.RoundTripper) http.RoundTripper
	options  roundtriptest.Options
	exempted map[string]error // the reasons why traps are skipped, keyed by trap name
}

// subjects turns a fleet's peers, except Base, into subjects: first the RoundTrippers, then
// the clients. iamhttp appears twice, once in each mode.
func subjects(fleet []peers.Peer) []subject {
	retries := roundtriptest.Options{Retries: http.StatusTooManyRequests}
	var all, clients []subject
	for _, p := range fleet {
		switch {
		case p.Name == peers.Base.Name:
		case p.Name == "iamhttp":
			all = append(all, subject{name: "iamhttp, PassThrough", options: retries, wrap: func(base http.RoundTripper) http.RoundTripper {
				return &iamhttp.Transport{Base: base, PassThrough: true}
			}})
			all = append(all, subject{name: "iamhttp", options: roundtriptest.Options{Retries: retries.Retries, StatusErrors: true}, wrap: func(base http.RoundTripper) http.RoundTripper {
				return &iamhttp.Transport{Base: base}
			}})
		case p.Client:
			clients = append(clients, subject{name: p.Name, client: true, options: retries, exempted: exempted(p.Name), wrap: func(base http.RoundTripper) http.RoundTripper {
				return bare{p.Wrap(sameHost{base}, peers.Options{})}
			}})
		default:
			all = append(all, subject{name: p.Name, options: retries, wrap: func(base http.RoundTripper) http.RoundTripper {
				return p.Wrap(base, peers.Options{})
			}})
		}
	}
	return append(all, clients...)
}

// bare unwraps each *url.Error that a client returns: its internal http.Client wraps
// errors from the base in one. A *url.Error contains the URL's query, but that is
// net/http's fault, not the client's.
type bare struct{ http.RoundTripper }

func (b bare) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL != nil && req.Host != "" && req.Host != req.URL.Host {
		req = req.WithContext(context.WithValue(req.Context(), hostKey{}, req.Host))
	}
	resp, err := b.RoundTripper.RoundTrip(req)
	if e, ok := err.(*url.Error); ok {
		err = e.Err
	}
	return resp, err
}

type hostKey struct{}

// sameHost is the base of a client. It sends a request with the Host of the caller's
// request, because our wrapper passes only the method, URL, header and content to a client.
type sameHost struct{ http.RoundTripper }

func (s sameHost) RoundTrip(req *http.Request) (*http.Response, error) {
	if host, ok := req.Context().Value(hostKey{}).(string); ok {
		sent := *req
		sent.Host = host
		req = &sent
	}
	return s.RoundTripper.RoundTrip(req)
}

// errOfTheWrapping marks a trap whose result would depend on our wrapper, which turns the
// client into a RoundTripper.
var errOfTheWrapping = errors.New("the result would depend on the wrapper")

// exempted returns the reasons why traps are skipped for a client, keyed by trap name.
func exempted(client string) map[string]error {
	not := map[string]error{
		"redirects belong to the client":                roundtriptest.ErrNotApplicable, // a client follows redirects itself
		"CloseIdleConnections reaches the base":         errOfTheWrapping,
		"wrapping twice does not multiply the attempts": errOfTheWrapping,
		"errors of one kind have one pointer type":      roundtriptest.ErrNotApplicable,
	}
	if client == "go-retryablehttp-client" {
		return not // this client gets the caller's http.Request itself
	}
	not["the request is not modified"] = errOfTheWrapping
	not["the body is always closed"] = errOfTheWrapping
	switch client {
	case "azcore": // azcore only accepts seekable bodies
		not["a body that is gone is not sent again as an empty one"] = errOfTheWrapping
	case "aws-standard", "aws-adaptive": // in the SDK, code that is generated for each service creates the errors
		not["RoundTrip returns either a response or an error"] = errOfTheWrapping
		not["a client's timeout does not hide the response"] = errOfTheWrapping
		not["errors contain no secrets"] = errOfTheWrapping
	}
	return not
}

// A verdict is a trap's result for a subject. err is nil if the subject passed.
type verdict struct{ err error }

func (v verdict) String() string {
	switch {
	case v.err == nil:
		return "✓"
	case errors.Is(v.err, roundtriptest.ErrNotApplicable):
		return "·"
	case errors.Is(v.err, errOfTheWrapping):
		return "○"
	case strings.HasPrefix(v.err.Error(), "a 429 was to be retried"):
		return "–"
	}
	return "**✗**"
}

// fault returns, on one line, the error of a subject that failed a trap or could not be
// tested. It returns an empty string if the subject passed, or if the trap does not apply
// or was skipped.
func (v verdict) fault() string {
	if v.err == nil || errors.Is(v.err, roundtriptest.ErrNotApplicable) || errors.Is(v.err, errOfTheWrapping) {
		return ""
	}
	return strings.Join(strings.Fields(v.err.Error()), " ")
}

// A matrix holds the verdict of every trap for every subject.
type matrix struct {
	subjects []subject
	traps    []roundtriptest.Trap
	verdicts [][]verdict // indexed by trap, then by subject
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

// faults returns how many traps the named subject failed, and how many it passed or
// failed.
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

// write writes a table for the RoundTrippers and, if there are clients, one for them.
func (m matrix) write(w io.Writer) {
	fmt.Fprint(w, "\n**The traps of [roundtriptest](../roundtriptest), with each library set up as its documentation says.**\n\n",
		"`✓` passed; `✗` failed; `·` does not apply; `–` could not be tested, because the library does not retry that 429.\n")
	m.table(w, func(s subject) bool { return !s.client })
	if !slices.ContainsFunc(m.subjects, func(s subject) bool { return s.client }) {
		return
	}
	fmt.Fprint(w, `
The clients are not RoundTrippers, so each is wrapped in one. The wrapper makes each call as the client's documentation says, with the
body as bytes if the client accepts bytes, and returns the response with its body unread.
`+"`○`"+` means that the result would depend on the wrapper, so the trap says nothing about the client:

- go-retryablehttp takes an http.Request. For the other clients, the wrapper creates a request from the method, URL, header and
  content, so the wrapper decides whether the caller's body is closed, and whether the caller's request is modified.
- Passing on CloseIdleConnections and stacking two clients both need a wrapper.
- azcore only accepts seekable bodies.
- In the AWS SDK, code that is generated for each service decides which responses are errors, and what these errors contain. Here, the
  wrapper decides.

The clients follow redirects themselves, so the trap about redirects does not apply. net/http wraps a client's errors in a *url.Error,
which contains the URL's query; the wrapper unwraps these errors. If resty v2 leaves response bodies to the caller, it does not close the
bodies of responses that lead to a retry; v3 does.
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
	fmt.Fprint(w, "| **failed** |")
	for _, s := range m.subjects {
		if of(s) {
			n, of := m.faults(s.name)
			fmt.Fprintf(w, " **%d of %d** |", n, of)
		}
	}
	fmt.Fprintln(w)
}

// explain writes each trap with the contract clause that it tests, and the errors of the
// subjects that failed it or could not be tested.
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
