package compat

import (
	"context"
	"fmt"
	"net/http"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/users"
)

var openStack = sdk{
	name:    "gophercloud",
	module:  "github.com/gophercloud/gophercloud/v2",
	fault:   keystoneFault,
	usual:   "with a `RetryBackoffFunc`",
	advice:  "leave `RetryBackoffFunc` nil",
	connect: "keystoneProvider",
	call: func(ctx context.Context, w *world) error {
		c := keystoneClient(ctx, w)
		if !w.advised {
			c.RetryBackoffFunc = func(context.Context, *gophercloud.ErrUnexpectedResponseCode, error, uint) error { return nil }
		}
		w.serve(w.failing)
		_, err := users.Get(ctx, c, "alice").Extract()
		return err
	},
	behaviors: []behavior{
		{"300 from version discovery: `openstack.Authenticate` succeeds", func(ctx context.Context, w *world) outcome {
			p, err := keystoneLogin(ctx, w)
			return brings(p.TokenID, err, "token-1")
		}},
		{"401 for an expired token: logs in again", func(ctx context.Context, w *world) outcome {
			c := keystoneClient(ctx, w)
			w.serve(inTurn(says(401, keystoneFault(401)), login("token-2"), says(200, `{"user":{"id":"alice"}}`)))
			user, err := users.Get(ctx, c, "alice").Extract()
			if err != nil {
				return succeeds(err)
			}
			return brings(c.TokenID+" "+user.ID, nil, "token-2 alice")
		}},
		{"401, and the new login fails: ErrUnableToReauthenticate", func(ctx context.Context, w *world) outcome {
			c := keystoneClient(ctx, w)
			w.serve(says(401, keystoneFault(401)))
			_, err := users.Get(ctx, c, "alice").Extract()
			return fails(err, func(e *gophercloud.ErrUnableToReauthenticate) any {
				return gophercloud.ResponseCodeIs(e.ErrOriginal, 401)
			}, true)
		}},
		{"404 as a result, not an error: `tokens.Validate`", func(ctx context.Context, w *world) outcome {
			c := keystoneClient(ctx, w)
			w.serve(says(404, keystoneFault(404)))
			valid, err := tokens.Validate(ctx, c, "token-0")
			return brings(valid, err, false)
		}},
		{"404 as a result, not an error: `users.IsMemberOfGroup`", func(ctx context.Context, w *world) outcome {
			c := keystoneClient(ctx, w)
			w.serve(says(404, keystoneFault(404)))
			member, err := users.IsMemberOfGroup(ctx, c, "group", "alice").Extract()
			return brings(member, err, false)
		}},
		{"404: `ResponseCodeIs(err, 404)`", func(ctx context.Context, w *world) outcome {
			c := keystoneClient(ctx, w)
			w.serve(says(404, keystoneFault(404)))
			_, err := users.Get(ctx, c, "alice").Extract()
			o := fails(err, func(e gophercloud.ErrUnexpectedResponseCode) any { return e.Actual }, 404)
			if o.lost == "" && !gophercloud.ResponseCodeIs(err, 404) {
				o.lost = "`ResponseCodeIs` returns false"
			}
			return o
		}},
		{"429 on the Transport's last attempt: `RetryBackoffFunc` is called", func(ctx context.Context, w *world) outcome {
			c := keystoneClient(ctx, w)
			asked := 0
			if !w.advised {
				c.RetryBackoffFunc = func(context.Context, *gophercloud.ErrUnexpectedResponseCode, error, uint) error {
					asked++
					return nil
				}
			}
			throttled := says(429, keystoneFault(429))
			w.serve(inTurn(throttled, throttled, throttled, throttled, throttled, throttled, throttled, throttled,
				says(200, `{"user":{"id":"alice"}}`)))
			_, err := users.Get(ctx, c, "alice").Extract()
			return brings(asked > 0, err, true)
		}},
		{"503: `RetryFunc` sees the code", func(ctx context.Context, w *world) outcome {
			c := keystoneClient(ctx, w)
			c.RetryFunc = func(_ context.Context, _, _ string, _ *gophercloud.RequestOpts, err error, failures uint) error {
				if gophercloud.ResponseCodeIs(err, 503) && failures < 3 {
					return nil
				}
				return err
			}
			w.serve(inTurn(says(503, keystoneFault(503)), says(200, `{"user":{"id":"alice"}}`)))
			user, err := users.Get(ctx, c, "alice").Extract()
			if err != nil {
				return succeeds(err)
			}
			return brings(user.ID, nil, "alice")
		}},
	},
}

const keystoneURL = "http://keystone.test"

func keystoneClient(ctx context.Context, w *world) *gophercloud.ServiceClient {
	p, err := keystoneLogin(ctx, w)
	must(err)
	c, err := openstack.NewIdentityV3(p, gophercloud.EndpointOpts{})
	must(err)
	return c
}

func keystoneLogin(ctx context.Context, w *world) (*gophercloud.ProviderClient, error) {
	w.serve(keystone)
	p := keystoneProvider(w)
	return p, openstack.Authenticate(ctx, p, gophercloud.AuthOptions{
		IdentityEndpoint: keystoneURL, Username: "admin", Password: "p", DomainName: "Default", AllowReauth: true,
	})
}

func keystoneProvider(w *world) *gophercloud.ProviderClient {
	p, err := openstack.NewClient(keystoneURL)
	must(err)
	p.HTTPClient = *w.client()
	return p
}

func login(token string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Subject-Token", token)
		says(201, `{"token":{"expires_at":"2100-01-01T00:00:00.000000Z","catalog":[{"type":"identity","endpoints":[{"interface":"public","region":"R","url":"`+keystoneURL+`/v3/"}]}]}}`)(w, r)
	}
}

func keystoneFault(code int) string {
	return fmt.Sprintf(`{"error":{"code":%d,"message":"No.","title":"%s"}}`, code, http.StatusText(code))
}
