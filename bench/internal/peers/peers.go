// Package peers sets up HTTP clients that retry requests, each as its own documentation
// describes.
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

// A Peer is an HTTP client that retries: a library, or code in this package.
type Peer struct {
	Name   string
	Module string // module path of the library; empty: the peer is code in this package
	// Capped is true if the peer's maximum number of attempts can be set.
	Capped bool
	// Client is true if the peer is not a RoundTripper: such a peer contains an
	// http.Client, and has its own request type.
	Client bool
	// Wrap returns the peer as a RoundTripper that sends its requests through base. Each
	// RoundTrip makes one call, retries included, even if the peer is a Client.
	Wrap func(base http.RoundTripper, o Options) http.RoundTripper
	// Failure returns the peer's own error for a response with a status of 400 or above.
	// Failure is nil if the peer has no such error, or returns it instead of the response.
	Failure func(*http.Response) error
}

func (p Peer) String() string { return p.Name }

// Options are settings that most peers have in some form; the other peers ignore them. The
// zero value keeps the peer's defaults.
type Options struct {
	// Attempts is the maximum number of times a request is sent.
	Attempts int
	// Delay is the wait before each retry if the server does not ask for one; NoDelay
	// means no wait. If Delay is set, any number of calls can wait at once.
	Delay time.Duration
	// Content is the content of each request body that is not a file. An http.Request
	// contains the body only as a reader, but a Client is given Content in the form that
	// it handles best.
	Content []byte
}

// NoDelay is the Delay for no wait. A Delay of zero keeps the peer's default.
const NoDelay time.Duration = -1

// delay returns the delay, and reports whether it is set.
func (o Options) delay() (time.Duration, bool) { return max(o.Delay, 0), o.Delay != 0 }

// attempts returns Attempts, or ownWords if Attempts is not set. A peer without a default
// passes the number in its documentation as ownWords.
func (o Options) attempts(ownWords int) int {
	if o.Attempts == 0 {
		return ownWords
	}
	return o.Attempts
}

// A Do makes a call, as http.Client.Do does.
type Do = func(*http.Request) (*http.Response, error)

// Wire returns a function that makes calls the way an application does: with an
// http.Client, through the peer and base. attempts is Options.Attempts.
func (p Peer) Wire(base http.RoundTripper, attempts int) Do {
	return p.Do(base, Options{Attempts: attempts})
}

// Do is like Wire, but takes all options.
func (p Peer) Do(base http.RoundTripper, o Options) Do {
	rt := p.Wrap(base, o)
	if p.Client {
		return rt.RoundTrip
	}
	return (&http.Client{Transport: rt}).Do
}

// Base is the baseline: the base RoundTripper in a minimal retry loop.
var Base = Peer{Name: "base", Wrap: byHand}

const module = "github.com/iamhttp/iamhttp"

// All lists the peers except Base. Ours come first.
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

// Versions returns a line with the versions of Go and of each measured peer.
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

// A roundTripper turns a Do into an http.RoundTripper.
type roundTripper Do

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// content returns the body of req in the form in which an application passes it to a
// Client: as bytes if they are known, otherwise as a stream, such as a file. Both results
// are nil if there is no body.
func (o Options) content(req *http.Request) (data []byte, stream io.Reader, err error) {
	if req.Body == nil || req.Body == http.NoBody {
		return nil, nil, nil
	}
	switch _, file := req.Body.(io.Seeker); {
	case file:
		return nil, req.Body, nil
	case o.Content != nil:
		return o.Content, nil, nil
	case req.GetBody != nil: // the body was made from bytes
		body, err := req.GetBody()
		if err != nil {
			return nil, nil, err
		}
		data, err = io.ReadAll(body)
		return data, nil, errors.Join(err, body.Close(), req.Body.Close())
	}
	return nil, req.Body, nil
}
