package main

import (
	"net/http"
	"sync/atomic"
)

// A counter is the RoundTripper directly above base; all other layers are above it. It
// counts requests and throttled responses.
type counter struct {
	base                http.RoundTripper // if nil, http.DefaultTransport is used
	requests, throttled atomic.Int64
}

func (c *counter) RoundTrip(req *http.Request) (*http.Response, error) {
	c.requests.Add(1)
	base := c.base
	if base == nil {
		base = http.DefaultTransport
	}
	resp, err := base.RoundTrip(req)
	if err == nil && resp.StatusCode == http.StatusTooManyRequests {
		c.throttled.Add(1)
	}
	return resp, err
}

func (c *counter) counts() (requests, throttled int) {
	return int(c.requests.Load()), int(c.throttled.Load())
}

func (c *counter) reset() {
	c.requests.Store(0)
	c.throttled.Store(0)
}
