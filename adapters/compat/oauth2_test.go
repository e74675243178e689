package compat

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

var oauth = sdk{
	name:    "x/oauth2",
	module:  "golang.org/x/oauth2",
	fault:   oauthFault,
	connect: "oauthContext",
	call: func(ctx context.Context, w *world) error {
		w.serve(w.failing)
		_, err := clientCredentials(oauth2.AuthStyleInHeader).Token(oauthContext(ctx, w))
		return err
	},
	behaviors: []behavior{
		{"401 invalid_client: RetrieveError with that code", func(ctx context.Context, w *world) outcome {
			w.serve(says(401, `{"error":"invalid_client"}`))
			_, err := clientCredentials(oauth2.AuthStyleInHeader).Token(oauthContext(ctx, w))
			return fails(err, oauthCode, "invalid_client")
		}},
		{"400 invalid_grant for a refresh by an `oauth2.Transport`: RetrieveError with that code", func(ctx context.Context, w *world) outcome {
			w.serve(says(400, `{"error":"invalid_grant"}`))
			client := oauthConfig.Client(oauthContext(ctx, w), &oauth2.Token{RefreshToken: "old"})
			req, err := http.NewRequestWithContext(ctx, "GET", oauthURL+"/resource", nil)
			must(err)
			_, err = client.Do(req)
			return fails(err, oauthCode, "invalid_grant")
		}},
		{"401 for credentials in the header: `AuthStyleAutoDetect` tries parameters", func(ctx context.Context, w *world) outcome {
			w.serve(func(rw http.ResponseWriter, r *http.Request) {
				if r.FormValue("client_secret") == "" {
					says(401, `{"error":"invalid_client"}`)(rw, r)
					return
				}
				says(200, oauthToken)(rw, r)
			})
			return oauthSuccess(clientCredentials(oauth2.AuthStyleAutoDetect).Token(oauthContext(ctx, w)))
		}},
		{"device flow: polls again after 400 authorization_pending", func(ctx context.Context, w *world) outcome {
			w.serve(inTurn(says(400, `{"error":"authorization_pending"}`), says(200, oauthToken)))
			return oauthSuccess(oauthConfig.DeviceAccessToken(oauthContext(ctx, w), &oauth2.DeviceAuthResponse{DeviceCode: "d"}))
		}},
		{"device flow: 400 slow_down raises the polling interval from 5 s to 10 s", func(ctx context.Context, w *world) outcome {
			w.serve(inTurn(says(400, `{"error":"slow_down"}`), says(200, oauthToken)))
			start := time.Now()
			_, err := oauthConfig.DeviceAccessToken(oauthContext(ctx, w), &oauth2.DeviceAuthResponse{DeviceCode: "d"})
			return brings(time.Since(start), err, 15*time.Second)
		}},
	},
}

const (
	oauthURL   = "http://login.test"
	oauthToken = `{"access_token":"t","token_type":"Bearer","expires_in":3600}`
)

var oauthConfig = &oauth2.Config{
	ClientID: "id",
	Endpoint: oauth2.Endpoint{TokenURL: oauthURL + "/token", AuthStyle: oauth2.AuthStyleInHeader},
}

func oauthContext(ctx context.Context, w *world) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, w.client())
}

func clientCredentials(style oauth2.AuthStyle) *clientcredentials.Config {
	return &clientcredentials.Config{ClientID: "id", ClientSecret: "secret", TokenURL: oauthURL + "/token", AuthStyle: style}
}

// oauthFault returns a failure in the form of RFC 6749, section 5.2.
func oauthFault(code int) string {
	return fmt.Sprintf(`{"error":"temporarily_unavailable","error_description":"No: %d."}`, code)
}

func oauthCode(e *oauth2.RetrieveError) any { return e.ErrorCode }

// oauthSuccess returns the outcome of a call that should return oauthToken.
func oauthSuccess(token *oauth2.Token, err error) outcome {
	return brings(token != nil && token.AccessToken == "t", err, true)
}
