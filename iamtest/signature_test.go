package iamtest_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/aksk"
	"github.com/iamhttp/iamhttp/iamtest"
)

// key holds the only credentials that the Servers accept; knows is their Keys function.
var key = aksk.Credentials{AccessKey: "AK", SecretKey: "sk"}

func knows(accessKey, securityToken string) (string, bool) {
	return "sk", accessKey == "AK" && securityToken == ""
}

func TestServerWithKeysChecksSignaturesAsTheGatewayDoes(t *testing.T) {
	for name, tt := range map[string]struct {
		key    aksk.Credentials
		age    time.Duration
		change func(*http.Request)
		text   string // part of the message in the 401; if empty, the request must be accepted
		reason iamhttp.Reason
	}{
		"a valid signature":                 {key: key},
		"a signature 15 minutes old":        {key: key, age: 15 * time.Minute},
		"a signature 15 minutes ahead":      {key: key, age: -15 * time.Minute},
		"an X-Auth-Token with any value":    {change: func(r *http.Request) { r.Header = http.Header{"X-Auth-Token": {"x"}} }},
		"a signature that is too old":       {key, 15*time.Minute + time.Second, nil, "signature expired, signature time:19991231T234459Z,server time:20000101T000000Z", iamhttp.ReasonClockSkew},
		"a signature that is too far ahead": {key, -16 * time.Minute, nil, "signature expired, signature time:20000101T001600Z,server time:20000101T000000Z", iamhttp.ReasonClockSkew},
		"a wrong secret key":                {aksk.Credentials{AccessKey: "AK", SecretKey: "other"}, 0, nil, "verify aksk signature fail", iamhttp.ReasonSignatureInvalid},
		"an unknown access key":             {aksk.Credentials{AccessKey: "OTHER", SecretKey: "sk"}, 0, nil, "ak not exist", iamhttp.ReasonCredentialRejected},
		"an unknown security token":         {aksk.Credentials{AccessKey: "AK", SecretKey: "sk", SecurityToken: "x"}, 0, nil, "ak not exist", iamhttp.ReasonCredentialRejected},
		"the path was changed":              {key, 0, func(r *http.Request) { r.URL.Path += "s" }, "verify aksk signature fail", iamhttp.ReasonSignatureInvalid},
		"the query was changed":             {key, 0, func(r *http.Request) { r.URL.RawQuery = "a=1" }, "verify aksk signature fail", iamhttp.ReasonSignatureInvalid},
		"the method was changed":            {key, 0, func(r *http.Request) { r.Method = "PUT" }, "verify aksk signature fail", iamhttp.ReasonSignatureInvalid},
		"a header was changed":              {key, 0, func(r *http.Request) { r.Header.Set("X-Foo", "c") }, "verify aksk signature fail", iamhttp.ReasonSignatureInvalid},
		"the host was changed":              {key, 0, func(r *http.Request) { r.Host = "other.example" }, "verify aksk signature fail", iamhttp.ReasonSignatureInvalid},
		"the body was changed":              {key, 0, func(r *http.Request) { r.Body = http.NoBody }, "verify aksk signature fail", iamhttp.ReasonSignatureInvalid},
		"the date was changed":              {key, 0, func(r *http.Request) { r.Header.Set("X-Sdk-Date", "20000101T000001Z") }, "verify aksk signature fail", iamhttp.ReasonSignatureInvalid},
		"no X-Sdk-Date header":              {key, 0, func(r *http.Request) { r.Header.Del("X-Sdk-Date") }, "verify aksk signature fail", iamhttp.ReasonSignatureInvalid},
		"the algorithm was changed": {key, 0, func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "SDK-", "V11-", 1))
		}, "verify aksk signature fail", iamhttp.ReasonSignatureInvalid},
		"a wrong signature for a scope of another day": {key, 0, func(r *http.Request) {
			r.Header.Set("Authorization", "SDK-HMAC-SHA256 Credential=AK/19990101/a/b/sdk_request, SignedHeaders=host, Signature=00")
		}, "verify aksk signature fail", iamhttp.ReasonSignatureInvalid},
		"neither a signature nor a token":            {change: func(r *http.Request) { r.Header = http.Header{} }, text: "x-auth-token not found", reason: iamhttp.ReasonTokenExpired},
		"an Authorization header without parameters": {key, 0, func(r *http.Request) { r.Header.Set("Authorization", "SDK-HMAC-SHA256") }, "ak not exist", iamhttp.ReasonCredentialRejected},
		"Basic authorization":                        {key, 0, func(r *http.Request) { r.Header.Set("Authorization", "Basic QUs6c2s=") }, "ak not exist", iamhttp.ReasonCredentialRejected},
		"an incomplete V11 header":                   {key, 0, func(r *http.Request) { r.Header.Set("Authorization", "V11-HMAC-SHA256 Credential=AK/, Signature=") }, "verify aksk signature fail", iamhttp.ReasonSignatureInvalid},
		"no Signature parameter":                     {key, 0, func(r *http.Request) { r.Header.Set("Authorization", "SDK-HMAC-SHA256 Access=AK") }, "verify aksk signature fail", iamhttp.ReasonSignatureInvalid},
		"two Authorization headers":                  {key, 0, func(r *http.Request) { r.Header.Add("Authorization", "SDK-HMAC-SHA256 Access=AK") }, "verify aksk signature fail", iamhttp.ReasonSignatureInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &iamtest.Server{Keys: knows, Limit: 1, Window: time.Hour}
				s.Next(iamtest.Answer{Status: 204})
				req, err := http.NewRequestWithContext(t.Context(), "POST", "https://iam.example/v3/users", strings.NewReader("body"))
				require.NoError(t, err)
				req.Header.Set("X-Foo", "b")
				if tt.key != (aksk.Credentials{}) {
					require.NoError(t, aksk.Sign(req, tt.key, time.Now().Add(-tt.age)))
				}
				if tt.change != nil {
					tt.change(req)
				}
				resp, err := s.RoundTrip(req)
				require.NoError(t, err)
				defer resp.Body.Close()
				if tt.text == "" {
					assert.Equal(t, 204, resp.StatusCode)
					return
				}
				var e *iamhttp.StatusError
				require.ErrorAs(t, iamhttp.CheckResponse(resp), &e)
				assert.Equal(t, iamhttp.ErrUnauthorized, e.Code)
				assert.Equal(t, "APIG.0301", e.ServiceCode)
				assert.Contains(t, e.Message, "Incorrect IAM authentication information: ")
				assert.Contains(t, e.Message, tt.text)
				assert.Equal(t, tt.reason, e.Reason())
				ok, err := http.NewRequestWithContext(t.Context(), "GET", "https://iam.example/v3/users", nil)
				require.NoError(t, err)
				require.NoError(t, aksk.Sign(ok, key, time.Now()))
				next, err := s.RoundTrip(ok)
				require.NoError(t, err)
				next.Body.Close()
				assert.Equal(t, 204, next.StatusCode, "the refused request must use up neither the Limit nor the script")
			})
		})
	}
}

