// Package peers wires HTTP clients that repeat requests, each as its own
// documentation says, for one call at a time.
package peers

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	azruntime "github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/PuerkitoBio/rehttp"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
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

// Do makes a call, as http.Client.Do does.
type Do = func(*http.Request) (*http.Response, error)

const module = "github.com/iamhttp/iamhttp"

// All lists the peers, ours first.
var All = []Peer{
	{"iamhttp", module, true, transport},
	{"loop-1s", "", false, loop(time.Second)},
	{"loop-0s", "", false, loop(0)},
	{"retryablehttp", "github.com/hashicorp/go-retryablehttp", true, hashicorp},
	{"failsafe", "github.com/failsafe-go/failsafe-go", true, failsafe},
	{"rehttp", "github.com/PuerkitoBio/rehttp", true, puerkito},
	{"azcore", "github.com/Azure/azure-sdk-for-go/sdk/azcore", true, azure},
	{"aws-standard", "github.com/aws/aws-sdk-go-v2", true, awsStandard},
	{"aws-adaptive", "github.com/aws/aws-sdk-go-v2", true, awsAdaptive},
	{"gofri", "github.com/gofri/go-github-ratelimit/v2", false, gofri},
}

func client(rt http.RoundTripper) Do { return (&http.Client{Transport: rt}).Do }

func transport(base http.RoundTripper, attempts int) Do {
	return client(&iamhttp.Transport{Base: base, MaxAttempts: attempts})
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

func awsStandard(base http.RoundTripper, attempts int) Do {
	return smithyClient(base, retry.NewStandard(maxAttempts(attempts)))
}

func awsAdaptive(base http.RoundTripper, attempts int) Do {
	return smithyClient(base, retry.NewAdaptiveMode(func(o *retry.AdaptiveModeOptions) {
		o.StandardOptions = append(o.StandardOptions, maxAttempts(attempts))
	}))
}

func maxAttempts(n int) func(*retry.StandardOptions) {
	return func(o *retry.StandardOptions) {
		if n != 0 {
			o.MaxAttempts = n
		}
	}
}

// smithyClient is as much of a generated client as the retryer needs: the loop
// of attempts, and below it a deserializer that makes an error of a 429.
func smithyClient(base http.RoundTripper, retryer aws.Retryer) Do {
	stack := func() *middleware.Stack {
		s := middleware.NewStack("bench", smithyhttp.NewStackRequest)
		s.Finalize.Add(retry.NewAttemptMiddleware(retryer, smithyhttp.RequestCloner), middleware.After)
		s.Deserialize.Add(middleware.DeserializeMiddlewareFunc("Error", apiError), middleware.After)
		return s
	}
	transport := smithyhttp.NewClientHandler(&http.Client{Transport: base})
	return func(req *http.Request) (*http.Response, error) {
		s := stack()
		s.Build.Add(middleware.BuildMiddlewareFunc("Request", func(ctx context.Context, in middleware.BuildInput, next middleware.BuildHandler) (middleware.BuildOutput, middleware.Metadata, error) {
			to := in.Request.(*smithyhttp.Request)
			to.Method, to.URL = req.Method, req.URL
			return next.HandleBuild(ctx, in)
		}), middleware.After)
		out, _, err := middleware.DecorateHandler(transport, s).Handle(req.Context(), nil)
		if err != nil {
			return nil, err
		}
		resp, ok := out.(*smithyhttp.Response)
		if !ok {
			return nil, errors.New("no response")
		}
		return resp.Response, nil
	}
}

func apiError(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
	out, metadata, err := next.HandleDeserialize(ctx, in)
	resp, ok := out.RawResponse.(*smithyhttp.Response)
	if err != nil || !ok {
		return out, metadata, err
	}
	if resp.StatusCode == http.StatusTooManyRequests {
		resp.Body.Close()
		return out, metadata, &awshttp.ResponseError{ResponseError: &smithyhttp.ResponseError{
			Response: resp,
			Err:      &smithy.GenericAPIError{Code: "TooManyRequestsException", Fault: smithy.FaultClient},
		}}
	}
	out.Result = resp
	return out, metadata, nil
}

// gofri only waits where GitHub's words are in the body.
func gofri(base http.RoundTripper, _ int) Do {
	return client(github_ratelimit.New(githubBody{base}))
}
