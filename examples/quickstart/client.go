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

// A client makes the few calls of the IAM API that the quickstart needs.
//
// No status code is looked at: a failing answer is an error by the time it gets
// here, and what may be sent again has been. The methods wrap that error with
// %w and say what they were about; the rest is the caller's to ask.
type client struct {
	http     *http.Client
	endpoint string // with the version, and no slash behind it
	token    string // of logIn
}

// onFailure is told of every failing answer, those that are sent again included.
// That is the place for a log line or a metric.
type onFailure = func(context.Context, *iamhttp.StatusError, time.Duration)

func newClient(endpoint string, f onFailure) *client {
	return &client{
		endpoint: endpoint,
		http: &http.Client{
			Transport: &iamhttp.Transport{OnFailure: f},
			// It bounds a call with all its sends and the waits between. The
			// Transport knows, and does not begin a wait that would go beyond.
			Timeout: time.Minute,
			// The API has no use for redirects, and neither password nor token
			// should follow one to wherever it leads.
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return errors.New("the service redirects; use the address it redirects to")
			},
		},
	}
}

type user struct {
	ID   string `json:"id,omitempty"`
	Name string `json:"name"`
}

type object = map[string]any

// logIn gets the token for the other calls. Without success the old one stays.
func (c *client) logIn(ctx context.Context, as account.Account) error {
	stranger := client{http: c.http, endpoint: c.endpoint} // an old token has no part in it
	header, err := stranger.do(ctx, http.MethodPost, "/auth/tokens", as.Auth(), nil)
	if err != nil {
		return fmt.Errorf("log in as %s: %w", as.UserName, err)
	}
	token := header.Get("X-Subject-Token")
	if token == "" {
		return errors.New("log in: the answer has no X-Subject-Token")
	}
	c.token = token
	return nil
}

// createUser creates a user without a password, as whom nobody can log in.
func (c *client) createUser(ctx context.Context, name string) (user, error) {
	var out struct{ User user }
	_, err := c.do(ctx, http.MethodPost, "/users", object{"user": user{Name: name}}, &out)
	if err != nil {
		return user{}, fmt.Errorf("create user %s: %w", name, err)
	}
	return out.User, nil
}

// createUserFrom is createUser with the request's body from r.
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

// do sends in as JSON, if it is not nil, and decodes the answer into out.
func (c *client) do(ctx context.Context, method, path string, in, out any) (http.Header, error) {
	if in == nil {
		return c.send(ctx, method, path, nil, out)
	}
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	// For a bytes.Reader, net/http knows how to read it anew, and sets GetBody.
	return c.send(ctx, method, path, bytes.NewReader(body), out)
}

// send sends one request, which the Transport may turn into several, and
// returns the header of the answer.
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
	if out != nil {
		if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
			return nil, fmt.Errorf("decode the answer: %w", err)
		}
	}
	return resp.Header, nil
}
