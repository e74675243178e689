package compat

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

var openID = sdk{
	name:    "go-oidc",
	module:  "github.com/coreos/go-oidc/v3",
	fault:   oauthFault,
	connect: "oidcContext",
	call: func(ctx context.Context, w *world) error {
		w.serve(w.failing)
		_, err := oidc.NewProvider(oidcContext(ctx, w), oauthURL)
		return err
	},
	behaviors: []behavior{
		{"503 from discovery: the error names the code", func(ctx context.Context, w *world) outcome {
			w.serve(says(503, oauthFault(503)))
			_, err := oidc.NewProvider(oidcContext(ctx, w), oauthURL)
			return names(err, 503)
		}},
		{"401 for the keys, in `IDTokenVerifier.Verify`: the error names the code", func(ctx context.Context, w *world) outcome {
			p := oidcProvider(ctx, w)
			w.serve(says(401, oauthFault(401)))
			_, err := p.Verifier(&oidc.Config{ClientID: "id"}).Verify(ctx, idToken)
			return names(err, 401)
		}},
		{"401 for the keys, in `RemoteKeySet.VerifySignature`: the error names the code", func(ctx context.Context, w *world) outcome {
			w.serve(says(401, oauthFault(401)))
			_, err := oidc.NewRemoteKeySet(oidcContext(ctx, w), oauthURL+"/keys").VerifySignature(ctx, idToken)
			return names(err, 401)
		}},
		{"401 in `Provider.UserInfo`: the error names the code", func(ctx context.Context, w *world) outcome {
			p := oidcProvider(ctx, w)
			w.serve(says(401, oauthFault(401)))
			_, err := p.UserInfo(oidcContext(ctx, w), oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "t"}))
			return names(err, 401)
		}},
	},
}

func oidcContext(ctx context.Context, w *world) context.Context {
	return oidc.ClientContext(ctx, w.client())
}

// oidcProvider runs discovery and returns the provider.
func oidcProvider(ctx context.Context, w *world) *oidc.Provider {
	w.serve(says(200, fmt.Sprintf(`{"issuer":%[1]q,"jwks_uri":"%[1]s/keys","userinfo_endpoint":"%[1]s/userinfo"}`, oauthURL)))
	p, err := oidc.NewProvider(oidcContext(ctx, w), oauthURL)
	must(err)
	return p
}

// idToken is a token with a signature that no key can verify.
var idToken = func() string {
	var parts []string
	for _, part := range []string{`{"alg":"RS256"}`, `{"iss":"` + oauthURL + `","aud":"id","exp":4102444800}`, "signature"} {
		parts = append(parts, base64.RawURLEncoding.EncodeToString([]byte(part)))
	}
	return strings.Join(parts, ".")
}()

// names returns the outcome of a call whose error should contain the status code in its
// text, because go-oidc reports the code nowhere else.
func names(err error, code int) outcome {
	switch {
	case err == nil:
		return outcome{lost: "no error"}
	case !strings.Contains(err.Error(), fmt.Sprint(code)+" "):
		return outcome{err, "the error does not name the code"}
	}
	return outcome{err: err}
}
