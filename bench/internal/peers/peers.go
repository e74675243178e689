// Package peers wires HTTP clients that repeat requests, each as its own
// documentation says, for one call at a time.
package peers

import (
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	azruntime "github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/PuerkitoBio/rehttp"
	"github.com/failsafe-go/failsafe-go/failsafehttp"
	"github.com/gofri/go-github-ratelimit/v2/github_ratelimit"
	"github.com/hashicorp/go-retryablehttp"
	"github.com/iamhttp/iamhttp"
)

// A Peer is a way to make calls.
type Peer struct {
	Name   string
	Module string // that it comes from; empty: written here
	// Capped: it gives up after so many sends, and there is a setting for how
	// many.
	Capped bool
	// Wire returns what makes a call over base. attempts is how often a
	// request is sent at the most, 0 meaning the peer's default.
	Wire func(base http.RoundTripper, attempts int) Do
}

func (p Peer) String() string { return p.Name }

// Do makes a call, as http.Client.Do does.
type Do = func(*http.Request) (*http.Response, error)

const module = "github.com/iamhttp/iamhttp"

// All lists the peers, ours first.
var All = []Peer{
	{"gate", module, true, gated},
	{"iamhttp", module, true, transport},
	{"loop-1s", "", false, loop(time.Second)},
	{"loop-0s", "", false, loop(0)},
	{"go-retryablehttp", "github.com/hashicorp/go-retryablehttp", true, hashicorp},
	{"failsafe-go", "github.com/failsafe-go/failsafe-go", true, failsafe},
	{"rehttp", "github.com/PuerkitoBio/rehttp", true, puerkito},
	{"azcore", "github.com/Azure/azure-sdk-for-go/sdk/azcore", true, azure},
	{"aws-standard", "github.com/aws/aws-sdk-go-v2", true, awsStandard},
	{"aws-adaptive", "github.com/aws/aws-sdk-go-v2", true, awsAdaptive},
	{"go-github-ratelimit", "github.com/gofri/go-github-ratelimit/v2", false, gofri},
}

func client(rt http.RoundTripper) Do { return (&http.Client{Transport: rt}).Do }

func transport(base http.RoundTripper, attempts int) Do {
	return client(&iamhttp.Transport{Base: base, MaxAttempts: attempts})
}

func gated(base http.RoundTripper, attempts int) Do {
	return client(&iamhttp.Transport{Base: base, MaxAttempts: attempts, Gate: &iamhttp.AdaptiveGate{}})
}

// loop is what people write who have no library: again until it works.
func loop(wait time.Duration) func(http.RoundTripper, int) Do {
	return func(base http.RoundTripper, _ int) Do {
		do := client(base)
		return func(req *http.Request) (*http.Response, error) {
			for {
				resp, err := do(req)
				if err != nil || resp.StatusCode != http.StatusTooManyRequests {
					return resp, err
				}
				resp.Body.Close()
				time.Sleep(wait)
			}
		}
	}
}

func hashicorp(base http.RoundTripper, attempts int) Do {
	c := retryablehttp.NewClient()
	c.HTTPClient.Transport = base
	c.Logger = nil
	if attempts != 0 {
		c.RetryMax = attempts - 1
	}
	return c.StandardClient().Do
}

func failsafe(base http.RoundTripper, attempts int) Do {
	policy := failsafehttp.NewRetryPolicyBuilder()
	if attempts != 0 {
		policy.WithMaxAttempts(attempts)
	}
	return client(failsafehttp.NewRoundTripper(base, policy.Build()))
}

// puerkito has no defaults; the numbers are those of its documentation.
func puerkito(base http.RoundTripper, attempts int) Do {
	if attempts == 0 {
		attempts = 4
	}
	return client(rehttp.NewTransport(base,
		rehttp.RetryAll(rehttp.RetryMaxRetries(attempts-1), rehttp.RetryStatuses(http.StatusTooManyRequests)),
		rehttp.ExpJitterDelay(time.Second, 10*time.Second)))
}

func azure(base http.RoundTripper, attempts int) Do {
	options := &policy.ClientOptions{Transport: &http.Client{Transport: base}}
	if attempts != 0 {
		options.Retry.MaxRetries = int32(attempts - 1)
	}
	pipeline := azruntime.NewPipeline("bench", "v0.0.0", azruntime.PipelineOptions{}, options)
	return func(req *http.Request) (*http.Response, error) {
		r, err := azruntime.NewRequest(req.Context(), req.Method, req.URL.String())
		if err != nil {
			return nil, err
		}
		return pipeline.Do(r)
	}
}

// gofri only waits where GitHub's words are in the body.
func gofri(base http.RoundTripper, _ int) Do {
	return client(github_ratelimit.New(githubBody{base}))
}

// githubBody makes the 429 of any server GitHub's.
type githubBody struct{ base http.RoundTripper }

func (g githubBody) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := g.base.RoundTrip(req)
	if err == nil && resp.StatusCode == http.StatusTooManyRequests {
		resp.Body.Close()
		resp.Body = io.NopCloser(strings.NewReader(`{"message":"You have exceeded a secondary rate limit."}`))
	}
	return resp, err
}
