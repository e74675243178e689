// Package iam is a small SDK for an IAM API. It uses iamhttp's error mode: failures
// arrive as errors, so most methods do not inspect status codes.
package iam

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
)

// A Client makes calls to one IAM endpoint. It is safe for concurrent use.
//
// Its errors say which operation failed, and wrap the underlying error: a
// *iamhttp.StatusError if the service returned a failure, a *iamhttp.NotSentError if the
// Transport's Gate refused the first attempt, and otherwise, for example, a connection,
// context or decoding error.
type Client struct {
	endpoint, token string
	http            *http.Client
}

// timeout limits each call, including retries and waits. A context with an earlier
// deadline limits the call further.
const timeout = 2 * time.Minute

// New returns a client for the endpoint, whose URL ends in /v3. If t is nil, the client
// uses a Transport with default settings.
func New(endpoint, token string, t *iamhttp.Transport) *Client {
	if t == nil {
		t = new(iamhttp.Transport)
	}
	return &Client{endpoint: endpoint, token: token, http: &http.Client{Transport: t, Timeout: timeout}}
}

// LogIn logs in and returns a client that uses the token. auth is the body of POST
// /auth/tokens; LogIn encodes it as JSON. LogIn does not retry a 429, because a 429 can
// mean that the account is locked after too many wrong passwords, and a retry would not
// unlock the account.
func LogIn(ctx context.Context, endpoint string, auth any, t *iamhttp.Transport) (*Client, error) {
	c := New(endpoint, "", t)
	resp, err := c.send(iamhttp.WithExpected(ctx, iamhttp.ErrTooManyRequests), "POST", "/auth/tokens", auth)
	if err != nil {
		return nil, fmt.Errorf("log in: %w", err)
	}
	defer resp.Body.Close()
	if err := iamhttp.CheckResponse(resp); err != nil {
		return nil, fmt.Errorf("log in: %w", err)
	}
	if c.token = resp.Header.Get("X-Subject-Token"); c.token == "" {
		return nil, errors.New("log in: the response has no X-Subject-Token")
	}
	return c, nil
}

// A User is a user account in the service.
type User struct {
	ID      string `json:"id,omitempty"`
	Name    string `json:"name"`
	Enabled bool   `json:"enabled"`
}

// CreateUser creates an enabled user. If the name is taken, the error matches
// iamhttp.ErrConflict, or iamhttp.ReasonAlreadyExists if the service returns 400 instead
// of 409.
func (c *Client) CreateUser(ctx context.Context, name string) (*User, error) {
	var answer struct{ User User }
	err := c.do(ctx, "POST", "/users", map[string]User{"user": {Name: name, Enabled: true}}, &answer)
	if err != nil {
		return nil, fmt.Errorf("create user %q: %w", name, err)
	}
	return &answer.User, nil
}

// FindUser returns the user with this name, or nil if there is no such user.
func (c *Client) FindUser(ctx context.Context, name string) (*User, error) {
	var answer struct{ Users []User }
	if err := c.do(ctx, "GET", "/users?name="+url.QueryEscape(name), nil, &answer); err != nil {
		return nil, fmt.Errorf("find user %q: %w", name, err)
	}
	if len(answer.Users) == 0 {
		return nil, nil
	}
	return &answer.Users[0], nil
}

// HasUser reports whether there is a user with this ID. For this call, a 404 is an
// expected response and not a failure.
func (c *Client) HasUser(ctx context.Context, id string) (bool, error) {
	ctx = iamhttp.WithExpected(ctx, iamhttp.ErrNotFound)
	resp, err := c.send(ctx, "HEAD", "/users/"+url.PathEscape(id), nil)
	if err != nil {
		return false, fmt.Errorf("look for user %q: %w", id, err)
	}
	resp.Body.Close()
	return resp.StatusCode != http.StatusNotFound, nil
}

// DeleteUser deletes a user permanently.
func (c *Client) DeleteUser(ctx context.Context, id string) error {
	if err := c.do(ctx, "DELETE", "/users/"+url.PathEscape(id), nil, nil); err != nil {
		return fmt.Errorf("delete user %q: %w", id, err)
	}
	return nil
}

// do sends a request and decodes the response into result, unless result is nil.
func (c *Client) do(ctx context.Context, method, path string, body, result any) error {
	resp, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if result == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(result)
}

func (c *Client) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		r = bytes.NewReader(b) // http.NewRequest sets GetBody for a bytes.Reader, so a 429 can be retried
	}
	req, err := http.NewRequestWithContext(ctx, method, c.endpoint+path, r)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		req.Header.Set("X-Auth-Token", c.token)
	}
	resp, err := c.http.Do(req)
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // a url.Error's text contains the query
	}
	return resp, err
}
