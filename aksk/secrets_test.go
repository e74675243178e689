package aksk_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/aksk"
	"github.com/iamhttp/iamhttp/iamtest"
)

// hides asserts that a text contains none of the three planted secrets, as plain text or
// in any of four encodings that package fmt uses.
func hides(t *testing.T, text, what string) {
	t.Helper()
	for _, planted := range []string{temporary.AccessKey, secret, token} {
		for _, form := range []string{planted, fmt.Sprintf("%x", planted), fmt.Sprintf("%X", planted), fmt.Sprint([]byte(planted)), fmt.Sprintf("% x", planted)} {
			assert.NotContains(t, text, form, what)
		}
	}
}

func TestNothingInThisPackagePrintsASecret(t *testing.T) {
	s := &iamtest.Server{Keys: keys}
	tr := &aksk.Transport{Base: s, SignUnsigned: true, Credentials: func(*http.Request) (aksk.Credentials, error) { return temporary, nil }}
	resp, err := tr.RoundTrip(newRequest(t, "GET", users, ""))
	require.NoError(t, err)
	resp.Body.Close()
	tr.Base = nil // the server records requests with their secrets, so it must not be printed
	type config struct {
		Keys aksk.Credentials
		All  map[string]*aksk.Credentials
	}
	for _, v := range []any{
		temporary, &temporary, []aksk.Credentials{temporary}, map[string]aksk.Credentials{"a": temporary},
		config{temporary, map[string]*aksk.Credentials{"a": &temporary}}, tr,
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%T", "%10.3v"} {
			hides(t, fmt.Sprintf(verb, v), verb)
		}
		if data, err := json.Marshal(v); err == nil {
			hides(t, string(data), "JSON")
		}
		if data, err := xml.Marshal(v); err == nil {
			hides(t, string(data), "XML")
		}
		var encoded bytes.Buffer
		if gob.NewEncoder(&encoded).Encode(v) == nil {
			hides(t, encoded.String(), "gob")
		}
		for _, handler := range []func(*bytes.Buffer) slog.Handler{
			func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
			func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
		} {
			var b bytes.Buffer
			slog.New(handler(&b)).Info("x", "v", v)
			hides(t, b.String(), "slog")
		}
	}
}

func TestNoErrorFromThisPackageShowsASecret(t *testing.T) {
	for name, tt := range map[string]struct {
		c      aksk.Credentials
		err    error
		change func(*http.Request)
	}{
		"no access key":                           {aksk.Credentials{SecretKey: secret, SecurityToken: token}, nil, nil},
		"a line break in the access key":          {aksk.Credentials{AccessKey: temporary.AccessKey + "\n", SecretKey: secret, SecurityToken: token}, nil, nil},
		"a line break in the security token":      {aksk.Credentials{AccessKey: temporary.AccessKey, SecretKey: secret, SecurityToken: token + "\n"}, nil, nil},
		"credentials and an error":                {temporary, errors.New("broken"), nil},
		"a body that can be read only once":       {temporary, nil, func(r *http.Request) { withBody(r, "x"); r.GetBody = nil }},
		"an Authorization header of another kind": {temporary, nil, func(r *http.Request) { r.Header.Set("Authorization", "Basic "+secret) }},
		"an opaque URL":                           {temporary, nil, func(r *http.Request) { r.URL.Opaque = "//" + token }},
	} {
		t.Run(name, func(t *testing.T) {
			req := newRequest(t, "GET", users, "")
			if tt.change != nil {
				tt.change(req)
			}
			if err := aksk.Sign(req.Clone(t.Context()), tt.c, time.Now()); err != nil {
				hides(t, fmt.Sprintf("%v %+v %#v", err, err, err), "Sign")
			}
			tr := &aksk.Transport{Base: new(iamtest.Server), SignUnsigned: true, Credentials: func(*http.Request) (aksk.Credentials, error) { return tt.c, tt.err }}
			resp, err := tr.RoundTrip(req)
			if err != nil {
				hides(t, fmt.Sprintf("%v %+v %#v", err, err, err), "RoundTrip")
				return
			}
			resp.Body.Close()
		})
	}
}

func TestRequestsDoNotContainTheSecretKey(t *testing.T) {
	s := &iamtest.Server{Keys: keys}
	tr := &aksk.Transport{Base: s, SignUnsigned: true, Credentials: func(*http.Request) (aksk.Credentials, error) { return temporary, nil }}
	resp, err := tr.RoundTrip(newRequest(t, "GET", users, ""))
	require.NoError(t, err)
	resp.Body.Close()
	for _, r := range s.Requests() {
		assert.NotContains(t, strings.Join([]string{r.Target, r.Body, fmt.Sprint(r.Header)}, " "), secret)
	}
}
