package iamhttp_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
)

// recorded lists the responses of a real Keystone (ks), nginx (ngx) and HAProxy (hap) in
// testdata/recorded, with the expected fields of the error. For a code below 400, no
// error is expected.
var recorded = map[string]struct {
	code       int
	service    string
	message    string // the whole message or, if the string ends in "…", its beginning
	request    string
	retryAfter time.Duration
}{
	"ks-200-user":                       {code: 200},
	"ks-204-delete-user":                {code: 204},
	"ks-300-version-discovery":          {code: 300},
	"ks-400-malformed-json":             {code: 400, message: "Expecting to find valid JSON in request body. The server could not comply…", request: "req-6b1b2fe7-df89-4f55-bdae-72e545f59d99"},
	"ks-400-missing-attribute":          {code: 400, message: "'name' is a required property Failed validating 'required' in schema: {'additionalProperties': True, 'options': {'type': 'object'},…", request: "req-7b539fb2-ab77-4639-9e3c-03a419163748"},
	"ks-400-schema":                     {code: 400, message: `Invalid input for field 'name': 17 is not of type 'string' Failed validating 'type' in schema['properties']['name']: {'maxLength': 255, 'minLength': 1, 'pattern': '[\\S]+', 'type': 'string'} On instance['name']: 17`, request: "req-02b8d49d-2092-4ffe-bada-cf4e67fcd26f"},
	"ks-401-bad-password":               {code: 401, message: "The request you have made requires authentication.", request: "req-7bab957e-6606-4bcc-9ba4-0d463cef26a6"},
	"ks-401-missing-token":              {code: 401, message: "The request you have made requires authentication.", request: "req-ccd67302-ea16-4855-b0e3-24286ad9446a"},
	"ks-403-non-admin":                  {code: 403, message: "You are not authorized to perform the requested action: identity:create_user.", request: "req-0f908fb7-9134-4133-b349-e300f0441f9e"},
	"ks-404-unknown-user":               {code: 404, message: "Could not find user: 0123456789abcdef0123456789abcdef.", request: "req-0c43521d-00ed-4f5b-a31b-798560349fcd"},
	"ks-404-head-unknown-user":          {code: 404, request: "req-9ed9de60-009c-4dfd-a2cb-d80457ffe620"},
	"ks-404-unknown-path":               {code: 404, request: "req-397b6afc-f92d-4c3f-8e41-3a842874be08"},
	"ks-405-method":                     {code: 405, message: "The method is not allowed for the requested URL.", request: "req-bfa240ff-aee8-4ea1-ac19-be9733a43920"},
	"ks-409-duplicate-user":             {code: 409, message: "Conflict occurred attempting to store user - Duplicate entry found with name rec-1795334655 at domain ID default.", request: "req-0dbf0f50-1157-4c73-b862-b097bdd8a953"},
	"ks-409-duplicate-project":          {code: 409, message: "Conflict occurred attempting to store project - it is not permitted to have two projects with either the same name or same id in the same domain: name is rec-1795334655, project id 3ef83e0954fc48e38534f83619c9eeca.", request: "req-d7bfbbe8-44fc-4543-b62e-7093ae57eb4b"},
	"ks-413-body-too-large":             {code: 413},
	"ks-500-no-fernet-keys":             {code: 500, message: "An unexpected error prevented the server from fulfilling your request.", request: "req-7a9cece5-4c16-4973-93d8-13090d053599"},
	"ks-501-templated-catalog":          {code: 501, message: "The action you have requested has not been implemented.", request: "req-0149d03f-9ff9-402a-b072-47664e0d3938"},
	"ngx-400-header-too-large":          {code: 400},
	"ngx-401-missing-token":             {code: 401, message: "The request you have made requires authentication.", request: "req-facdbf10-3f5f-4395-aff7-6d3e74f2cc44"},
	"ngx-405-trace":                     {code: 405},
	"ngx-408-json":                      {code: 408, message: "Request timed out."},
	"ngx-408-from-upstream":             {code: 408},
	"ngx-408-from-upstream-retry-after": {code: 408, message: "408 with Retry-After", retryAfter: time.Second},
	"ngx-413-content-length":            {code: 413},
	"ngx-414-uri-too-long":              {code: 414},
	"ngx-429-limit-req":                 {code: 429, retryAfter: time.Second},
	"ngx-429-limit-req-post":            {code: 429, retryAfter: time.Second},
	"ngx-500-return":                    {code: 500},
	"ngx-502-refused":                   {code: 502},
	"ngx-503-maintenance":               {code: 503, retryAfter: 2 * time.Second},
	"ngx-504-hang":                      {code: 504},
	"ngx-505-version":                   {code: 505},
	"ngx-fault-429":                     {code: 429},
	"ngx-fault-429-seconds":             {code: 429, retryAfter: time.Second},
	"ngx-fault-429-zero":                {code: 429},
	"ngx-fault-429-past":                {code: 429},
	"ngx-fault-429-far":                 {code: 429, retryAfter: time.Date(2099, 12, 31, 23, 59, 59, 0, time.UTC).Sub(time.Date(2026, 11, 22, 8, 4, 22, 0, time.UTC))},
	"ngx-fault-429-huge":                {code: 429, retryAfter: 24 * time.Hour},
	"ngx-fault-429-garbage":             {code: 429},
	"ngx-fault-429-negative":            {code: 429},
	"ngx-fault-429-twice":               {code: 429, retryAfter: 7 * time.Second},
	"hap-400-bad-request":               {code: 400},
	"hap-408-deny":                      {code: 408},
	"hap-408-mid-body":                  {code: 408},
	"hap-408-retry-after":               {code: 408, message: "408 with Retry-After", retryAfter: time.Second},
	"hap-413-from-keystone":             {code: 413},
	"hap-429-seconds":                   {code: 429, service: "APIG.0308", message: "The throttling threshold has been reached: policy ip over ratelimit,limit:5,time:1 second", retryAfter: 2 * time.Second},
	"hap-429-date":                      {code: 429, service: "APIG.0308", message: "The throttling threshold has been reached: policy ip over ratelimit,limit:5,time:1 second", request: "e2b44851-0991-411b-a6b7-9ac8518a4cd9", retryAfter: 3 * time.Second},
	"hap-503-no-server":                 {code: 503},
	"hap-503-refused":                   {code: 503},
	"hap-504-hang":                      {code: 504},
	"hap-transfer-encoding-gzip":        {code: 422},
}

