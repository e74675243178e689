package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/examples/internal/account"
)

// A client makes the few IAM API calls that the quickstart needs.
//
// The client never inspects a status code itself: after any retries, failures arrive as
// errors (in logIn, a 429 arrives as a response, which CheckResponse turns into an error).
// The methods for the API calls wrap these errors with %w and add what they were trying to
// do.
type client struct {
	http     *http.Client
	endpoint string // with the API version, without a trailing slash
	token    string // set by logIn
}

// An onFailure receives each iamhttp.Failure, whether or not the attempt is retried. Use
// an onFailure to write log lines or to update metrics.
type onFailure = func(context.Context, iamhttp.Failure)

func newClient(endpoint string, f onFailure) *client {
	return &client{
		endpoint: endpoint,
		http: &http.Client{
			Transport: &iamhttp.Transport{OnFailure: f},
			// Timeout limits the whole call, including retries and waits. The Transport
			// knows this limit and never starts a wait that would exceed it.
			Timeout: time.Minute,
			// This API does not redirect, and passwords and tokens must not be sent to a
			// redirect target.
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return errors.New("the service redirects; use the address that it redirects to")
			},
		},
	}
}

type user struct {
	ID   string `json:"id,omitempty"`
	Name string `json:"name"`
}

type object = map[string]any

// logIn gets the token that all other calls need. If it fails, the client keeps its old
// token.
func (c *client) logIn(ctx context.Context, as account.Account) error {
	stranger := client{http: c.http, endpoint: c.endpoint} // without the old token
	// A 429 is not retried here, because it can mean that the account is locked.
	ctx = iamhttp.WithExpected(ctx, iamhttp.ErrTooManyRequests)
	header, err := stranger.do(ctx, http.MethodPost, "/auth/tokens", as.Auth(), nil)
	if err != nil {
		return fmt.Errorf("log in as %s: %w", as.UserName, err)
	}
	token := header.Get("X-Subject-Token")
	if token == "" {
		return errors.New("log in: the response has no X-Subject-Token")
	}
	c.token = token
	return nil
}

// createUser creates a user without a password, so nobody can log in as this user.
func (c *client) createUser(ctx context.Context, name string) (user, error) {
	var out struct{ User user }
	_, err := c.do(ctx, http.MethodPost, "/users", object{"user": user{Name: name}}, &out)
	if err != nil {
		return user{}, fmt.Errorf("create user %s: %w", name, err)
	}
	return out.User, nil
}

// createUserFrom is like createUser, but reads the request's body from r.
func (c *client) createUserFrom(ctx context.Context, r io.Reader) (user, error) {
	var out struct{ User user }
	if _, err := c.send(ctx, http.MethodPost, "/users", r, &out); err != nil {
		return user{}, fmt.Errorf("create user: %w", err)
	}
	return out.User, nil
}

func (c *client) getUser(ctx context.Context, id string) (user, error) {
	var out struct{ User user }
	if _, err := c.do(ctx, http.MethodGet, "/users/"+url.PathEscape(id), nil, &out); err != nil {
		return user{}, fmt.Errorf("get user %s: %w", id, err)
	}
	return out.User, nil
}

func (c *client) usersNamed(ctx context.Context, name string) ([]user, error) {
	var out struct{ Users []user }
	if _, err := c.do(ctx, http.MethodGet, "/users?name="+url.QueryEscape(name), nil, &out); err != nil {
		return nil, fmt.Errorf("list users named %s: %w", name, err)
	}
	return out.Users, nil
}

func (c *client) deleteUser(ctx context.Context, id string) error {
	if _, err := c.do(ctx, http.MethodDelete, "/users/"+url.PathEscape(id), nil, nil); err != nil {
		return fmt.Errorf("delete user %s: %w", id, err)
	}
	return nil
}

// do is like send, but encodes in as the request's JSON body. If in is nil, the request
// has no body.
func (c *client) do(ctx context.Context, method, path string, in, out any) (http.Header, error) {
	if in == nil {
		return c.send(ctx, method, path, nil, out)
	}
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	// http.NewRequest sets GetBody for a bytes.Reader, so the request can be retried.
	return c.send(ctx, method, path, bytes.NewReader(body), out)
}

// send sends a request, which the Transport may retry. It decodes the response into out,
// unless out is nil, and returns the response's header.
func (c *client) send(ctx context.Context, method, path string, body io.Reader, out any) (http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.endpoint+path, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("X-Auth-Token", c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if err := iamhttp.CheckResponse(resp); err != nil { // a failure that WithExpected passed through
		return nil, err
	}
	if out != nil {
		if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
			return nil, fmt.Errorf("decode the response: %w", err)
		}
	}
	return resp.Header, nil
}
