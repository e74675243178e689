package peers

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

func awsStandard(base http.RoundTripper, attempts int) Do {
	return smithyClient(base, retry.NewStandard(maxAttempts(attempts)))
}

func awsAdaptive(base http.RoundTripper, attempts int) Do {
	return smithyClient(base, ticking{retry.NewAdaptiveMode(func(o *retry.AdaptiveModeOptions) {
		o.StandardOptions = append(o.StandardOptions, maxAttempts(attempts))
	})})
}

func maxAttempts(n int) func(*retry.StandardOptions) {
	return func(o *retry.StandardOptions) {
		if n != 0 {
			o.MaxAttempts = n
		}
	}
}

// ticking lets a microsecond pass whenever AdaptiveMode waits for a token. It
// rounds that wait down, to nothing in the end, and then asks again and again
// until the clock has moved: virtual time only moves for who waits.
type ticking struct{ *retry.AdaptiveMode }

func (r ticking) GetAttemptToken(ctx context.Context) (func(error) error, error) {
	return r.AdaptiveMode.GetAttemptToken(tick{ctx})
}

type tick struct{ context.Context }

func (t tick) Done() <-chan struct{} {
	time.Sleep(time.Microsecond)
	return t.Context.Done()
}

// smithyClient is as much of a generated client as the retryer needs: the loop
// of attempts, and below it a deserializer that makes an error of a 429.
func smithyClient(base http.RoundTripper, retryer aws.Retryer) Do {
	transport := smithyhttp.NewClientHandlerWithOptions(&http.Client{Transport: base})
	return func(req *http.Request) (*http.Response, error) {
		s := middleware.NewStack("bench", smithyhttp.NewStackRequest)
		fill := func(ctx context.Context, in middleware.BuildInput, next middleware.BuildHandler) (middleware.BuildOutput, middleware.Metadata, error) {
			r := in.Request.(*smithyhttp.Request)
			r.Method, r.URL = req.Method, req.URL
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
	}
}

func deserialize(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
	out, metadata, err := next.HandleDeserialize(ctx, in)
	if err != nil {
		return out, metadata, err
	}
	resp := out.RawResponse.(*smithyhttp.Response)
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