func TestRecordedResponsesOfRealServersAreParsed(t *testing.T) {
	files, err := filepath.Glob("testdata/recorded/*.http")
	require.NoError(t, err)
	require.Len(t, files, len(recorded), "each recorded file must have exactly one row in the table")
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".http")
		t.Run(name, func(t *testing.T) {
			want, ok := recorded[name]
			require.True(t, ok, "the table has no row for this file")
			raw, err := os.ReadFile(file)
			require.NoError(t, err)
			_, body, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
			synctest.Test(t, func(t *testing.T) {
				// HAProxy sends no Date header, so a date in Retry-After is measured
				// against the local clock.
				time.Sleep(time.Until(time.Date(2026, 11, 22, 8, 4, 40, 500_000_000, time.UTC)))
				method := "GET"
				if strings.Contains(name, "-head-") {
					method, body = "HEAD", nil
				}
				req := newRequest(t, method, "")
				resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), req)
				require.NoError(t, err)
				require.Equal(t, want.code, resp.StatusCode)
				err = iamhttp.CheckResponse(resp)
				rest, readErr := io.ReadAll(resp.Body)
				require.NoError(t, readErr)
				assert.Equal(t, string(body), string(rest), "CheckResponse must leave the body readable from its start")
				if want.code < 400 {
					require.NoError(t, err)
					return
				}
				e := statusError(t, err)
				message := want.message
				if begin, long := strings.CutSuffix(want.message, "…"); long {
					assert.Greater(t, len(e.Message), len(begin))
					message = begin + e.Message[min(len(begin), len(e.Message)):]
				}
				assert.Equal(t, iamhttp.StatusError{
					Code: iamhttp.Code(want.code), ServiceCode: want.service, Message: message, RequestID: want.request, RetryAfter: want.retryAfter,
					Method: method, URL: "https://iam.example/v3/users",
				}, withoutContent(e))
				assert.Equal(t, resp.Header, e.Header())
				assert.Equal(t, string(body), string(e.Body()))
				assert.NotContains(t, e.Message, "\n")
				assert.Equal(t, map[int]iamhttp.Reason{409: iamhttp.ReasonAlreadyExists, 429: iamhttp.ReasonThrottled}[want.code], e.Reason())

				parts := iamhttp.NewStatusError(resp.StatusCode, resp.Header, body)
				parts.Method, parts.URL = e.Method, e.URL
				assert.Equal(t, withoutContent(e), withoutContent(parts), "NewStatusError must agree with CheckResponse")
				assert.Equal(t, e.Header(), parts.Header())
			})
		})
	}
}

// withoutContent returns a copy of e without Limit, header and body. Reflection cannot
// compare header and body.
func withoutContent(e *iamhttp.StatusError) iamhttp.StatusError {
	return iamhttp.StatusError{Code: e.Code, ServiceCode: e.ServiceCode, Message: e.Message, RequestID: e.RequestID, Method: e.Method, URL: e.URL,
		Truncated: e.Truncated, RetryAfter: e.RetryAfter, Attempts: e.Attempts, Stop: e.Stop, Cause: e.Cause}
}
