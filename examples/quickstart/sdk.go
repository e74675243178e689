package main

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/iamhttp/iamhttp"
)

// An sdk stands in for a third-party library. It inspects status codes, so it needs
// responses instead of errors, and its own errors say little.
type sdk struct {
	http            *http.Client
	endpoint, token string
}

var errSDK = errors.New("sdk: the request failed")

// newSDK returns an SDK with an http.Client whose Transport has PassThrough set. Nothing
// else in the SDK has to change.
func newSDK(c *client, f onFailure) *sdk {
	return &sdk{
		endpoint: c.endpoint,
		token:    c.token,
		http: &http.Client{
			Transport: &iamhttp.Transport{PassThrough: true, OnFailure: f},
			Timeout:   c.http.Timeout,
		},
	}
}

func (s *sdk) deleteUser(ctx context.Context, id string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, s.endpoint+"/users/"+url.PathEscape(id), nil)
	if err != nil {
		return err
	}
	req.Header.Set("X-Auth-Token", s.token)
	resp, err := s.http.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		return errSDK
	}
	return nil
}
