package compat

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gophercloud1 "github.com/gophercloud/gophercloud"
	openstack1 "github.com/gophercloud/gophercloud/openstack"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/iamsdk"
	"github.com/iamhttp/iamhttp/iamtest"
)

// A family is one version of gophercloud. Package iamsdk knows only the shape of that
// version's errors.
type family struct {
	name, module string

	// call uses Install if install is true, logs in through base, calls ready, and then
	// sends a request with the given method and body.
	call func(base http.RoundTripper, install bool, ready func(), method string, body any) error
	own  func(err error, code int) bool // reports whether err is the SDK's error for the given code or for a failed login, with the checks that callers use
}

var families = []family{
	{
		name:   "gophercloud",
		module: "github.com/gophercloud/gophercloud",
		call: func(base http.RoundTripper, install bool, ready func(), method string, body any) error {
			p, err := openstack1.NewClient(keystoneURL)
			must(err)
			p.HTTPClient.Transport = base
			if install {
				iamsdk.Install(&p.HTTPClient, nil, iamsdk.Gophercloud())
			}
			must(openstack1.Authenticate(p, gophercloud1.AuthOptions{
				IdentityEndpoint: keystoneURL, Username: "admin", Password: "p", DomainName: "Default", AllowReauth: true,
			}))
			ready()
			_, err = p.Request(method, keystoneURL+"/v3/groups", &gophercloud1.RequestOpts{JSONBody: body})
			return err
		},
		own: func(err error, code int) bool {
			switch e := err.(type) {
			case *gophercloud1.ErrUnableToReauthenticate:
				return e.ErrReauth != nil
			case *gophercloud1.ErrErrorAfterReauthentication:
				err = e.ErrOriginal
			}
			coded, ok := err.(gophercloud1.StatusCodeError)
			return ok && coded.GetStatusCode() == code
		},
	},
	{
		name:   "gophercloud",
		module: "github.com/gophercloud/gophercloud/v2",
		call: func(base http.RoundTripper, install bool, ready func(), method string, body any) error {
			p, err := openstack.NewClient(keystoneURL)
			must(err)
			p.HTTPClient.Transport = base
			if install {
				iamsdk.Install(&p.HTTPClient, nil, iamsdk.Gophercloud())
			}
			must(openstack.Authenticate(context.Background(), p, gophercloud.AuthOptions{
				IdentityEndpoint: keystoneURL, Username: "admin", Password: "p", DomainName: "Default", AllowReauth: true,
			}))
			ready()
			_, err = p.Request(context.Background(), method, keystoneURL+"/v3/groups", &gophercloud.RequestOpts{JSONBody: body})
			return err
		},
		own: func(err error, code int) bool {
			var unable *gophercloud.ErrUnableToReauthenticate
			return gophercloud.ResponseCodeIs(err, code) || errors.As(err, &unable)
		},
	},
}

// A meeting is a call to a service that always responds in the same way.
type meeting struct {
	name, method string
	answer       iamtest.Answer // response to each request
	login        iamtest.Answer // response to each login after the first
	want         int            // expected number of requests with Install, except logins
	logins       int
}

func meetings() []meeting {
	login := iamtest.Answer{Status: 201, Body: `{"token":{"expires_at":"2100-01-01T00:00:00.000000Z","catalog":[]}}`}.With("X-Subject-Token", "token-2")
	unauthorized, locked := iamtest.Keystone(401, "No."), iamtest.Keystone(401, "The account is locked.")
	return []meeting{
		{"401, but the login succeeds", "GET", unauthorized, login, 2, 1},
		{"401, and the login gets a 401 too", "GET", unauthorized, locked, 1, 1},
		{"403", "GET", iamtest.Keystone(403, "No."), login, 1, 0},
		{"404", "GET", iamtest.Keystone(404, "No."), login, 1, 0},
		{"408", "GET", iamtest.Keystone(408, "No."), login, 8, 0},
		{"409 for a POST", "POST", iamtest.Keystone(409, "No."), login, 1, 0},
		{"429, Retry-After: 1", "GET", iamtest.Throttled(time.Second), login, 8, 0},
		{"429, no Retry-After", "GET", iamtest.Throttled(0), login, 8, 0},
		{"502 for a POST", "POST", iamtest.Page(502), login, 1, 0},
		{"503 for a POST", "POST", iamtest.Page(503), login, 1, 0},
		{"504 for a POST", "POST", iamtest.Page(504), login, 1, 0},
		{"none (connection reset), for a POST", "POST", iamtest.Answer{Fault: iamtest.Reset}, login, 1, 0},
	}
}