func TestServerWithAheadSendsADateInTheFuture(t *testing.T) {
	s := &iamtest.Server{Keys: knows, Ahead: time.Hour}
	over := httptest.NewServer(s)
	defer over.Close()
	for name, rt := range map[string]http.RoundTripper{"in memory": s, "over a socket": http.DefaultTransport} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), "GET", over.URL, nil)
			require.NoError(t, err)
			require.NoError(t, aksk.Sign(req, key, time.Now().Add(time.Hour)))
			resp, err := rt.RoundTrip(req)
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, 200, resp.StatusCode)
			at, err := http.ParseTime(resp.Header.Get("Date"))
			require.NoError(t, err)
			assert.WithinDuration(t, time.Now().Add(time.Hour), at, time.Minute)
		})
	}
}

func TestKeysFunctionMayCallRequests(t *testing.T) {
	s := new(iamtest.Server)
	s.Keys = func(string, string) (string, bool) { return "", len(s.Requests()) > 1 }
	req, err := http.NewRequest(http.MethodGet, "https://iam.example/", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "SDK-HMAC-SHA256 Access=ak, SignedHeaders=host, Signature=0")
	req.Header.Set("X-Sdk-Date", time.Now().UTC().Format("20060102T150405Z"))
	resp, err := s.RoundTrip(req)
	require.NoError(t, err)
	assert.Equal(t, 401, resp.StatusCode)
	assert.Len(t, s.Requests(), 1)
}
