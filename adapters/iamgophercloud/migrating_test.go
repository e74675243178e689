package iamgophercloud_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/adapters/iamgophercloud"
	"github.com/iamhttp/iamhttp/iamtest"
)

// The two functions below are the code in docs/faq.md, before and after the migration.

func hooksBefore(provider *gophercloud.ProviderClient) {
	provider.MaxBackoffRetries = 5
	provider.RetryBackoffFunc = func(ctx context.Context, _ *gophercloud.ErrUnexpectedResponseCode, err error, retries uint) error {
		select {
		case <-time.After(time.Second << retries):
			return nil // send it again
		case <-ctx.Done():
			return err
		}
	}
	provider.RetryFunc = func(ctx context.Context, method, url string, _ *gophercloud.RequestOpts, err error, failCount uint) error {
		if failCount <= 3 && gophercloud.ResponseCodeIs(err, 503) {
			return nil
		}
		return err
	}
}

func hooksReplaced(provider *gophercloud.ProviderClient) {
	iamgophercloud.Configure(provider, &iamhttp.Transport{
		MaxAttempts: 6,
		AlsoRetry:   []iamhttp.Code{iamhttp.ErrServiceUnavailable}, // if you want 503 to be retried
	})
}

func TestAfterMigratingFromTheHooksTheTransportRetries(t *testing.T) {
	type call struct {
		method string
		status int
	}
	for c, want := range map[call]struct{ before, after int }{
		{"GET", 429}:  {6, 6},
		{"GET", 408}:  {1, 6},
		{"GET", 503}:  {4, 6},
		{"POST", 503}: {4, 1}, // a POST is not idempotent, so the Transport does not retry it after a 503
		{"GET", 404}:  {1, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			for i, configure := range []func(*gophercloud.ProviderClient){hooksBefore, hooksReplaced} {
				var service iamtest.Server
				service.On("/", iamtest.Page(c.status))
				provider := new(gophercloud.ProviderClient)
				provider.HTTPClient.Transport = &service
				configure(provider)
				_, err := provider.Request(t.Context(), c.method, "https://iam.example/v3/users", &gophercloud.RequestOpts{})
				service.AssertCount(t, []int{want.before, want.after}[i])
				assert.True(t, gophercloud.ResponseCodeIs(err, c.status))
				if i == 1 {
					assert.ErrorIs(t, err, iamhttp.Code(c.status))
				}
			}
		})
	}
}