// meet makes the call, and returns how many requests and logins the call took.
func (f family) meet(t *testing.T, m meeting, install bool) (requests, logins int, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		service := &iamtest.Server{Handler: http.HandlerFunc(keystone)}
		var body any
		if m.method == "POST" {
			body = map[string]any{"group": map[string]string{"name": "g"}}
		}
		before := 0
		err = f.call(service, install, func() {
			before = len(service.Requests())
			service.On("POST /v3/auth/tokens", m.login)
			service.On("/v3/groups", m.answer)
		}, m.method, body)
		for _, r := range service.Requests()[before:] {
			if strings.HasSuffix(r.Target, "/auth/tokens") {
				logins++
			} else {
				requests++
			}
		}
	})
	return requests, logins, err
}

func TestGophercloudWithInstallSendsTheNumberOfRequestsInTheTable(t *testing.T) {
	var b strings.Builder
	b.WriteString("| the response |")
	for _, f := range families {
		fmt.Fprintf(&b, " %s %s |", f.name, versionOf(t, f.module))
	}
	b.WriteString("\n|---|---|---|\n")
	for _, m := range meetings() {
		b.WriteString("| " + m.name + " |")
		for _, f := range families {
			t.Run(f.module+", "+m.name, func(t *testing.T) {
				alone, itsLogins, itsErr := f.meet(t, m, false)
				requests, logins, err := f.meet(t, m, true)
				assert.Equal(t, m.want, requests)
				assert.Equal(t, m.logins, logins)
				before, after := cell(alone, itsLogins), cell(requests, logins)
				if before != after {
					after = before + " → " + after
				}
				b.WriteString(" " + after + " |")

				assert.Equal(t, fmt.Sprintf("%T", itsErr), fmt.Sprintf("%T", err), "the type of the SDK's error must be the same as without Install")
				wrapped := iamsdk.Wrap(err)
				var e *iamhttp.StatusError
				if m.answer.Status == 0 {
					assert.NotErrorAs(t, wrapped, &e)
					return
				}
				assert.True(t, f.own(err, m.answer.Status), "%T", err)
				require.ErrorAs(t, wrapped, &e)
				assert.Equal(t, iamhttp.Code(m.answer.Status), e.Code)
				assert.Equal(t, m.want == 8, e.Attempts == 8)
				assert.Positive(t, e.Attempts)
				assert.NotEqual(t, iamhttp.StopUnset, e.Stop)
				if m.login.Status == 401 {
					assert.Equal(t, "The account is locked.", e.Message)
				}
			})
		}
		b.WriteString("\n")
	}
	const begin, end = "<!-- gophercloud, written by: " + rewrite + " -->", "<!-- end of gophercloud -->"
	old, err := os.ReadFile(short)
	require.NoError(t, err)
	head, rest, found := strings.Cut(string(old), begin)
	require.True(t, found)
	_, tail, found := strings.Cut(rest, end)
	require.True(t, found)
	want := head + begin + "\n\n" + b.String() + "\n" + end + tail
	if *update {
		require.NoError(t, os.WriteFile(short, []byte(want), 0o644))
		return
	}
	assert.Equal(t, want, string(old), "docs/sdks.md is out of date; to rewrite it, run %s", rewrite)
}

func cell(requests, logins int) string {
	if logins == 1 {
		return fmt.Sprint(requests, " + 1 login")
	}
	return fmt.Sprint(requests)
}
