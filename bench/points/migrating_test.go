package points

import (
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/PuerkitoBio/rehttp"
	"github.com/hashicorp/go-retryablehttp"
	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/iamtest"
)

// The following functions contain the code in docs/faq.md, before and after migrating.
// The tests check what the migration changes.

const address = "https://iam.example/v3/users"

func retryableBefore() *retryablehttp.Client {
	client := retryablehttp.NewClient()
	client.RetryMax = 4
	return client
}

func retryableKept() *retryablehttp.Client {
	client := retryablehttp.NewClient()
	(&iamhttp.Transport{MaxAttempts: 5}).ConfigureRetryable(client)
	return client
}

func retryableReplaced() *http.Client {
	client := &http.Client{Transport: &iamhttp.Transport{MaxAttempts: 5}, Timeout: time.Minute}
	return client
}

func rehttpBefore() *http.Client {
	client := &http.Client{Transport: rehttp.NewTransport(nil,
		rehttp.RetryAll(rehttp.RetryMaxRetries(3), rehttp.RetryStatuses(429, 503)),
		rehttp.ExpJitterDelay(time.Second, 10*time.Second))}
	return client
}

func rehttpReplaced() *http.Client {
	client := &http.Client{Transport: &iamhttp.Transport{
		PassThrough: true, // responses, as from rehttp
		MaxAttempts: 4,
		AlsoRetry:   []iamhttp.Code{iamhttp.ErrServiceUnavailable}, // if you want 503 to be retried
	}, Timeout: time.Minute}
	return client
}

// through returns a RoundTripper that sends requests to service instead of the network.
func through(service *iamtest.Server) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) { return service.RoundTrip(req) })
}

func TestAfterMigratingFromRetryableOnly408And429AreRetried(t *testing.T) {
	for status, want := range map[int]struct{ before, after int }{
		429: {5, 5}, 503: {5, 1}, 408: {1, 5}, 404: {1, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			for i, client := range []*retryablehttp.Client{retryableBefore(), retryableKept()} {
				var service iamtest.Server
				service.On("/", iamtest.Page(status))
				client.Logger = nil
				client.HTTPClient.Transport = through(&service)
				_, err := client.Get(address)
				service.AssertCount(t, []int{want.before, want.after}[i])
				assert.Equal(t, i == 1, errors.Is(err, iamhttp.Code(status)), "%d: %v", status, err)
			}
			var service iamtest.Server
			service.On("/", iamtest.Page(status))
			client := retryableReplaced()
			client.Transport.(*iamhttp.Transport).Base = &service
			_, err := client.Get(address)
			service.AssertCount(t, want.after)
			assert.ErrorIs(t, err, iamhttp.Code(status))
		})
	}
}

func TestAfterMigratingFromRehttpFailuresStayResponses(t *testing.T) {
	for status, want := range map[int]struct{ before, after int }{
		429: {4, 4}, 503: {4, 4}, 408: {1, 4}, 404: {1, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			for i, client := range []*http.Client{rehttpBefore(), rehttpReplaced()} {
				var service iamtest.Server
				service.On("/", iamtest.Page(status))
				switch rt := client.Transport.(type) {
				case *rehttp.Transport:
					rt.RoundTripper = &service
				case *iamhttp.Transport:
					rt.Base = &service
				}
				resp, err := client.Get(address)
				if assert.NoError(t, err) {
					assert.Equal(t, status, resp.StatusCode)
					resp.Body.Close()
				}
				service.AssertCount(t, []int{want.before, want.after}[i])
			}
		})
	}
}
