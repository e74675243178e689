// Package peers wires HTTP clients that repeat requests, each as its own
// documentation says.
package peers

import (
	"errors"
	"io"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// A Peer is a way to make calls.
type Peer struct {
	Name   string
	Module string // that it comes from; empty: written here
	// Capped: it gives up after so many sends, and there is a setting for how
	// many.
	Capped bool
	// Client: it is not a RoundTripper to be put into an http.Client, but has
	// one inside, and types of its own for request and response.
	Client bool
	// Wrap puts it around base. What RoundTrip does is then one call, whether
	// it is a RoundTripper or not.
	Wrap func(base http.RoundTripper, o Options) http.RoundTripper
	// Failure is its own error for a response of 400 or above, nil if it has
	// none.
	Failure func(*http.Response) error
}

func (p Peer) String() string { return p.Name }

// Options are the settings that every peer has in some form. The zero value
// leaves its defaults.
type Options struct {
	// Attempts is how often a request is sent at the most.
	Attempts int
	// Delay is how long it waits before each repeat if the server does not
	// say; NoDelay for not at all. It also lifts what bounds the number of
	// calls that wait.
	Delay time.Duration
	// Content is what the body of every request contains that is no file. An
	// http.Request hides it in a reader; a client with types of its own gets
	// it in the form that it takes best.
	Content []byte
}

// NoDelay is a Delay of nothing.
const NoDelay time.Duration = -1

// delay returns the delay, and whether one is set.
func (o Options) delay() (time.Duration, bool) { return max(o.Delay, 0), o.Delay != 0 }

// attempts returns how often to send, for peers without a default of their own.
func (o Options) attempts(ownWords int) int {
	if o.Attempts == 0 {
		return ownWords
	}
	return o.Attempts
}

// Do makes a call, as http.Client.Do does.
type Do = func(*http.Request) (*http.Response, error)

// Wire returns what makes a call over base, as an application does: through an
// http.Client. attempts is as in Options.
func (p Peer) Wire(base http.RoundTripper, attempts int) Do {
	return p.Do(base, Options{Attempts: attempts})
}

// Do is Wire with all options.
func (p Peer) Do(base http.RoundTripper, o Options) Do {
	rt := p.Wrap(base, o)
	if p.Client {
		return rt.RoundTrip
	}
	return (&http.Client{Transport: rt}).Do
}

// Base is no peer but what all stand on: the base alone, and where it has to be
// asked again, the shortest loop that does it.
var Base = Peer{Name: "base", Wrap: byHand}

const module = "github.com/iamhttp/iamhttp"

// All lists the peers, ours first.
var All = []Peer{
	{Name: "gate", Module: module, Capped: true, Wrap: gated},
	{Name: "iamhttp", Module: module, Capped: true, Wrap: transport},
	{Name: "loop-1s", Wrap: loop(time.Second)},
	{Name: "loop-0s", Wrap: loop(0)},
	{Name: "go-retryablehttp", Module: "github.com/hashicorp/go-retryablehttp", Capped: true, Wrap: hashicorp},
	{Name: "go-retryablehttp-client", Module: "github.com/hashicorp/go-retryablehttp", Capped: true, Client: true, Wrap: hashicorpClient},
	{Name: "failsafe-go", Module: "github.com/failsafe-go/failsafe-go", Capped: true, Wrap: failsafe},
	{Name: "rehttp", Module: "github.com/PuerkitoBio/rehttp", Capped: true, Wrap: puerkito},
	{Name: "httpretry", Module: "github.com/ybbus/httpretry", Capped: true, Wrap: ybbus},
	{Name: "go-github-ratelimit", Module: "github.com/gofri/go-github-ratelimit/v2", Wrap: gofri},
	{Name: "resty-v2", Module: "github.com/go-resty/resty/v2", Capped: true, Client: true, Wrap: resty2},
	{Name: "resty-v3", Module: "resty.dev/v3", Capped: true, Client: true, Wrap: resty3},
	{Name: "azcore", Module: "github.com/Azure/azure-sdk-for-go/sdk/azcore", Capped: true, Client: true, Wrap: azure, Failure: azureFailure},
	{Name: "aws-standard", Module: "github.com/aws/aws-sdk-go-v2", Capped: true, Client: true, Wrap: awsStandard},
	{Name: "aws-adaptive", Module: "github.com/aws/aws-sdk-go-v2", Capped: true, Client: true, Wrap: awsAdaptive},
}

// Versions is a line that says what was measured.
func Versions(measured ...Peer) string {
	names := []string{runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return names[0]
	}
	for _, m := range info.Deps {
		switch {
		case !slices.ContainsFunc(measured, func(p Peer) bool { return p.Module == m.Path }):
		case m.Replace != nil:
			names = append(names, m.Path+" as in this tree")
		default:
			names = append(names, m.Path+" "+m.Version)
		}
	}
	return strings.Join(names, ", ") + "."
}

// roundTripper is a call as a RoundTripper.
type roundTripper Do

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// content is what an application hands to a client with types of its own when it
// has req's body to send: bytes where it has them, else something to read, a
// file for one. It has neither if there is no body.
func (o Options) content(req *http.Request) (data []byte, stream io.Reader, err error) {
	if req.Body == nil || req.Body == http.NoBody {
		return nil, nil, nil
	}
	switch _, file := req.Body.(io.Seeker); {
	case file:
		return nil, req.Body, nil
	case o.Content != nil:
		return o.Content, nil, nil
	case req.GetBody != nil: // it was made of bytes
		body, err := req.GetBody()
		if err != nil {
			return nil, nil, err
		}
		data, err = io.ReadAll(body)
		return data, nil, errors.Join(err, body.Close(), req.Body.Close())
	}
	return nil, req.Body, nil
}
