package compat

import (
	"context"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

var azureIdentity = sdk{
	name:    "azidentity",
	module:  "github.com/Azure/azure-sdk-for-go/sdk/azidentity",
	fault:   oauthFault,
	advice:  "`ClientOptions.Retry.MaxRetries: -1`",
	connect: "azureCredential",
	call: func(ctx context.Context, w *world) error {
		return azureToken(ctx, w, w.failing)
	},
	behaviors: []behavior{
		{"401 for a wrong secret: AuthenticationFailedError with the response", func(ctx context.Context, w *world) outcome {
			err := azureToken(ctx, w, says(401, `{"error":"invalid_client","error_description":"AADSTS7000215"}`))
			return fails(err, azureStatus, 401)
		}},
		{"400 for a wrong scope: AuthenticationFailedError with the response", func(ctx context.Context, w *world) outcome {
			err := azureToken(ctx, w, says(400, `{"error":"invalid_scope","error_description":"AADSTS70011"}`))
			return fails(err, azureStatus, 400)
		}},
		{"a single 503 is retried", func(ctx context.Context, w *world) outcome {
			return succeeds(azureToken(ctx, w, inTurn(says(503, oauthFault(503)), says(200, oauthToken))))
		}},
	},
}

// azureToken requests a token with a client secret. The service responds to discovery
// itself, and passes other requests to token.
func azureToken(ctx context.Context, w *world, token http.HandlerFunc) error {
	discovery := says(200, `{"issuer":"https://login.test/tenant/v2.0","authorization_endpoint":"https://login.test/tenant/a","token_endpoint":"https://login.test/tenant/token"}`)
	w.serve(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/openid-configuration") {
			discovery(rw, r)
			// Count only the requests after discovery.
			w.serve(token)
			return
		}
		token(rw, r)
	})
	_, err := azureCredential(w).GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{"https://service.test/.default"}})
	return err
}

func azureCredential(w *world) *azidentity.ClientSecretCredential {
	o := &azidentity.ClientSecretCredentialOptions{DisableInstanceDiscovery: true}
	o.Transport = w.client()
	o.Cloud.ActiveDirectoryAuthorityHost = "https://login.test/"
	if w.advised {
		o.Retry.MaxRetries = -1
	}
	c, err := azidentity.NewClientSecretCredential("tenant", "id", "secret", o)
	must(err)
	return c
}

// azureStatus returns the response status in the error, or 0 if the error holds no
// response.
func azureStatus(e *azidentity.AuthenticationFailedError) any {
	if e.RawResponse == nil {
		return 0
	}
	return e.RawResponse.StatusCode
}
