// Package peers sets up HTTP clients that retry requests, each as its own documentation
// says.
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
	Module string // empty: the peer is written here
	// Capped says that the peer stops after a number of attempts, which can be set.
	Capped bool
	// Client says that the peer is not a RoundTripper for an http.Client. It contains an
	// http.Client, and has its own types for requests and responses.
	Client bool
	// Wrap puts the peer around base. RoundTrip of the result makes one call, even if the
	// peer is a Client.
	Wrap func(base http.RoundTripper, o Options) http.RoundTripper
	// Failure returns the peer's own error for a response of 400 or above. It is nil
	// if the peer has no such error.
	Failure func(*http.Response) error
}

func (p Peer) String() string { return p.Name }

// Options are the settings that every peer has in some form. The zero value keeps the
// peer's defaults.
type Options struct {
	// Attempts is the maximum number of times a request is sent.
	Attempts int
	// Delay is the wait before each retry if the server does not ask for one; NoDelay
	// means no wait. If Delay is set, any number of calls may wait at once.
	Delay time.Duration
	// Content is the content of each body that is not a file. An http.Request only has a
	// reader for it, but a Client gets it in the form that it handles best.
	Content []byte
}

// NoDelay is a Delay of zero.
const NoDelay time.Duration = -1

// delay returns the delay, and reports whether it is set.
func (o Options) delay() (time.Duration, bool) { return max(o.Delay, 0), o.Delay != 0 }

// attempts returns Attempts, or ownWords if it is not set. ownWords is the number in the
// documentation of a peer without a default.
func (o Options) attempts(ownWords int) int {
	if o.Attempts == 0 {
		return ownWords
	}
	return o.Attempts
}

// Do makes a call, as http.Client.Do does.
type Do = func(*http.Request) (*http.Response, error)

// Wire returns a function that makes a call over base through an http.Client, as
// an application does. attempts is as in Options.
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

// Base is the baseline: the base with the shortest loop that retries.
var Base = Peer{Name: "base", Wrap: byHand}

const module = "github.com/iamhttp/iamhttp"

// All lists the peers. Ours are the first.
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

// Versions returns a line with the version of Go and of each measured peer.
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

// A roundTripper is a Do as a RoundTripper.
type roundTripper Do

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// content returns the body of req in the form that an application passes to a Client:
// bytes if it has them, otherwise a stream, such as a file. Both are nil if there is no
// body.
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
