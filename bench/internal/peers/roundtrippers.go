package peers

import (
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/PuerkitoBio/rehttp"
	"github.com/cenkalti/backoff/v4"
	"github.com/failsafe-go/failsafe-go/failsafehttp"
	"github.com/gofri/go-github-ratelimit/v2/github_ratelimit"
	"github.com/hashicorp/go-retryablehttp"
	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
	"github.com/ybbus/httpretry"
)

func transport(base http.RoundTripper, o Options) http.RoundTripper {
	t := &iamhttp.Transport{Base: base, MaxAttempts: o.Attempts}
	if d, ok := o.delay(); ok {
		t.Backoff = func() backoff.BackOff { return constant(d) }
	}
	return t
}

// constant is like backoff.ConstantBackOff, but does not allocate if it is zero.
type constant time.Duration

func (c constant) NextBackOff() time.Duration { return time.Duration(c) }
func (constant) Reset()                       {}

func gated(base http.RoundTripper, o Options) http.RoundTripper {
	t := transport(base, o).(*iamhttp.Transport)
	t.Gate = new(gate.Adaptive)
	return t
}

// loop is the retry loop that people write without a library: it retries as long as the
// service returns 429.
func loop(wait time.Duration) func(http.RoundTripper, Options) http.RoundTripper {
	return func(base http.RoundTripper, _ Options) http.RoundTripper {
		return roundTripper(func(req *http.Request) (*http.Response, error) {
			for {
				resp, err := base.RoundTrip(req)
				if err != nil || resp.StatusCode != http.StatusTooManyRequests {
					return resp, err
				}
				resp.Body.Close()
				time.Sleep(wait)
			}
		})
	}
}

func byHand(base http.RoundTripper, o Options) http.RoundTripper {
	wait, _ := o.delay()
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		for {
			resp, err := base.RoundTrip(req)
			if err != nil || resp.StatusCode != http.StatusTooManyRequests {
				return resp, err
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if wait > 0 {
				timer := time.NewTimer(wait)
				select {
				case <-timer.C:
				case <-req.Context().Done():
					timer.Stop()
					return nil, req.Context().Err()
				}
			}
			if req.GetBody != nil {
				if req.Body, err = req.GetBody(); err != nil {
					return nil, err
				}
			}
		}
	})
}

func hashicorp(base http.RoundTripper, o Options) http.RoundTripper {
	return &retryablehttp.RoundTripper{Client: hashicorps(base, o)}
}

func hashicorps(base http.RoundTripper, o Options) *retryablehttp.Client {
	c := retryablehttp.NewClient()
	c.HTTPClient.Transport = base
	c.Logger = nil
	if o.Attempts != 0 {
		c.RetryMax = o.Attempts - 1
	}
	if d, ok := o.delay(); ok {
		c.RetryWaitMin, c.RetryWaitMax = d, d
	}
	return c
}

func failsafe(base http.RoundTripper, o Options) http.RoundTripper {
	policy := failsafehttp.NewRetryPolicyBuilder()
	if o.Attempts != 0 {
		policy.WithMaxAttempts(o.Attempts)
	}
	if d, ok := o.delay(); ok {
		policy.WithDelay(d)
	}
	return failsafehttp.NewRoundTripper(base, policy.Build())
}

// puerkito is rehttp, which does not have defaults. The number of retries is from its
// documentation.
func puerkito(base http.RoundTripper, o Options) http.RoundTripper {
	delay := rehttp.ExpJitterDelay(time.Second, 10*time.Second)
	if d, ok := o.delay(); ok {
		delay = rehttp.ConstDelay(d)
	}
	return rehttp.NewTransport(base,
		rehttp.RetryAll(rehttp.RetryMaxRetries(o.attempts(4)-1), rehttp.RetryStatuses(http.StatusTooManyRequests)), delay)
}

func ybbus(base http.RoundTripper, o Options) http.RoundTripper {
	var options []httpretry.Option
	if o.Attempts != 0 {
		options = append(options, httpretry.WithMaxRetryCount(o.Attempts-1))
	}
	if d, ok := o.delay(); ok {
		options = append(options, httpretry.WithBackoffPolicy(func(int) time.Duration { return d }))
	}
	return httpretry.NewCustomClient(&http.Client{Transport: base}, options...).Transport
}

func gofri(base http.RoundTripper, _ Options) http.RoundTripper {
	return github_ratelimit.New(githubBody{base})
}

// GitHubMessage is a body by which go-github-ratelimit recognizes a 429 for which it waits.
const GitHubMessage = `{"message":"You have exceeded a secondary rate limit."}`

// githubBody gives each 429 the body that GitHub would send.
type githubBody struct{ base http.RoundTripper }

func (g githubBody) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := g.base.RoundTrip(req)
	if err == nil && resp != nil && resp.StatusCode == http.StatusTooManyRequests && resp.ContentLength != int64(len(GitHubMessage)) {
		if resp.Body != nil {
			resp.Body.Close()
		}
		resp.Body = io.NopCloser(strings.NewReader(GitHubMessage))
	}
	return resp, err
}

func (g githubBody) CloseIdleConnections() {
	(&http.Client{Transport: g.base}).CloseIdleConnections()
}
