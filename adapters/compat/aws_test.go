package compat

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

var awsIAM = sdk{
	name:    "aws service/iam",
	module:  "github.com/aws/aws-sdk-go-v2/service/iam",
	fault:   awsFault,
	advice:  "`Options.Retryer`: throttling only",
	connect: "awsClient",
	call: func(ctx context.Context, w *world) error {
		c := awsClient(w)
		w.serve(w.failing)
		return awsGetUser(ctx, c)
	},
	behaviors: []behavior{
		{"404: NoSuchEntityException", func(ctx context.Context, w *world) outcome {
			c := awsClient(w)
			w.serve(says(404, awsFault(404)))
			return fails(awsGetUser(ctx, c), func(e *types.NoSuchEntityException) any { return e.ErrorCode() }, "NoSuchEntity")
		}},
		{"404: ResponseError with the request id", func(ctx context.Context, w *world) outcome {
			c := awsClient(w)
			w.serve(says(404, awsFault(404)))
			return fails(awsGetUser(ctx, c), func(e *awshttp.ResponseError) any { return e.ServiceRequestID() }, "req-1")
		}},
		{"409 from `CreateUser`: EntityAlreadyExistsException", func(ctx context.Context, w *world) outcome {
			c := awsClient(w)
			w.serve(says(409, awsFault(409)))
			_, err := c.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("alice")})
			return fails(err, func(e *types.EntityAlreadyExistsException) any { return e.ErrorCode() }, "EntityAlreadyExists")
		}},
		{"a single 429 is retried", func(ctx context.Context, w *world) outcome {
			return awsOnce(ctx, w, 429)
		}},
		{"a single 503 is retried", func(ctx context.Context, w *world) outcome {
			return awsOnce(ctx, w, 503)
		}},
	},
}

func awsClient(w *world) *iam.Client {
	o := iam.Options{
		Region:       "eu-central-1",
		BaseEndpoint: aws.String("http://iam.test"),
		HTTPClient:   w.client(),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "id", SecretAccessKey: "secret"}, nil
		}),
	}
	if w.advised {
		// Not aws.NopRetryer: the SDK's bodies have no GetBody, so a Transport below
		// cannot retry a 429. The SDK retries it instead, on its own schedule and without
		// reading Retry-After.
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) {
			o.Retryables = []retry.IsErrorRetryable{retry.RetryableErrorCode{Codes: retry.DefaultThrottleErrorCodes}}
		})
	}
	return iam.New(o)
}

func awsGetUser(ctx context.Context, c *iam.Client) error {
	_, err := c.GetUser(ctx, &iam.GetUserInput{UserName: aws.String("alice")})
	return err
}

// awsOnce returns the outcome of a call whose first request fails and whose second one
// would succeed.
func awsOnce(ctx context.Context, w *world, code int) outcome {
	c := awsClient(w)
	w.serve(inTurn(says(code, awsFault(code)), says(200, `<GetUserResponse><GetUserResult/></GetUserResponse>`)))
	return succeeds(awsGetUser(ctx, c))
}

// awsFault returns a failure in the form of the service's query protocol.
func awsFault(code int) string {
	names := map[int]string{403: "AccessDenied", 404: "NoSuchEntity", 409: "EntityAlreadyExists", 429: "Throttling", 503: "ServiceUnavailable"}
	return fmt.Sprintf(`<ErrorResponse><Error><Code>%s</Code><Message>No.</Message></Error><RequestId>req-1</RequestId></ErrorResponse>`, names[code])
}
