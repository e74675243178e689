package iamhttp_test

import (
	"context"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/iamtest"
)

// keepCookies is shown in docs/faq.md.
func keepCookies(jar http.CookieJar) func(context.Context, iamhttp.Failure) {
	return func(_ context.Context, f iamhttp.Failure) {
		if e, ok := f.Status(); ok && e.Method != http.MethodConnect { // a proxy refuses a CONNECT
			if u, err := url.Parse(e.URL); err == nil {
				jar.SetCookies(u, (&http.Response{Header: e.Header()}).Cookies())
			}
		}
	}
}

// docs/faq.md documents the results of this test.
func TestCookiesInFailingResponsesReachTheJarAsDocumented(t *testing.T) {
	for name, tt := range map[string]struct {
		tr   iamhttp.Transport
		hook bool
		want []string
	}{
		"error mode":                 {iamhttp.Transport{}, false, nil},
		"error mode with OnFailure":  {iamhttp.Transport{}, true, []string{"retried", "final"}},
		"PassThrough":                {iamhttp.Transport{PassThrough: true}, false, []string{"final"}},
		"PassThrough with OnFailure": {iamhttp.Transport{PassThrough: true}, true, []string{"retried", "final"}},
		"Expected":                   {iamhttp.Transport{Expected: []iamhttp.Code{403}}, false, []string{"final"}},
		"Expected with OnFailure":    {iamhttp.Transport{Expected: []iamhttp.Code{403}}, true, []string{"retried", "final"}},
	} {
		t.Run(name, func(t *testing.T) {
			var service iamtest.Server
			service.Next(iamtest.Throttled(0).With("Set-Cookie", "retried=1"), iamtest.Keystone(403, "No.").With("Set-Cookie", "final=1"))
			jar, err := cookiejar.New(nil)
			require.NoError(t, err)
			tt.tr.Base, tt.tr.Backoff = &service, zero
			if tt.hook {
				tt.tr.OnFailure = keepCookies(jar)
			}
			client := &http.Client{Transport: &tt.tr, Jar: jar, Timeout: time.Minute}
			if resp, err := client.Get("https://iam.example/v3/users"); err == nil {
				resp.Body.Close()
			}
			u, err := url.Parse("https://iam.example/v3/users")
			require.NoError(t, err)
			var got []string
			for _, c := range jar.Cookies(u) {
				got = append(got, c.Name)
			}
			assert.Equal(t, tt.want, got)
			for _, r := range service.Requests() {
				assert.Empty(t, r.Header.Get("Cookie"), "no attempt may send cookies, because the jar was empty when the call began")
			}
		})
	}
}

func TestKeepCookiesTakesNoCookiesFromAProxy(t *testing.T) {
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	proxy := &url.URL{Scheme: "http", Host: "proxy.corp.example:3128"}
	refusal := iamhttp.CheckProxyConnect(t.Context(), proxy, nil, response(nil, 407, http.NoBody, 0, "Set-Cookie: session=planted; Domain=corp.example; Path=/"))
	client := &http.Client{Jar: jar, Transport: &iamhttp.Transport{Base: script(fail(refusal)), OnFailure: keepCookies(jar)}}
	_, err = client.Get("https://iam.corp.example/v3")
	require.ErrorIs(t, err, iamhttp.ErrProxyAuthRequired)
	for _, u := range []*url.URL{proxy, {Scheme: "https", Host: "iam.corp.example", Path: "/v3"}} {
		assert.Empty(t, jar.Cookies(u), u)
	}
}
