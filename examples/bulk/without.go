package main

import (
	"context"
	"net/http"
	"sync/atomic"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/examples/sdk/iam"
)

// withoutGate tries to create count users as bulk.create does, but without a gate. It
// uses a service of its own, so that neither run affects the other. It continues after a
// failure, because the number of failed calls is part of the comparison.
func withoutGate(ctx context.Context, count, callers int) (last state) {
	sent := &counter{base: newService()}
	b := bulk{
		client:   iam.New("https://iam.example/v3", "token", &iamhttp.Transport{Base: sent}),
		progress: new(progress),
		callers:  callers,
		show:     func(_ string, s state, _ bool) { last = s },
	}
	_ = b.each(ctx, "create", namesOf(count), func(ctx context.Context, u *user) error {
		_, err := b.client.CreateUser(ctx, u.name)
		return err
	})
	last.sent, last.throttled = int(sent.requests.Load()), int(sent.throttled.Load())
	return last
}

// A counter counts requests and throttled responses. In the run with a gate, the progress
// does this.
type counter struct {
	base                http.RoundTripper
	requests, throttled atomic.Int64
}

func (c *counter) RoundTrip(req *http.Request) (*http.Response, error) {
	c.requests.Add(1)
	resp, err := c.base.RoundTrip(req)
	if err == nil && resp.StatusCode == http.StatusTooManyRequests {
		c.throttled.Add(1)
	}
	return resp, err
}
