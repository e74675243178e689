package peers

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// awsStandard is the AWS SDK's standard retry mode, which is its default. Since version
// 1.48.0 (November 2026), this mode is the same in the AWS SDKs for all languages:
//   - A request is sent at most three times, as in earlier versions.
//   - The wait is random: up to 1 s after a throttled attempt, and up to 50 ms after any
//     other failure (before version 1.48.0, 2 s after either). The maximum doubles with
//     each retry, up to 20 s.
//   - All calls of a client share a quota of 500 tokens. A retry costs 5 tokens after a
//     throttled attempt, and 14 after any other failure (before version 1.48.0, 10 after
//     a timeout and 5 after anything else).
//
// This mode obeys X-Amz-Retry-After, in milliseconds, but waits at most 5 s longer than
// without it. It ignores Retry-After.
func awsStandard(base http.RoundTripper, o Options) http.RoundTripper {
	return smithyClient(base, o, retry.NewStandard(awsOptions(o)))
}

// awsAdaptive is the adaptive retry mode: the standard mode with a rate limit that all
// calls of a client share.
func awsAdaptive(base http.RoundTripper, o Options) http.RoundTripper {
	return smithyClient(base, o, ticking{retry.NewAdaptiveMode(func(a *retry.AdaptiveModeOptions) {
		a.StandardOptions = append(a.StandardOptions, awsOptions(o))
	})})
}

func awsOptions(o Options) func(*retry.StandardOptions) {
	return func(s *retry.StandardOptions) {
		if o.Attempts != 0 {
			s.MaxAttempts = o.Attempts
		}
		if d, ok := o.delay(); ok {
			s.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return d, nil })
			s.RateLimiter = ratelimit.None // otherwise at most a hundred calls could wait
		}
	}
}

// ticking lets a microsecond of virtual time pass whenever AdaptiveMode waits for a
// token. AdaptiveMode rounds the remaining wait down, eventually to zero, and then polls
// until time has passed. Virtual time does not pass while a goroutine is polling.
type ticking struct{ *retry.AdaptiveMode }

func (r ticking) GetAttemptToken(ctx context.Context) (func(error) error, error) {
	return r.AdaptiveMode.GetAttemptToken(tick{ctx})
}

type tick struct{ context.Context }

func (t tick) Done() <-chan struct{} {
	time.Sleep(time.Microsecond)
	return t.Context.Done()
}

// smithyClient is the part of a generated client that the retryer needs: the loop over
// the attempts, and below it a deserializer that turns a 429 or 503 into an error.
func smithyClient(base http.RoundTripper, o Options, retryer aws.Retryer) http.RoundTripper {
	transport := smithyhttp.NewClientHandlerWithOptions(&http.Client{Transport: base})
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		s := middleware.NewStack("bench", smithyhttp.NewStackRequest)
		fill := func(ctx context.Context, in middleware.BuildInput, next middleware.BuildHandler) (middleware.BuildOutput, middleware.Metadata, error) {
			r := in.Request.(*smithyhttp.Request)
			r.Method, r.URL, r.Header, r.ContentLength = req.Method, req.URL, req.Header.Clone(), req.ContentLength
			data, stream, err := o.content(req)
			if data != nil {
				stream = bytes.NewReader(data)
			}
			if stream != nil && err == nil {
				r, err = r.SetStream(stream)
			}
			if err != nil {
				return middleware.BuildOutput{}, middleware.Metadata{}, err
			}
			in.Request = r
			return next.HandleBuild(ctx, in)
		}
		if err := errors.Join(
			s.Build.Add(middleware.BuildMiddlewareFunc("Request", fill), middleware.After),
			s.Finalize.Add(retry.NewAttemptMiddleware(retryer, smithyhttp.RequestCloner), middleware.After),
			s.Deserialize.Add(middleware.DeserializeMiddlewareFunc("Response", deserialize), middleware.After),
		); err != nil {
			return nil, err
		}
		out, _, err := middleware.DecorateHandler(transport, s).Handle(req.Context(), nil)
		if err != nil {
			return nil, err
		}
		return out.(*smithyhttp.Response).Response, nil
	})
}

func deserialize(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
	out, metadata, err := next.HandleDeserialize(ctx, in)
	if err != nil {
		return out, metadata, err
	}
	resp := out.RawResponse.(*smithyhttp.Response)
	var failure *smithy.GenericAPIError
	switch resp.StatusCode {
	case http.StatusTooManyRequests:
		failure = &smithy.GenericAPIError{Code: "TooManyRequestsException", Fault: smithy.FaultClient}
	case http.StatusServiceUnavailable:
		failure = &smithy.GenericAPIError{Code: "ServiceUnavailableException", Fault: smithy.FaultServer}
	}
	if failure != nil {
		err = &awshttp.ResponseError{ResponseError: &smithyhttp.ResponseError{Response: resp, Err: failure}}
		smithyhttp.CloseResponseBody(ctx, resp, true, err) // every generated deserializer does this too
		return out, metadata, err
	}
	out.Result = resp
	return out, metadata, nil
}
