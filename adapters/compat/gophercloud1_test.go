package compat

import (
	"context"
	"net/http"

	"github.com/gophercloud/gophercloud"
	"github.com/gophercloud/gophercloud/openstack"
	"github.com/gophercloud/gophercloud/openstack/identity/v3/tokens"
	"github.com/gophercloud/gophercloud/openstack/identity/v3/users"
)

// openStack1 is gophercloud v1, in which a client has one context for all its calls.
var openStack1 = sdk{
	name:    "gophercloud",
	module:  "github.com/gophercloud/gophercloud",
	fault:   keystoneFault,
	usual:   "with a `RetryBackoffFunc`",
	advice:  "leave `RetryBackoffFunc` nil",
	connect: "keystoneProvider1",
	call: func(ctx context.Context, w *world) error {
		c := keystoneClient1(ctx, w)
		if !w.advised {
			c.RetryBackoffFunc = func(context.Context, *gophercloud.ErrUnexpectedResponseCode, error, uint) error { return nil }
		}
		w.serve(w.failing)
		_, err := users.Get(c, "alice").Extract()
		return err
	},
	behaviors: []behavior{
		{"401 for an expired token: logs in again", func(ctx context.Context, w *world) outcome {
			c := keystoneClient1(ctx, w)
			w.serve(inTurn(says(401, keystoneFault(401)), login("token-2"), says(200, `{"user":{"id":"alice"}}`)))
			user, err := users.Get(c, "alice").Extract()
			if err != nil {
				return succeeds(err)
			}
			return brings(c.TokenID+" "+user.ID, nil, "token-2 alice")
		}},
		{"401, and the new login fails: ErrUnableToReauthenticate", func(ctx context.Context, w *world) outcome {
			c := keystoneClient1(ctx, w)
			w.serve(says(401, keystoneFault(401)))
			_, err := users.Get(c, "alice").Extract()
			return fails(err, func(e *gophercloud.ErrUnableToReauthenticate) any {
				_, ok := e.ErrOriginal.(gophercloud.ErrUnexpectedResponseCode)
				return ok
			}, true)
		}},
		{"404 as a result, not an error: `tokens.Validate`", func(ctx context.Context, w *world) outcome {
			c := keystoneClient1(ctx, w)
			w.serve(says(404, keystoneFault(404)))
			valid, err := tokens.Validate(c, "token-0")
			return brings(valid, err, false)
		}},
		{"404: the error is a value of type ErrDefault404", func(ctx context.Context, w *world) outcome {
			c := keystoneClient1(ctx, w)
			w.serve(says(404, keystoneFault(404)))
			_, err := users.Get(c, "alice").Extract()
			return fails(err, func(e gophercloud.ErrDefault404) any { return e.Actual }, 404)
		}},
		{"503: `RetryFunc` sees the code", func(ctx context.Context, w *world) outcome {
			c := keystoneClient1(ctx, w)
			c.RetryFunc = func(_ context.Context, _, _ string, _ *gophercloud.RequestOpts, err error, failures uint) error {
				if _, unavailable := err.(gophercloud.ErrDefault503); unavailable && failures < 3 {
					return nil
				}
				return err
			}
			w.serve(inTurn(says(503, keystoneFault(503)), says(200, `{"user":{"id":"alice"}}`)))
			user, err := users.Get(c, "alice").Extract()
			if err != nil {
				return succeeds(err)
			}
			return brings(user.ID, nil, "alice")
		}},
	},
}

func keystoneClient1(ctx context.Context, w *world) *gophercloud.ServiceClient {
	p := keystoneProvider1(ctx, w)
	keystoneLogIn1(w, p)
	c, err := openstack.NewIdentityV3(p, gophercloud.EndpointOpts{})
	must(err)
	return c
}

func keystoneProvider1(ctx context.Context, w *world) *gophercloud.ProviderClient {
	p, err := openstack.NewClient(keystoneURL)
	must(err)
	p.HTTPClient = *w.client()
	p.Context = ctx
	return p
}

func keystoneLogIn1(w *world, p *gophercloud.ProviderClient) {
	w.serve(keystone)
	must(openstack.Authenticate(p, gophercloud.AuthOptions{
		IdentityEndpoint: keystoneURL, Username: "admin", Password: "p", DomainName: "Default", AllowReauth: true,
	}))
}

// keystone responds to version discovery and to logins.
func keystone(rw http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/" {
		says(300, `{"versions":{"values":[{"id":"v3.14","status":"stable","links":[{"rel":"self","href":"`+keystoneURL+`/v3/"}]}]}}`)(rw, r)
		return
	}
	login("token-1")(rw, r)
}
