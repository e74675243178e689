package compat

import (
	"context"
	"fmt"
	"net/http"
	"time"

	vault "github.com/hashicorp/vault/api"

	"github.com/iamhttp/iamhttp"
)

var hashiVault = sdk{
	name:    "vault/api",
	module:  "github.com/hashicorp/vault/api",
	fault:   vaultFault,
	advice:  "`SetMaxRetries(0)`",
	connect: "vaultClient",
	call: func(ctx context.Context, w *world) error {
		c := vaultClient(w)
		w.serve(w.failing)
		// The call is a write, because a 404 for a read is not an error.
		_, err := c.Logical().WriteWithContext(ctx, "secret/a", map[string]any{"a": "b"})
		return err
	},
	behaviors: []behavior{
		{"403 for a read: ResponseError", func(ctx context.Context, w *world) outcome {
			c := vaultClient(w)
			w.serve(says(403, vaultFault(403)))
			_, err := c.Logical().ReadWithContext(ctx, "secret/a")
			return fails(err, vaultStatus, 403)
		}},
		{"403 for a write: ResponseError", func(ctx context.Context, w *world) outcome {
			c := vaultClient(w)
			w.serve(says(403, vaultFault(403)))
			_, err := c.Logical().WriteWithContext(ctx, "secret/a", map[string]any{"a": "b"})
			return fails(err, vaultStatus, 403)
		}},
		{"404 for a read: no secret, no error", func(ctx context.Context, w *world) outcome {
			c := vaultClient(w)
			w.serve(says(404, `{"errors":[]}`))
			secret, err := c.Logical().ReadWithContext(ctx, "secret/a")
			return brings(secret, err, nil)
		}},
		{"429 from a standby as a result, not an error: `Sys().Health`", vaultHealth},
		{"429 from a standby as a result, with `WithExpected(ctx, ErrTooManyRequests)`: `Sys().Health`", func(ctx context.Context, w *world) outcome {
			return vaultHealth(iamhttp.WithExpected(ctx, iamhttp.ErrTooManyRequests), w)
		}},
		{"503 with Retry-After: 1 is retried after 1 s", func(ctx context.Context, w *world) outcome {
			c := vaultClient(w)
			unavailable := func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("Retry-After", "1")
				says(503, vaultFault(503))(rw, r)
			}
			w.serve(inTurn(unavailable, unavailable, says(200, `{"data":{"a":"b"}}`)))
			start := time.Now()
			_, err := c.Logical().ReadWithContext(ctx, "secret/a")
			o := succeeds(err)
			// Without Retry-After, the waits would be longer, and random.
			if waited := time.Since(start); o.lost == "" && waited != 2*time.Second {
				o.lost = "Retry-After is ignored"
			}
			return o
		}},
		{"`Config.ConfigureTLS` works before the Transport is set", func(_ context.Context, w *world) outcome {
			config := vault.DefaultConfig()
			err := config.ConfigureTLS(&vault.TLSConfig{Insecure: true})
			config.HttpClient.Transport = w.mode.wrap(config.HttpClient.Transport)
			return succeeds(err)
		}},
		{"`Config.ConfigureTLS` works after the Transport is set", func(_ context.Context, w *world) outcome {
			config := vault.DefaultConfig()
			config.HttpClient.Transport = w.mode.wrap(config.HttpClient.Transport)
			return succeeds(config.ConfigureTLS(&vault.TLSConfig{Insecure: true}))
		}},
	},
}

func vaultClient(w *world) *vault.Client {
	config := vault.DefaultConfig()
	config.HttpClient = w.client()
	c, err := vault.NewClient(config)
	must(err)
	if w.advised {
		c.SetMaxRetries(0)
	}
	return c
}

func vaultFault(code int) string { return fmt.Sprintf(`{"errors":["no: %d"]}`, code) }

func vaultStatus(e *vault.ResponseError) any { return e.StatusCode }

func vaultHealth(ctx context.Context, w *world) outcome {
	c := vaultClient(w)
	w.serve(says(429, `{"initialized":true,"standby":true}`))
	health, err := c.Sys().HealthWithContext(ctx)
	return brings(health != nil && health.Standby, err, true)
}
