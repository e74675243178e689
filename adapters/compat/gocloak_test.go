package compat

import (
	"context"

	"github.com/Nerzal/gocloak/v13"
)

var keycloak = sdk{
	name:    "gocloak",
	module:  "github.com/Nerzal/gocloak/v13",
	fault:   oauthFault,
	connect: "gocloakClient",
	call: func(ctx context.Context, w *world) error {
		c := gocloakClient(w)
		w.serve(w.failing)
		_, err := c.GetUserByID(ctx, "token", "realm", "alice")
		return err
	},
	behaviors: []behavior{
		{"404: APIError with the code", func(ctx context.Context, w *world) outcome {
			c := gocloakClient(w)
			w.serve(says(404, `{"error":"User not found"}`))
			_, err := c.GetUserByID(ctx, "token", "realm", "alice")
			return fails(err, gocloakCode, 404)
		}},
		{"409 from `CreateUser`: APIError with the code", func(ctx context.Context, w *world) outcome {
			c := gocloakClient(w)
			w.serve(says(409, `{"errorMessage":"User exists with same username"}`))
			_, err := c.CreateUser(ctx, "token", "realm", gocloak.User{Username: new("alice")})
			return fails(err, gocloakCode, 409)
		}},
		{"401 from `Login`: APIError with the code", func(ctx context.Context, w *world) outcome {
			c := gocloakClient(w)
			w.serve(says(401, `{"error":"invalid_grant","error_description":"Invalid user credentials"}`))
			_, err := c.Login(ctx, "id", "secret", "realm", "alice", "password")
			return fails(err, gocloakCode, 401)
		}},
	},
}

func gocloakClient(w *world) *gocloak.GoCloak {
	c := gocloak.NewClient("http://keycloak.test")
	c.RestyClient().SetTransport(w.client().Transport)
	return c
}

func gocloakCode(e *gocloak.APIError) any { return e.Code }
