package iamhttp_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
)

func TestErrorTextIsOneLineWithAllKnownDetails(t *testing.T) {
	tests := []struct {
		err  iamhttp.StatusError
		want string
	}{
		{iamhttp.StatusError{Code: 429, Message: "Slow down.", ServiceCode: "APIG.0308", RequestID: "req-1", Attempts: 3, Stop: iamhttp.StopAttempts},
			`iamhttp: 429 TooManyRequests: "Slow down." (APIG.0308, request req-1, sent 3 times: attempts used up)`},
		{iamhttp.StatusError{Code: 404}, `iamhttp: 404 NotFound`},
		{iamhttp.StatusError{Code: 404, ServiceCode: "IAM.0004"}, `iamhttp: 404 NotFound (IAM.0004)`},
		{iamhttp.StatusError{Code: 404, RequestID: "req-1"}, `iamhttp: 404 NotFound (request req-1)`},
		{iamhttp.StatusError{Code: 404, Message: `no "x"`}, `iamhttp: 404 NotFound: "no \"x\""`},
		{iamhttp.StatusError{Code: 403, Attempts: 1, Stop: iamhttp.StopNotRetryable}, `iamhttp: 403 Forbidden (sent once: not retryable)`},
		{iamhttp.StatusError{Code: 408, Attempts: 2}, `iamhttp: 408 Request Time-out (sent 2 times)`},
		{iamhttp.StatusError{Code: 429, Stop: iamhttp.StopGate}, `iamhttp: 429 TooManyRequests (not sent: refused by the gate)`},
		{iamhttp.StatusError{Code: 499}, `iamhttp: 499`},
		{iamhttp.StatusError{Code: 500, Message: strings.Repeat("ü", 150)}, `iamhttp: 500 InternalServerError: "` + strings.Repeat("ü", 100) + `"`},
		{iamhttp.StatusError{Code: 500, Message: "x" + strings.Repeat("ü", 150)}, `iamhttp: 500 InternalServerError: "x` + strings.Repeat("ü", 99) + `"`},
		{iamhttp.StatusError{Code: 500, Message: "a\nb", ServiceCode: "c\r\nd", RequestID: "e\x1b[31mf"}, `iamhttp: 500 InternalServerError: "a\nb" ("c d", request e[31mf)`},
		{iamhttp.StatusError{Code: 403, RequestID: "x, sent 9 times: canceled) (", Attempts: 1}, `iamhttp: 403 Forbidden (request "x, sent 9 times: canceled) (", sent once)`},
		{iamhttp.StatusError{Code: 403, ServiceCode: `"x`, RequestID: "(y)"}, `iamhttp: 403 Forbidden ("\"x", request "(y)")`},
	}
	for _, tt := range tests {
		assert.Equal(t, tt.want, tt.err.Error())
	}
}

func TestLongMessageOfOnlyContinuationBytesIsEmptyInTheErrorText(t *testing.T) {
	e := &iamhttp.StatusError{Code: 404, Message: strings.Repeat("\x80", 300)}
	assert.Equal(t, `iamhttp: 404 NotFound: ""`, e.Error())
}

func TestEveryStopReasonHasADistinctText(t *testing.T) {
	seen := map[string]iamhttp.StopReason{}
	for s := iamhttp.StopUnset; s <= iamhttp.StopGate; s++ {
		assert.NotEmpty(t, s.String())
		assert.NotContains(t, s.String(), "StopReason(")
		assert.NotContains(t, seen, s.String())
		seen[s.String()] = s
	}
	assert.Equal(t, "StopReason(200)", iamhttp.StopReason(200).String())
}

func TestErrorsIsAndAsFindCodeAndCause(t *testing.T) {
	cause := errors.New("cause")
	err := fmt.Errorf("wrapped: %w", &iamhttp.StatusError{Code: 404, Cause: cause})
	assert.ErrorIs(t, err, iamhttp.ErrNotFound)
	assert.NotErrorIs(t, err, iamhttp.ErrForbidden)
	assert.ErrorIs(t, err, cause)
	var code iamhttp.Code
	require.ErrorAs(t, err, &code)
	assert.Equal(t, iamhttp.ErrNotFound, code)
	var e *iamhttp.StatusError
	ok := errors.As(err, &e)
	assert.True(t, ok)
	assert.Equal(t, cause, e.Cause)
	assert.NotErrorIs(t, &iamhttp.StatusError{Code: 404}, cause)
}

func TestUnwrapReturnsNoNilErrors(t *testing.T) {
	assert.Equal(t, []error{iamhttp.ErrNotFound}, (&iamhttp.StatusError{Code: 404}).Unwrap())
	e := &iamhttp.StatusError{Code: 429, Cause: context.Canceled}
	assert.Equal(t, []error{iamhttp.ErrTooManyRequests, iamhttp.ReasonThrottled, context.Canceled}, e.Unwrap())
}

func TestErrorsIsDoesNotAllocate(t *testing.T) {
	var err error = &iamhttp.StatusError{Code: 404}
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		if !errors.Is(err, iamhttp.ErrNotFound) {
			t.Error("errors.Is(err, ErrNotFound) is false")
		}
	}))
}

func TestTimeoutIsTrueOnlyFor408And504AndDeadlines(t *testing.T) {
	tests := map[string]struct {
		err  iamhttp.StatusError
		want bool
	}{
		"408":                           {iamhttp.StatusError{Code: 408}, true},
		"504":                           {iamhttp.StatusError{Code: 504}, true},
		"a Cause with DeadlineExceeded": {iamhttp.StatusError{Code: 429, Cause: fmt.Errorf("%w: %w", context.DeadlineExceeded, io.EOF)}, true},
		"a Cause with Canceled":         {iamhttp.StatusError{Code: 429, Cause: context.Canceled}, false},
		"a 429 without a Cause":         {iamhttp.StatusError{Code: 429}, false},
		"503":                           {iamhttp.StatusError{Code: 503}, false},
	}
	for name, tt := range tests {
		assert.Equal(t, tt.want, tt.err.Timeout(), name)
	}
	_, temporary := any(&iamhttp.StatusError{}).(interface{ Temporary() bool })
	assert.False(t, temporary, "StatusError must not have a Temporary method, because outer layers would retry it")
}

func TestAWSAndAzureRetryersAreToldNotToRetry(t *testing.T) {
	var err error = &iamhttp.StatusError{Code: 429}
	aws, ok := err.(interface{ RetryableError() bool })
	require.True(t, ok)
	assert.False(t, aws.RetryableError())
	azure, ok := err.(interface{ NonRetriable() })
	require.True(t, ok)
	azure.NonRetriable()
}

func TestErrorBodiesAreParsed(t *testing.T) {
	tests := map[string]struct {
		status                   int
		body                     string
		code, message, requestID string
	}{
		"Keystone":                             {404, `{"error":{"code":404,"message":"Could not find user: x.","title":"Not Found"}}`, "", "Could not find user: x.", ""},
		"Keystone with identity":               {401, `{"error":{"identity":{"methods":["x"]},"title":"Unauthorized","code":401,"message":"Try again."}}`, "", "Try again.", ""},
		"Keystone, only a title":               {404, `{"error":{"code":404,"title":"Not Found"}}`, "", "Not Found", ""},
		"a code that differs from the status":  {400, `{"error":{"code":1109,"message":"The username already exists."}}`, "1109", "The username already exists.", ""},
		"a code as a string":                   {400, `{"error":{"code":"IAM.0011","message":"Request body is invalid."}}`, "IAM.0011", "Request body is invalid.", ""},
		"the status as a string":               {404, `{"code":"404","message":"x"}`, "", "x", ""},
		"IAM":                                  {403, `{"error_msg":"You are not authorized.","error_code":"IAM.0002"}`, "IAM.0002", "You are not authorized.", ""},
		"gateway":                              {429, `{"error_msg":"The throttling threshold has been reached","error_code":"APIG.0308","request_id":"efd9"}`, "APIG.0308", "The throttling threshold has been reached", "efd9"},
		"code and message":                     {400, `{"code":"IAM.0009","message":"x","request_id":"r"}`, "IAM.0009", "x", "r"},
		"only a message":                       {405, `{"message": "The method is not allowed for the requested URL."}`, "", "The method is not allowed for the requested URL.", ""},
		"errors array":                         {404, `{"errors":[{"status":404,"title":"Not Found","detail":"No such user.","request_id":"r"},{"detail":"second"}]}`, "", "No such user.", "r"},
		"errors array, only a title":           {404, `{"errors":[{"title":"Not Found"}]}`, "", "Not Found", ""},
		"errors array with a code":             {404, `{"errors":[{"code":"iam.not_found","detail":"x"}]}`, "iam.not_found", "x", ""},
		"errors array, empty":                  {404, `{"errors":[]}`, "", "", ""},
		"error_code and error_msg in error":    {400, `{"error":{"error_code":"IAM.0011","error_msg":"x"}}`, "IAM.0011", "x", ""},
		"problem details":                      {403, `{"type":"about:blank","title":"Forbidden","status":403,"detail":"Not yours.","instance":"/x"}`, "", "Not yours.", ""},
		"problem details, only a title":        {403, `{"type":"https://x","title":"Forbidden","status":403}`, "", "Forbidden", ""},
		"OAuth":                                {401, `{"error":"invalid_client","error_description":"Unknown client."}`, "invalid_client", "Unknown client.", ""},
		"OAuth without a description":          {400, `{"error":"authorization_pending"}`, "authorization_pending", "", ""},
		"error is a sentence":                  {404, `{"error":"no such user"}`, "", "no such user", ""},
		"error is a sentence, with a message":  {404, `{"status":404,"error":"Not Found","message":"No handler"}`, "", "No handler", ""},
		"error is a word with a leading space": {404, `{"error":" denied"}`, "", "denied", ""},
		"code 7":                               {404, `{"code":7,"message":"x"}`, "7", "x", ""},
		"two codes":                            {404, `{"error_code":"A.1","code":"B.2"}`, "A.1", "", ""},
		"errors array with white space":        {404, `{"errors": [ {"detail":"x"}]}`, "", "x", ""},
		"a member without a name":              {404, `{"":1,"message":"x"}`, "", "x", ""},
		"a number followed by a string":        {404, `{"code":7"8"}`, "7", "", ""},
		"the status before a space":            {404, `{"code":404 ,"message":"x"}`, "", "x", ""},
		"the status before a tab":              {404, "{\"code\":404\t,\"message\":\"x\"}", "", "x", ""},
		"the status before a carriage return":  {404, "{\"code\":404\r,\"message\":\"x\"}", "", "x", ""},
		"the status before a newline":          {404, "{\"code\":404\n,\"message\":\"x\"}", "", "x", ""},
		"code 0":                               {404, `{"code":0,"message":"x"}`, "0", "x", ""},
		"code 9":                               {404, `{"code":9,"message":"x"}`, "9", "x", ""},
		"an escape at the beginning":           {404, `{"message":"\u00fcber"}`, "", "über", ""},
		"an invalid escape after a letter":     {404, `{"message":"a\xbcde"}`, "", `a\xbcde`, ""},
		"an escaped apostrophe":                {404, `{"message":"it\'s \"gone\""}`, "", `it\'s "gone"`, ""},
		"a raw tab next to an escape":          {404, "{\"message\":\"\\\"a\\\"\tb\"}", "", `"a" b`, ""},
		"a raw newline next to an escape":      {404, "{\"message\":\"\\\"a\\\"\nb\"}", "", `"a" b`, ""},
		"a raw NUL next to an escape":          {404, "{\"message\":\"\\\"a\\\"\x00b\"}", "", `"a"b`, ""},
		"an escape with too few digits":        {404, `{"message":"a\u12 b\u12"}`, "", `a\u12 b\u12`, ""},
		"an escape with a wrong digit":         {404, `{"message":"\u00gc \u00FC"}`, "", `\u00gc ü`, ""},
		"half of a surrogate pair":             {404, `{"message":"\ud83d\u0041 \ude00"}`, "", "\ufffdA \ufffd", ""},
		"an invalid escape in a request ID":    {404, `{"request_id":"a\-b"}`, "", "", `a\-b`},
		"an invalid escape in an inner string": {404, `"{\"error_msg\":\"it\'s gone\"}"`, "", `it\'s gone`, ""},
		"only control characters":              {404, `{"message":"\u0001\u0002"}`, "", "\ufffd", ""},
		"only invisible characters":            {404, "{\"message\":\"\u200b \u202e\"}", "", "\ufffd", ""},
		"only white space":                     {404, "{\"message\":\" \\n\u2028\"}", "", "", ""},
		"Unicode line separators":              {404, "{\"message\":\"a\u2028b\u2029c\"}", "", "a b c", ""},
		"null members":                         {404, `{"error":null,"message":null,"code":null,"error_code":"A.1"}`, "A.1", "", ""},
		"members of other types":               {404, `{"error":[1],"message":{"a":1},"code":true,"error_msg":false}`, "", "", ""},
		"unrelated members":                    {404, `{"a":{"message":"no","x":[{"code":1}]},"b":"\"}","message":"yes"}`, "", "yes", ""},
		"white space":                          {404, " \r\n\t{ \"error_code\" : \"A.1\" , \"error_msg\" :\t\"x\" } ", "A.1", "x", ""},
		"a byte order mark":                    {404, "\ufeff{\"message\":\"x\"}", "", "x", ""},
		"escapes":                              {404, `{"message":"a\u00fc\n\"b\"\\ \ud83d\ude00"}`, "", `aü "b"\ 😀`, ""},
		"an invalid escape before the end":     {404, `{"message":"a\xb"}`, "", `a\xb`, ""},
		"cut off in the message":               {404, `{"error":{"code":404,"message":"Could not fi`, "", "Could not fi", ""},
		"cut off in an escape":                 {404, `{"message":"one\ntwo\ud83d\ude`, "", "one two\ufffd", ""},
		"cut off after a backslash":            {404, `{"message":"one\`, "", "one", ""},
		"cut off in a name":                    {404, `{"error_code":"A.1","error_ms`, "A.1", "", ""},
		"cut off after a colon":                {404, `{"error_code":"A.1","error_msg":`, "A.1", "", ""},
		"a missing value":                      {404, `{"error_code":,"error_msg":"x"}`, "", "x", ""},
		"HTML":                                 {502, `<html><head><title>502 Bad Gateway</title></head></html>`, "", "", ""},
		"text without a Content-Type":          {503, `upstream connect error`, "", "", ""},
		"empty":                                {504, "", "", "", ""},
		"an array":                             {500, `[{"message":"x"}]`, "", "x", ""},
		"a string":                             {500, `"message"`, "", "", ""},
		"an empty object":                      {500, `{}`, "", "", ""},
		"an object without a colon":            {500, `{"message" "x"}`, "", "", ""},
		"XML":                                  {404, `<?xml version="1.0"?><Error><Code>NoSuchEntity</Code></Error>`, "", "", ""},
		"deeply nested":                        {500, strings.Repeat(`{"error":`, 5000), "", "", ""},
		"many lines":                           {400, "{\"message\":\"one\\r\\n  two\\u2028three\\tfour\\u0000\\u001b[2J\"}", "", "one two three four[2J", ""},
		"a raw newline":                        {400, "{\"message\":\"one\ntwo\"}", "", "one two", ""},
		"invalid UTF-8":                        {400, "{\"message\":\"a\xff\xfeb\"}", "", "a\ufffdb", ""},
		"a right-to-left override":             {400, "{\"message\":\"user \u202egnp.exe\"}", "", "user gnp.exe", ""},
		"a code longer than 128 bytes":         {400, `{"error_code":"` + strings.Repeat("é", 100) + `"}`, strings.Repeat("é", 64), "", ""},
		"a request ID with a newline":          {400, `{"request_id":"a\nb"}`, "", "", "a b"},
		"a code with an exponent":              {400, `{"code":1e3}`, "1e3", "", ""},
		"a negative code":                      {400, `{"code":-7}`, "-7", "", ""},
		"an agency error with details":         {403, `{"error_code":"PAP5.0013","error_msg":"x","details":[{"error_code":"y","error_msg":"z"}]}`, "PAP5.0013", "x", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			e := iamhttp.NewStatusError(tt.status, nil, []byte(tt.body))
			assert.Equal(t, tt.code, e.ServiceCode, "ServiceCode")
			assert.Equal(t, tt.message, e.Message, "Message")
			assert.Equal(t, tt.requestID, e.RequestID, "RequestID")
			assert.Equal(t, tt.body, string(e.Body()))
		})
	}
}

func TestErrorBodiesOfOtherServicesAreParsed(t *testing.T) {
	inString := func(s string) string {
		b, err := json.Marshal(s)
		require.NoError(t, err)
		return string(b)
	}
	tests := map[string]struct {
		status                   int
		body                     string
		code, message, requestID string
	}{
		"Neutron":                                   {404, `{"NeutronError": {"type": "NetworkNotFound", "message": "Network x could not be found.", "detail": ""}}`, "", "Network x could not be found.", ""},
		"a long name that ends in Error":            {404, `{"NetworkResourceAllocationError": "No such network."}`, "", "No such network.", ""},
		"a long name that ends in exception":        {403, `{"insufficient_permission_exception": {"message": "Not allowed.", "id": 7, "name": "x", "user": {"id": 1}}, "user": {"id": 1}}`, "", "Not allowed.", ""},
		"Neutron, old format":                       {404, `{"NeutronError": "No such network."}`, "", "No such network.", ""},
		"Nova":                                      {404, `{"itemNotFound":{"code":404,"message":"Instance x could not be found."}}`, "", "Instance x could not be found.", ""},
		"Nova, over the limit":                      {413, `{"overLimit":{"code":413,"message":"Slow down.","retryAfter":3}}`, "", "Slow down.", ""},
		"Nova, cut off":                             {500, `{"computeFault": {"code": 500, "message": "Unexpected API Er`, "", "Unexpected API Er", ""},
		"unknown wrapper name":                      {403, `{"forbidden":{"code":"APIGW.0302","message":"No user."}}`, "APIGW.0302", "No user.", ""},
		"unknown wrapper name, only a code":         {400, `{"x":{"code":"IAM.0011"}}`, "IAM.0011", "", ""},
		"unknown wrapper name next to a request ID": {400, `{"request_id":"r","x":{"error_code":"IAM.0011","error_msg":"x"}}`, "IAM.0011", "x", "r"},
		"unknown wrapper name next to a status":     {404, `{"status":404,"x":{"message":"y"}}`, "", "y", ""},
		"unknown wrapper name around an error":      {400, `{"Response":{"Error":{"Code":"Auth.1","Message":"x"},"RequestId":"r"}}`, "Auth.1", "x", "r"},
		"two unknown wrapper names":                 {404, `{"x":{"message":"y"},"z":{"message":"y"}}`, "", "", ""},
		"the requested object instead of an error":  {409, `{"user":{"name":"bob","code":"7"},"ok":false}`, "", "", ""},
		"an object without a message":               {404, `{"user":{"name":"bob"}}`, "", "", ""},
		"unknown wrapper name next to a message":    {404, `{"x":{"message":"no"},"message":"yes"}`, "", "yes", ""},

		"NestJS":                                  {400, `{"statusCode":400,"message":["name must be a string"],"error":"Bad Request"}`, "", "name must be a string", ""},
		"a problem with a list of details":        {400, `{"title":"Bad Request","detail":[{"msg":"field required"}]}`, "", "field required", ""},
		"a problem with the errors of each field": {400, `{"type":"about:blank","title":"Bad Request","status":400,"errors":{"Name":["The Name field is required."]}}`, "", "The Name field is required.", ""},
		"Huawei's databases":                      {400, `{"errCode":"DBS.200001","externalMessage":"Parameter error."}`, "DBS.200001", "Parameter error.", ""},
		"Zaqar":                                   {404, `{"title":"Not Found","description":"Queue x does not exist."}`, "", "Queue x does not exist.", ""},
		"Gnocchi":                                 {404, `{"code":404,"title":"Not Found","description":{"cause":"Metric does not exist","detail":"x"}}`, "", "x", ""},
		"a title that repeats the status":         {404, `{"title":"Not Found"}`, "", "Not Found", ""},
		"a description without a title":           {404, `{"name":"bob","description":"x"}`, "", "", ""},
		"a description next to a null error":      {404, `{"error":null,"name":"bob","description":"x"}`, "", "", ""},
		"a resource's description and code":       {409, `{"user":{"code":"7","description":"x"}}`, "7", "", ""},
		"Cloud Foundry":                           {401, `{"description":"Invalid Auth Token","error_code":"CF-InvalidAuthToken","code":1000}`, "CF-InvalidAuthToken", "Invalid Auth Token", ""},
		"Telegram":                                {429, `{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 5"}`, "", "Too Many Requests: retry after 5", ""},
		"Okta":                                    {401, `{"errorCode":"E0000011","errorSummary":"Invalid token provided","errorId":"oae"}`, "E0000011", "Invalid token provided", ""},
		"a description next to an error":          {400, `{"error":"invalid_request","description":"name is missing"}`, "invalid_request", "name is missing", ""},
		"a description within an error":           {404, `{"error":{"type":"x","description":"No such user."}}`, "", "No such user.", ""},
		"code and desc":                           {400, `{"code":"A.1","desc":"name is missing"}`, "A.1", "name is missing", ""},
		"error_desc":                              {400, `{"error_code":"A.1","error_desc":"name is missing"}`, "A.1", "name is missing", ""},

		"a message that repeats the status, and a detail":      {404, `{"message":"Not Found","detail":"No such user."}`, "", "No such user.", ""},
		"a message that repeats the status, and a reason":      {401, `{"error":"Unauthorized","message":"Unauthorized","reason":"The token has expired"}`, "", "The token has expired", ""},
		"a message that repeats the status, with its number":   {401, `{"message":"HTTP 401 Unauthorized.","detail":"The token has expired"}`, "", "The token has expired", ""},
		"two messages that repeat the status":                  {404, `{"message":"Not Found","title":"not_found"}`, "", "Not Found", ""},
		"a message that repeats the status, and then an error": {404, `{"message":"Not Found","errors":[{"message":"Not Found"},{"message":"No such user."}]}`, "", "No such user.", ""},
		"a blank message, and a detail":                        {404, `{"message":" ","detail":"No such user."}`, "", "No such user.", ""},
		"a message that begins with the status":                {404, `{"message":"404 no such user","title":"x y"}`, "", "404 no such user", ""},
		"Keycloak":                                             {404, `{"error":"Could not find resource","error_description":"For more on this error consult the server log at the debug level."}`, "", "Could not find resource", ""},
		"Keycloak, without a sentence":                         {500, `{"error":"unknown_error","error_description":"For more on this error consult the server log at the debug level."}`, "unknown_error", "For more on this error consult the server log at the debug level.", ""},

		"SAP's rate limit":                             {429, inString(`{"error": {"message": "Too Many Requests", "status": "429 Too Many Requests"}}`), "", "Too Many Requests", ""},
		"JSON in a string, cut off":                    {429, `"{\"error\": {\"message\": \"Too Many`, "", "Too Many", ""},
		"JSON in a string, after white space":          {429, ` "\n{\"code\":\"A.1\",\"message\":\"x\"}" `, "A.1", "x", ""},
		"JSON in the error":                            {403, `{"error":` + inString(`{"code":"IAM.0002","message":"x"}`) + `}`, "IAM.0002", "x", ""},
		"JSON in the message":                          {404, `{"error_msg":` + inString(`{"error":{"message":"Instance x could not be found.","code":"Ecs.0114"}}`) + `}`, "Ecs.0114", "Instance x could not be found.", ""},
		"JSON in the message, code outside":            {404, `{"error_code":"A.1","error_msg":` + inString(`{"code":"B.2","message":"x","request_id":"r"}`) + `}`, "A.1", "x", "r"},
		"braces in the message that are not JSON":      {404, `{"message":"{x}"}`, "", "{x}", ""},
		"JSON in a string in a string":                 {404, inString(inString(`{"message":"x"}`)), "", "x", ""},
		"a JSON string that contains plain text":       {500, inString("just a text"), "", "just a text", ""},
		"a JSON string that contains only an HTML tag": {500, inString("<html>"), "", "", ""},
		"a JSON string that contains an array":         {404, inString(`[{"message":"x"}]`), "", "x", ""},

		"Ironic":                          {400, `{"faultstring":"Invalid UUID","faultcode":"Client","debuginfo":null}`, "", "Invalid UUID", ""},
		"Ironic, in a string":             {400, `{"error_message":` + inString(`{"debuginfo":null,"faultcode":"Client","faultstring":"Invalid UUID"}`) + `}`, "", "Invalid UUID", ""},
		"Ironic, in an object":            {400, `{"error_message":{"faultcode":"Client","faultstring":"Invalid UUID"}}`, "", "Invalid UUID", ""},
		"Apigee":                          {401, `{"fault":{"faultstring":"Invalid access token","detail":{"errorcode":"keymanagement.invalid_token"}}}`, "keymanagement.invalid_token", "Invalid access token", ""},
		"Heat":                            {404, `{"explanation":"It is not there.","code":404,"title":"Not Found"}`, "", "It is not there.", ""},
		"a reason in an object":           {409, `{"conflict":{"reason":"The name is in use."}}`, "", "The name is in use.", ""},
		"a message in a message":          {400, `{"message":{"message":"x","code":"IAM.0011","request_id":"r"}}`, "IAM.0011", "x", "r"},
		"a message in error_msg":          {400, `{"error_code":"IAM.0011","error_msg":{"message":"x","code":"B.2"}}`, "IAM.0011", "x", ""},
		"a message under an unknown name": {400, `{"message":{"en":"No such user."}}`, "", "No such user.", ""},
		"an array of messages":            {400, `{"message":["first","second"]}`, "", "first", ""},
		"FastAPI":                         {422, `{"detail":[{"loc":["body","name"],"msg":"field required","type":"value_error"}]}`, "", "field required", ""},
		"an array in error":               {400, `{"error":[{"code":"IAM.0011","message":"x"}]}`, "IAM.0011", "x", ""},
		"an array of errors, the first one empty":   {400, `{"errors":[{},{"code":"IAM.0011","message":"x"}]}`, "IAM.0011", "x", ""},
		"errors by field":                           {400, `{"errors":{"name":["is too short"]}}`, "", "is too short", ""},
		"errors by field, as objects":               {400, `{"errors":{"name":[{"code":"IAM.0011","message":"x"}]}}`, "IAM.0011", "x", ""},
		"errors as a string":                        {400, `{"errors":"no such user"}`, "", "no such user", ""},
		"an error in an error":                      {400, `{"error":{"error":{"code":"IAM.0011","message":"x"}}}`, "IAM.0011", "x", ""},
		"an inner error":                            {400, `{"error":{"innererror":{"code":"IAM.0011","message":"x"}}}`, "IAM.0011", "x", ""},
		"an error with an unknown name":             {400, `{"status":1,"serverError":{"info":{"msg":"x"}},"meta":{"a":1}}`, "", "x", ""},
		"an error next to another object":           {409, `{"conflictingRequest":{"code":"A.1","message":"x"},"meta":{"a":1}}`, "A.1", "x", ""},
		"an array at the top level":                 {400, `[{"error_code":"IAM.0011","error_msg":"x","request_id":"r"}]`, "IAM.0011", "x", "r"},
		"an array of strings at the top level":      {400, `["a text"]`, "", "", ""},
		"an array of strings, in a string":          {400, `"[\"a text\"]"`, "", "", ""},
		"an array of errors, in a string":           {400, `{"errors":"[{\"message\":\"x\",\"code\":\"A.1\"}]"}`, "A.1", "x", ""},
		"an array of messages, in a string":         {400, `{"message":"[\"first\",\"second\"]"}`, "", "first", ""},
		"a list in brackets that is not JSON":       {400, `{"message":"[\"bob\"] was not found"}`, "", `["bob"] was not found`, ""},
		"a message that begins with a bracket":      {400, `{"message":"[ERROR] no such user"}`, "", "[ERROR] no such user", ""},
		"JSON without a message in the message":     {400, `{"error_code":"A.1","error_msg":"{\"id\":\"a b\"}"}`, "A.1", "\ufffd", ""},
		"Jira":                                      {400, `{"errorMessages":["The issue is closed."],"errors":{}}`, "", "The issue is closed.", ""},
		"details":                                   {400, `{"error_code":"A.1","details":"x"}`, "A.1", "x", ""},
		"OData":                                     {400, `{"error":{"code":"A.1","message":{"lang":"en","value":"No such user."}}}`, "A.1", "No such user.", ""},
		"OData, in another order":                   {400, `{"error":{"code":"A.1","message":{"value":"No such user.","lang":"en"}}}`, "A.1", "No such user.", ""},
		"Spring's errors of each field":             {400, `{"status":400,"error":"Bad Request","errors":[{"codes":["NotNull.x"],"defaultMessage":"must not be null"}]}`, "", "must not be null", ""},
		"errors of a field that holds a secret":     {422, `{"errors":{"password":["is too short"]}}`, "", "is too short", ""},
		"flask-smorest":                             {422, `{"code":422,"errors":{"json":{"name":["Missing data for required field."]}},"status":"Unprocessable Entity"}`, "", "Missing data for required field.", ""},
		"flask-smorest, in the query":               {422, `{"code":422,"errors":{"query":{"page":["Not a valid integer."]}}}`, "", "Not a valid integer.", ""},
		"flask-smorest, a nested field":             {422, `{"errors":{"json":{"user":{"password":["Shorter than 8."]}}}}`, "", "Shorter than 8.", ""},
		"errors by field, nested":                   {400, `{"errors":{"user":{"name":["is too short"]}}}`, "", "is too short", ""},
		"errors by field, nested in a message":      {400, `{"message":{"user":{"name":["is too short"]}}}`, "", "is too short", ""},
		"errors by field, nested in an error":       {400, `{"error":{"errors":{"user":{"name":["is too short"]}}}}`, "", "is too short", ""},
		"an array of errors by field":               {400, `{"errors":[{"name":["is too short"]}]}`, "", "is too short", ""},
		"an error by field":                         {400, `{"error":{"name":["too short"]}}`, "", "too short", ""},
		"details by field":                          {400, `{"detail":{"name":["is too short"]}}`, "", "is too short", ""},
		"details by field, next to codes":           {400, `{"detail":{"codes":["short"],"name":["is too short"]}}`, "", "is too short", ""},
		"errors of a field named data":              {400, `{"errors":{"data":["is not valid here"]}}`, "", "is not valid here", ""},
		"errors of a field named value":             {400, `{"errors":{"value":["is not valid here"]}}`, "", "is not valid here", ""},
		"errors of a field named request":           {400, `{"errors":{"request":["is not valid here"]}}`, "", "is not valid here", ""},
		"errors of a field named auth":              {400, `{"errors":{"auth":["is not valid here"]}}`, "", "is not valid here", ""},
		"an info in an error":                       {401, `{"success":false,"error":{"code":"x1","info":"You have no key."}}`, "x1", "You have no key.", ""},
		"an info without a code":                    {404, `{"name":"bob","info":"x y"}`, "", "", ""},
		"HAL's errors":                              {404, `{"message":"Not Found","_embedded":{"errors":[{"message":"No such page."}]}}`, "", "No such page.", ""},
		"a time in an error":                        {403, `{"error":{"timestamp":"2026-01-01 10:00:00","status":403}}`, "", "", ""},
		"a link in an error":                        {500, `{"error":{"type":"INTERNAL","documentation":"see https://x/y for more"}}`, "", "", ""},
		"a message after many empty objects":        {400, `{"error":{` + strings.Repeat(`"a":{},`, 31) + `"b":{"message":"x"}}}`, "", "x", ""},
		"a message after too many objects":          {400, `{"error":{` + strings.Repeat(`"a":{},`, 32) + `"b":{"message":"x"}}}`, "", "", ""}, // to search all would take too long
		"a message after too many arrays":           {400, `{"errors":{` + strings.Repeat(`"a":[],`, 32) + `"b":["x y"]}}`, "", "", ""},
		"an error after many members":               {400, `{` + strings.Repeat(`"a":{},"b":"c",`, 100) + `"anError":{"message":"x"}}`, "", "x", ""},
		"errors after many texts":                   {400, `{"error":{` + strings.Repeat(`"a":"b",`, 100) + `"c":{"message":"x"}}}`, "", "x", ""},
		"a message nested too deeply":               {400, `{"error":` + strings.Repeat(`{"a":`, 10) + `{"message":"x"}` + strings.Repeat("}", 11), "", "", ""},
		"a code and no message in nested objects":   {400, `{"error":{"a":{"type":"x","code":"y"}}}`, "", "", ""},
		"the requested objects instead of an error": {409, `{"users":[{"name":"bob the builder","message":"x y"}],"links":{"next":"a b"}}`, "", "", ""},

		"WebOb":                                      {404, `{"message": "The resource could not be found.<br /><br />\n\n\n", "code": "404 Not Found", "title": "Not Found"}`, "", "The resource could not be found.", ""},
		"WebOb, with another status in the code":     {401, `{"message": "x", "code": "403 Forbidden", "title": "Forbidden"}`, "", "x", ""},
		"code is the status with another text":       {429, `{"message": "x", "code": "429 Rate Limited"}`, "", "x", ""},
		"code is the status before a colon":          {429, `{"message": "x", "code": "429: slow"}`, "", "x", ""},
		"code begins with the digits of the status":  {404, `{"message": "x", "code": "4041"}`, "4041", "x", ""},
		"code is the status with a fraction":         {404, `{"message": "x", "code": "404.7"}`, "404.7", "x", ""},
		"Spring":                                     {403, `{"timestamp":"2026-11-28T00:00:00Z","status":403,"error":"Forbidden","message":"Access Denied","path":"/v3"}`, "", "Access Denied", ""},
		"Spring, without a message":                  {403, `{"timestamp":"2026-11-28T00:00:00Z","status":403,"error":"Forbidden","path":"/v3"}`, "", "Forbidden", ""},
		"Spring, with another status":                {400, `{"status":409,"error":"Conflict","message":""}`, "", "Conflict", ""},
		"Spring, status text of three words":         {500, `{"status":500,"error":"Internal Server Error","message":"No message available"}`, "", "No message available", ""},
		"Spring, unknown status":                     {500, `{"status":999,"error":"None","message":"x"}`, "", "x", ""},
		"status text next to a code":                 {403, `{"error":"Forbidden","code":"A.1"}`, "A.1", "Forbidden", ""},
		"status text as the code":                    {403, `{"error":{"code":"Forbidden","message":"x"}}`, "", "x", ""},
		"status text in one word":                    {404, `{"error_code":"NotFound","error_msg":"x"}`, "", "x", ""},
		"status title of the IAM documentation":      {504, `{"error_code":"ServerTimeout","error_msg":"x"}`, "", "x", ""},
		"status text in snake case":                  {429, `{"error":"too_many_requests"}`, "", "too_many_requests", ""},
		"an OAuth code that contains a status text":  {403, `{"error":"forbidden_client"}`, "forbidden_client", "", ""},
		"code is the status after HTTP":              {404, `{"code":"HTTP 404","message":"x"}`, "", "x", ""},
		"code is the status after HTTP_":             {404, `{"code":"HTTP_404","message":"x"}`, "", "x", ""},
		"code is the status after HTTP, with text":   {404, `{"error":{"code":"HTTP 404: Not Found","message":"x"}}`, "", "x", ""},
		"a code that begins with HTTP":               {404, `{"code":"HTTP_4040","message":"x"}`, "HTTP_4040", "x", ""},
		"a code that is a status text with a suffix": {404, `{"code":"NotFound.User","message":"x"}`, "NotFound.User", "x", ""},

		"errCode and errMsg":                     {400, `{"errCode":"A.1","errMsg":"x"}`, "A.1", "x", ""},
		"errcode and errmsg":                     {400, `{"errcode":40029,"errmsg":"invalid code"}`, "40029", "invalid code", ""},
		"errorCode and errorMessage":             {400, `{"errorCode":"A.1","errorMessage":"x","requestId":"r"}`, "A.1", "x", "r"},
		"errorCode and errorMsg":                 {400, `{"errorCode":"A.1","errorMsg":"x"}`, "A.1", "x", ""},
		"err_code and err_msg":                   {400, `{"err_code":"A.1","err_msg":"x"}`, "A.1", "x", ""},
		"error_message":                          {400, `{"error_code":"A.1","error_message":"x"}`, "A.1", "x", ""},
		"ErrorCode and ErrorMessage":             {400, `{"ErrorCode":"A.1","ErrorMessage":"x","RequestId":"r"}`, "A.1", "x", "r"},
		"Code and Message":                       {400, `{"Code":"A.1","Message":"x"}`, "A.1", "x", ""},
		"code, msg and traceId":                  {500, `{"code":"A.1","msg":"x","traceId":"r"}`, "A.1", "x", "r"},
		"errCode and errMsg in error":            {400, `{"error":{"errCode":"A.1","errMsg":"x","request-id":"r"}}`, "A.1", "x", "r"},
		"errorCode and errorMessage in an array": {400, `{"errors":[{"errorCode":"A.1","errorMessage":"x"}]}`, "A.1", "x", ""},
		"message wins over msg and Message":      {400, `{"msg":"no","message":"x","Message":"no"}`, "", "x", ""},
		"msg if message is null":                 {400, `{"msg":"x","message":null,"error_code":null,"errCode":"A.1"}`, "A.1", "x", ""},
		"retCode and retMsg":                     {400, `{"retCode":"A.1","retMsg":"no such user"}`, "A.1", "no such user", ""},
		"returnCode and returnMsg":               {400, `{"return_code":"A.1","return_msg":"no such user"}`, "A.1", "no such user", ""},
		"resultCode and resultMessage":           {400, `{"resultCode":"A.1","resultMessage":"no such user"}`, "A.1", "no such user", ""},
		"code and a message for users":           {400, `{"code":"A.1","developerMessage":"","userMessage":"no such user","statusMsg":"x"}`, "A.1", "no such user", ""},
		"a message for users in an error":        {400, `{"error":{"code":"A.1","userMessage":"no such user"}}`, "A.1", "no such user", ""},
		"a message for users within a name":      {400, `{"x":{"code":"A.1","userMessage":"no such user","title":"no"}}`, "A.1", "no such user", ""},
		"a code and a message in the request":    {400, `{"code":"A.1","originalMessage":"a secret"}`, "A.1", "", ""},
		"a message of the requested resource":    {409, `{"name":"bob","userMessage":"hello there"}`, "", "", ""},
		"a resource's code and message":          {409, `{"user":{"code":"7","userMessage":"hello there"}}`, "7", "", ""},
		"code next to an object errorInfo":       {400, `{"code":"A.1","errorInfo":{"message":"no such user"}}`, "A.1", "no such user", ""},
		"only an object errorInfo":               {400, `{"error_info":{"code":"A.1","message":"no such user"}}`, "A.1", "no such user", ""},
		"errors array of sentences":              {403, `{"errors":["permission denied"]}`, "", "permission denied", ""},

		"fault and faultstring":           {503, `{"fault":{"faultstring":"x","detail":{"errorcode":"messaging.adaptors"}}}`, "messaging.adaptors", "x", ""},
		"an array of errors":              {400, `[{"error_code":"A.1","error_msg":"x","request_id":"r"},{"error_msg":"y"}]`, "A.1", "x", "r"},
		"an array of errors in error":     {400, ` {"error": [{"code":"A.1","message":"x"}]}`, "A.1", "x", ""},
		"an empty array":                  {400, `[]`, "", "", ""},
		"plain text in a string":          {404, `"no such \"user\""`, "", `no such "user"`, ""},
		"plain text in a string, cut off": {404, `"no such user`, "", "no such user", ""},
		"an empty string":                 {404, `""`, "", "", ""},
		"HTML in a string":                {404, `"<html>no</html>"`, "", "", ""},
		"encoded_authorization_message is left out of the text": {403, `{"error_code":"PAP5.0013","error_msg":"x","encoded_authorization_message":"Egpjbi1ub"}`, "PAP5.0013", "x", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			e := iamhttp.NewStatusError(tt.status, http.Header{"Content-Type": {"application/json"}}, []byte(tt.body))
			assert.Equal(t, tt.code, e.ServiceCode, "ServiceCode")
			assert.Equal(t, tt.message, e.Message, "Message")
			assert.Equal(t, tt.requestID, e.RequestID, "RequestID")
			assert.Equal(t, tt.body, string(e.Body()))
			assert.NotContains(t, e.Error(), "Egpjbi1ub")
		})
	}
}

func TestErrorBodiesOfOtherCloudsAndOfFrameworksAreParsed(t *testing.T) {
	for name, tt := range map[string]struct {
		status                   int
		body                     string
		code, message, requestID string
	}{
		"Google":                             {401, `{"error":{"code":401,"message":"Request had invalid authentication credentials.","status":"UNAUTHENTICATED","details":[{"@type":"x","reason":"y"},{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"ACCESS_TOKEN_EXPIRED","domain":"googleapis.com"}]}}`, "ACCESS_TOKEN_EXPIRED", "Request had invalid authentication credentials.", ""},
		"gRPC's gateway":                     {403, `{"code":7,"message":"No.","details":[{"reason":"A_B","@type":"type.googleapis.com/google.rpc.ErrorInfo"}]}`, "7", "No.", ""},
		"gRPC's gateway without a code":      {403, `{"message":"No.","details":[{"reason":"A_B","@type":"type.googleapis.com/google.rpc.ErrorInfo"}]}`, "A_B", "No.", ""},
		"details of another kind":            {403, `{"message":"No.","details":[{"reason":"A_B","@type":"type.googleapis.com/google.rpc.Help"}]}`, "", "No.", ""},
		"AWS":                                {400, `{"__type":"ThrottlingException","message":"Rate exceeded"}`, "ThrottlingException", "Rate exceeded", ""},
		"AWS, with a namespace":              {403, `{"__type":"com.amazon.coral.service#ExpiredTokenException","message":"x"}`, "ExpiredTokenException", "x", ""},
		"AWS, without a name":                {403, `{"__type":"com.amazon.coral.service#","message":"x"}`, "", "x", ""},
		"AWS, next to a code":                {403, `{"__type":"A#B","code":"A#1","message":"x"}`, "A#1", "x", ""},
		"Microsoft Graph":                    {401, `{"error":{"code":"A1","message":"No.","innerError":{"request-id":"g1","client-request-id":"g2"}}}`, "A1", "No.", "g1"},
		"IONOS":                              {409, `{"httpStatus":409,"messages":[{"errorCode":"paas-dns-rest-0513","message":"the zone has too many operations in progress, please retry later"}]}`, "paas-dns-rest-0513", "the zone has too many operations in progress, please retry later", ""},
		"VMware":                             {404, `{"type":"com.vmware.vapi.std.errors.not_found","value":{"messages":[{"args":["s3cr3t words"],"default_message":"Datacenter with identifier 'datacenter-21' does not exist.","id":"x"}]}}`, "", "Datacenter with identifier 'datacenter-21' does not exist.", ""},
		"VMware, newer":                      {400, `{"error_type":"INVALID_ARGUMENT","messages":[{"args":["s3cr3t words"],"default_message":"The value is not valid.","id":"vapi.x"}]}`, "", "The value is not valid.", ""},
		"messages of the requested resource": {409, `{"messages":[{"from":"bob","message":"hello there"}]}`, "", "", ""},
		"messages of the requested resource, in a value": {409, `{"value":{"messages":[{"from":"bob","message":"hello there"}]}}`, "", "", ""},
		"IBM":                                      {401, `{"httpCode":"401","httpMessage":"Unauthorized","moreInformation":"Invalid client id or secret."}`, "", "Invalid client id or secret.", ""},
		"IBM, without more information":            {401, `{"httpCode":"401","httpMessage":"No such client"}`, "", "No such client", ""},
		"IBM, next to a message":                   {404, `{"error":"User not found","moreInformation":"https://docs.example.com/a b"}`, "", "User not found", ""},
		"IBM, next to a better message":            {403, `{"error":"The account is locked.","moreInformation":"Ask your administrator."}`, "", "The account is locked.", ""},
		"IBM, next to a list":                      {400, `{"error":"Bad Request","message":["name is missing"],"moreInformation":"See the documentation."}`, "", "name is missing", ""},
		"IBM, only a link":                         {401, `{"httpMessage":"Unauthorized","moreInformation":"https://docs.example.com/a b"}`, "", "Unauthorized", ""},
		"IBM, of the requested resource":           {409, `{"name":"bob","moreInformation":"s3cr3t words"}`, "", "", ""},
		"IBM, only a status":                       {401, `{"httpCode":"401","httpMessage":"Unauthorized","moreInformation":""}`, "", "Unauthorized", ""},
		"Kong's JWT plugin":                        {401, `{"exp":"token expired"}`, "", "token expired", ""},
		"Kong's JWT plugin, too early":             {401, `{"nbf":"token not valid yet"}`, "", "token not valid yet", ""},
		"an exp next to another member":            {401, `{"exp":"a b","sub":"c d"}`, "", "", ""},
		"an exp that is a time":                    {401, `{"exp":1795867230}`, "", "", ""},
		"an exp that is one word":                  {401, `{"exp":"soon"}`, "", "", ""},
		"ASP.NET":                                  {400, `{"type":"https://tools.ietf.org/html/rfc9110#section-15.5.1","title":"One or more validation errors occurred.","status":400,"errors":{"Name":["The Name field is required."]},"traceId":"00-1"}`, "", "The Name field is required.", "00-1"},
		"ASP.NET, without errors":                  {400, `{"title":"One or more validation errors occurred.","status":400}`, "", "One or more validation errors occurred.", ""},
		"GitHub":                                   {422, `{"message":"Validation Failed","errors":[{"resource":"Repository","code":"custom","field":"name","message":"name already exists on this account"}],"status":"422"}`, "custom", "name already exists on this account", ""},
		"GitHub, without a message":                {422, `{"message":"Validation Failed","errors":[{"resource":"Issue","field":"title","code":"missing_field"}]}`, "missing_field", "Validation Failed", ""},
		"Quarkus":                                  {400, `{"title":"Constraint Violation","status":400,"violations":[{"field":"create.user.name","message":"must not be blank"}]}`, "", "must not be blank", ""},
		"invalid parameters of RFC 7807":           {400, `{"title":"Your request parameters didn't validate.","invalid-params":[{"name":"age","reason":"must be positive"}]}`, "", "must be positive", ""},
		"violations next to a detail":              {400, `{"title":"Validation failed","detail":"The body has invalid fields","violations":[{"field":"x","message":"must be positive"}]}`, "", "The body has invalid fields", ""},
		"Laravel":                                  {422, `{"message":"The given data was invalid.","errors":{"email":["The email has already been taken."]}}`, "", "The email has already been taken.", ""},
		"Laravel, a secret field":                  {422, `{"message":"The given data was invalid.","errors":{"password":["is too short"],"token":"s3cr3t words"}}`, "", "is too short", ""},
		"Designate":                                {400, `{"message": "Provided object does not match schema", "code": 400, "type": "invalid_object", "errors": {"errors": [{"path": ["name"], "message": "'example' is not a 'domainname'"}]}, "request_id": "req-5"}`, "", "'example' is not a 'domainname'", "req-5"},
		"a code that is a generic sentence":        {400, `{"error":"validation_failed","message":"Validation failed"}`, "validation_failed", "Validation failed", ""},
		"a generic sentence and a resource":        {400, `{"message":"Validation error","user":{"code":"7","message":"s3cr3t text with spaces"}}`, "", "Validation error", ""},
		"a generic sentence and a title":           {400, `{"message":"Error","title":"s3cr3t words","description":"s3cr3t words","reason":"s3cr3t words","userMessage":"s3cr3t words"}`, "", "Error", ""},
		"a generic error and a resource":           {400, `{"error":"Validation error","user":{"code":"7","message":"s3cr3t text with spaces"}}`, "", "Validation error", ""},
		"a generic description and a title":        {400, `{"code":"X","description":"Error","title":"s3cr3t words"}`, "X", "Error", ""},
		"a generic sentence and HAL":               {400, `{"message":"Validation failed","_embedded":{"errors":[{"message":"name is missing"}]}}`, "", "name is missing", ""},
		"a generic sentence and a resource in HAL": {400, `{"message":"Validation failed","_embedded":{"user":{"message":"s3cr3t words"}}}`, "", "Validation failed", ""},
		"a generic sentence in an error":           {400, `{"error":{"message":"Invalid input","title":"s3cr3t words","user":{"message":"s3cr3t words"},"fieldErrors":{"name":"is too short"}}}`, "", "is too short", ""},
		"a generic sentence and more":              {400, `{"message":"Validation failed for name","errors":["x y"]}`, "", "Validation failed for name", ""},
		"SCIM":                                     {409, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"scimType":"uniqueness","detail":"The value is in use.","status":"409"}`, "uniqueness", "The value is in use.", ""},
	} {
		e := iamhttp.NewStatusError(tt.status, nil, []byte(tt.body))
		assert.Equal(t, tt.code, e.ServiceCode, "ServiceCode: %s", name)
		assert.Equal(t, tt.message, e.Message, "Message: %s", name)
		assert.Equal(t, tt.requestID, e.RequestID, "RequestID: %s", name)
		assert.NotContains(t, e.Error(), "s3cr3t", name)
	}
}

func TestStatusTextIsNotTakenForAServiceCode(t *testing.T) {
	for n := 100; n < 600; n++ {
		title := iamhttp.Classify(n).Title
		for _, phrase := range []string{http.StatusText(n), title, strings.ToLower(title), strings.ReplaceAll(title, " ", "_"), fmt.Sprint(n, " ", title)} {
			if strings.TrimSpace(phrase) == fmt.Sprint(n) || phrase == "" || n == 306 {
				continue
			}
			for _, form := range []string{`{"error":%q,"message":"m"}`, `{"code":%q,"message":"m"}`, `{"error":{"code":%q,"message":"m"}}`} {
				e := iamhttp.NewStatusError(400, nil, fmt.Appendf(nil, form, phrase))
				assert.Empty(t, e.ServiceCode, phrase)
				assert.Equal(t, "m", e.Message)
			}
		}
	}
}

// Such characters are in texts that somebody has copied, for example.
func TestInvisibleCharactersInACodeOrMessageChangeNothing(t *testing.T) {
	for _, invisible := range []string{`\u200b`, `\u0000`, `\ufeff`, `\u202e`, "\x7f", "\u2060", `\u00a0`, `\u3000`} {
		texts := []string{"%sForbidden", "Forbidden%s", "403%s", "%s403", "HTTP 403%s", "HTTP%s 403", "%s"}
		if space := invisible == `\u00a0` || invisible == `\u3000`; !space {
			texts = append(texts, "For%sbidden", "4%s03")
		}
		for _, pattern := range texts {
			text := fmt.Sprintf(pattern, invisible)
			for _, form := range []string{`{"code":"%s","message":"m"}`, `{"error":"%s","message":"m"}`, `{"error":{"code":"%s","message":"m"}}`, `{"error_code":"%s","message":"m"}`} {
				e := iamhttp.NewStatusError(400, nil, fmt.Appendf(nil, form, text))
				assert.Empty(t, e.ServiceCode, form, text)
				assert.Equal(t, "m", e.Message, form, text)
			}
			e := iamhttp.NewStatusError(400, nil, fmt.Appendf(nil, `{"error_code":"%s","code":"A.1","message":"%s","detail":"m","request_id":"%s","error":{"request_id":"r"}}`, text, text, invisible))
			assert.Equal(t, "A.1", e.ServiceCode, text)
			assert.Equal(t, "m", e.Message, text)
			assert.Equal(t, "r", e.RequestID, text)
		}
	}
}

func TestAnErrorOfSeveralWordsIsTheMessageWhateverSeparatesThem(t *testing.T) {
	for _, space := range []string{" ", `\u00a0`, `\u3000`, `\t`, `\n`} {
		e := iamhttp.NewStatusError(400, nil, fmt.Appendf(nil, `{"error":"no%ssuch%suser"}`, space, space))
		assert.Empty(t, e.ServiceCode, space)
		assert.Equal(t, "no such user", e.Message, space)
	}
}

func TestNumberOfAnyStatusIsNotTakenForAServiceCode(t *testing.T) {
	for raw, want := range map[string]string{
		`400`: "", `500`: "", `"404"`: "", `200`: "", `"100"`: "", `599`: "", // of the response itself (400), of other responses, and unassigned ones
		`400.0`: "", `404.0`: "", `"404.00"`: "", `" 404"`: "", `"404\n"`: "", `"\u00340\u0034"`: "",
		`99`: "99", `099`: "099", `600`: "600", `999`: "999", `1103`: "1103", `4040`: "4040", `40400`: "40400", `-404`: "-404", // not statuses
		`404.1`: "404.1", `400.1`: "400.1", `404.01`: "404.01", `404.10`: "404.10", `"404-1"`: "404-1", `"400-0"`: "400-0", `"E404"`: "E404", `"404x"`: "404x", `4e2`: "4e2",
	} {
		for _, form := range []string{`{"code":%s,"message":"m"}`, `{"error_code":%s,"error_msg":"m"}`, `{"error":{"code":%s,"message":"m"}}`, `{"errors":[{"code":%s,"detail":"m"}]}`, `{"error":%s,"message":"m"}`} {
			e := iamhttp.NewStatusError(400, nil, fmt.Appendf(nil, form, raw))
			assert.Equal(t, want, e.ServiceCode, "the body is "+form, raw)
			assert.Equal(t, "m", e.Message)
		}
	}
	e := iamhttp.NewStatusError(400, nil, []byte(`{"error_code":"404","code":"IAM.0011"}`))
	assert.Equal(t, "IAM.0011", e.ServiceCode, "a number that names a status must not hide a service code")
}

func TestShortPlainTextBodyBecomesTheMessage(t *testing.T) {
	for _, tt := range []struct{ contentType, body, want string }{
		{"text/plain", "upstream connect error or disconnect/reset before headers", "upstream connect error or disconnect/reset before headers"},
		{"text/plain; charset=utf-8", "404 page not found\n", "404 page not found"},
		{"TEXT/PLAIN;charset=UTF-8", "\n  one\r\n\ttwo\n", "one two"},
		{" text/plain ", "Zugriff verweigert: ü", "Zugriff verweigert: ü"},
		{"text/plain", "\ufeffx", "x"},
		{"text/plain", "a < b, and b > a", "a < b, and b > a"},
		{"text/plain", "value <nil> not allowed", "value <nil> not allowed"},
		{"text/plain", `"bob" was not found`, `"bob" was not found`},
		{"text/plain", "[ERROR] user not found", "[ERROR] user not found"},
		{"text/plain", `["bob"] was not found`, `["bob"] was not found`},
		{"application/json", `"\"bob\" was not found"`, `"bob" was not found`},
		{"text/plain", strings.Repeat("x", 512), strings.Repeat("x", 512)},
		{"text/plain", "cut of\xc3", "cut of"},
		{"text/plain", `{"message":"JSON declared as text"}`, "JSON declared as text"},
		{"text/html; charset=UTF-8", "Rate Limit Exceeded", "Rate Limit Exceeded"}, // SAP's rate limit

		{"text/plain", strings.Repeat("x", 513), ""},
		{"text/plain", "", ""},
		{"text/plain", " \n", ""},
		{"text/plain", "-- 42 --", ""},
		{"text/plain", "null", ""},
		{"text/plain", `{"x":1}`, ""},
		{"text/plain", `["x"]`, ""},
		{"text/plain", `["x y`, ""},
		{"text/plain", "[42]", ""},
		{"text/plain", "[{\"x\":\"a b\"}]\n[{\"x\":\"c d\"}]", ""},
		{"application/json", `"bob" was not found`, ""},
		{"text/html", "value <nil> not allowed", ""},
		{"text/plain", `"x"`, ""},
		{"text/plain", "<html>x</html>", ""},
		{"text/plain", "<?xml version='1.0'?>", ""},
		{"text/plain", "no <b>text</b>", ""},
		{"text/plain", "a\x00b", ""},
		{"text/plain", "\x1b[31mred", ""},
		{"text/plain", "a\u202eb", ""},
		{"text/plain", "a\xffb", ""},
		{"text/plain", "\x1f\x8b\b", ""},
		{"text/html", "<h1>Forbidden</h1>", ""},
		{"text/html", "Forbidden&nbsp;", ""},
		{"", "upstream connect error", ""},
		{"application/json", "upstream connect error", ""},
		{"application/octet-stream", "upstream connect error", ""},
		{"text/plainer", "upstream connect error", ""},
	} {
		e := iamhttp.NewStatusError(503, http.Header{"Content-Type": {tt.contentType}}, []byte(tt.body))
		assert.Equal(t, tt.want, e.Message, "wrong Message for Content-Type %s and body %q", tt.contentType, tt.body)
		assert.Empty(t, e.ServiceCode)
		assert.Equal(t, tt.body, string(e.Body()))
	}
}

func TestCompressedBodyIsParsedAndReturnedUnchanged(t *testing.T) {
	const plain = `{"error":{"code":404,"message":"Could not find user: x."}}`
	raw := func(b []byte) []byte {
		var buf bytes.Buffer
		w, err := flate.NewWriter(&buf, flate.BestCompression)
		require.NoError(t, err)
		_, err = w.Write(b)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		return buf.Bytes()
	}
	framed := func(b []byte) []byte {
		var buf bytes.Buffer
		w := zlib.NewWriter(&buf)
		_, err := w.Write(b)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		return buf.Bytes()
	}
	long := gzipped(t, []byte(`{"message":"`+strings.Repeat("0123456789 Could not find user. ", 20)+`"}`))
	for name, tt := range map[string]struct {
		encoding string
		body     []byte
		want     string
	}{
		"gzip":                                      {"gzip", gzipped(t, []byte(plain)), "Could not find user: x."},
		"gzip in capital letters":                   {" GZIP ", gzipped(t, []byte(plain)), "Could not find user: x."},
		"x-gzip":                                    {"x-gzip", gzipped(t, []byte(plain)), "Could not find user: x."},
		"gzip, cut off":                             {"gzip", long[:len(long)-12], strings.TrimSpace(strings.Repeat("0123456789 Could not find user. ", 20))},
		"declared as gzip but not compressed":       {"gzip", []byte(plain), "Could not find user: x."},
		"gzip without a body":                       {"gzip", nil, ""},
		"corrupt gzip":                              {"gzip", []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03broken"), ""},
		"deflate":                                   {"deflate", framed([]byte(plain)), "Could not find user: x."},
		"raw deflate without the zlib header":       {"deflate", raw([]byte(plain)), "Could not find user: x."},
		"declared as deflate but not compressed":    {"deflate", []byte(plain), "Could not find user: x."},
		"identity":                                  {"identity", []byte(plain), "Could not find user: x."},
		"unknown encoding":                          {"br", []byte("\x0b\x02\x80"), ""},
		"two encodings":                             {"gzip, gzip", gzipped(t, gzipped(t, []byte(plain))), "Could not find user: x."},
		"two different encodings":                   {"deflate, GZIP", gzipped(t, framed([]byte(plain))), "Could not find user: x."},
		"gzip and identity":                         {"gzip, identity", gzipped(t, []byte(plain)), "Could not find user: x."},
		"identity and gzip":                         {"identity,gzip", gzipped(t, []byte(plain)), "Could not find user: x."},
		"an unknown encoding inside gzip":           {"br, gzip", gzipped(t, []byte("\x0b\x02\x80")), ""},
		"four encodings, one more than are decoded": {"gzip" + strings.Repeat(", gzip", 3), gzipped(t, gzipped(t, gzipped(t, gzipped(t, []byte(plain))))), ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := iamhttp.NewStatusError(404, http.Header{"Content-Encoding": {tt.encoding}}, tt.body)
			assert.True(t, e.Message == tt.want || strings.Contains(name, "cut off") && len(e.Message) > 100 && strings.HasPrefix(tt.want, e.Message), "wrong Message: %q", e.Message)
			assert.Equal(t, string(tt.body), string(e.Body()))
		})
	}
	t.Run("short plain text", func(t *testing.T) {
		h := http.Header{"Content-Encoding": {"gzip"}, "Content-Type": {"text/plain"}}
		assert.Equal(t, "no such user", iamhttp.NewStatusError(404, h, gzipped(t, []byte("no such user"))).Message)
	})
	t.Run("with PassThrough", func(t *testing.T) {
		body := gzipped(t, []byte(plain))
		ctx, rec := iamhttp.WithRecorder(t.Context())
		req := newRequest(t, "GET", "").WithContext(ctx)
		req.Header.Set("Accept-Encoding", "gzip")
		resp, err := (&iamhttp.Transport{PassThrough: true, Base: script(answer(404, string(body), "Content-Encoding: gzip"))}).RoundTrip(req)
		require.NoError(t, err)
		handed, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Equal(t, body, handed)
		assert.Equal(t, "gzip", resp.Header.Get("Content-Encoding"))
		e, ok := rec.Last()
		require.True(t, ok)
		assert.Equal(t, "Could not find user: x.", e.Message)
	})
}

func TestParsingAGzipBombAllocatesLessThan1MiB(t *testing.T) {
	bomb := gzipped(t, append([]byte(`{"message":"`), make([]byte, 20<<20)...))
	require.Less(t, len(bomb), 64<<10)
	h := http.Header{"Content-Encoding": {"gzip"}}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	e := iamhttp.NewStatusError(404, h, bomb)
	runtime.ReadMemStats(&after)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
	assert.LessOrEqual(t, len(e.Message), 64<<10)
}

func gzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, err := w.Write(b)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return buf.Bytes()
}

func FuzzErrorBody(f *testing.F) {
	for _, s := range []string{
		`{"error":{"code":404,"message":"Could not find user: x.","title":"Not Found"}}`,
		`{"error_msg":"x","error_code":"APIG.0308","request_id":"r"}`, `{"code":1109,"message":"a\nb"}`,
		`{"errors":[{"title":"t","detail":"d"}]}`, `{"error":"invalid_client","error_description":"x"}`,
		`{"title":"t","detail":"d"}`, `{"message":"a\ud83d\ude`, `<html>`, ``, `{"message":"\u202e"}`, "{\"message\":\"\xff\"}", `{"a":[{"b":"]}"}],"message":"m"}`,
		`{"NeutronError":{"message":"x"}}`, `{"itemNotFound":{"code":404,"message":"x"}}`, `"{\"error\":{\"message\":\"x\"}}"`,
		`{"error":"Forbidden"}`, `{"code":"400 Bad Request","message":"x<br />"}`, `{"errCode":"A.1","errMsg":"x"}`, `{"message":"{\"message\":\"x\"}"}`,
		`upstream connect error`, `a <b`, "cut of\xc3",
		`{"error":[{"detail":{"errors":{"name":["is too short"]}}}]}`, `{"fault":{"faultstring":"x","detail":{"errorcode":"y"}}}`, `["a",[{"msg":"x"}]]`, `"\"{}\""`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		body = body[:min(len(body), 64<<10)]
		e := iamhttp.NewStatusError(400, nil, body)
		asText := iamhttp.NewStatusError(400, http.Header{"Content-Type": {"text/plain"}}, body)
		for _, s := range []string{e.Message, e.ServiceCode, e.RequestID, asText.Message} {
			if len(s) > 3*len(body) || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
				t.Fatalf("this text is too long, is not UTF-8 or contains control characters: %q", s)
			}
		}
		if len(e.ServiceCode) > 128 || len(e.RequestID) > 128 {
			t.Fatal("ServiceCode or RequestID is longer than 128 bytes")
		}
		if s := e.Error(); strings.ContainsAny(s, "\r\n") || len(s) > 1400 {
			t.Fatalf("the error text has more than one line or more than 1400 bytes: %q", s)
		}
		if e.ServiceCode == "400" || e.ServiceCode == "Forbidden" {
			t.Fatalf("a status was taken for a service code: %q", e.ServiceCode)
		}
		// Plain text becomes the message only if it is short and there is no other
		// message.
		if asText.ServiceCode != e.ServiceCode || asText.RequestID != e.RequestID || asText.Message != e.Message && (e.Message != "" || len(asText.Message) > 512) {
			t.Fatalf("wrong error for text/plain: code %q, message %q; without Content-Type: code %q, message %q", asText.ServiceCode, asText.Message, e.ServiceCode, e.Message)
		}
		// Compressing the body does not change the error.
		packed := iamhttp.NewStatusError(400, http.Header{"Content-Encoding": {"gzip"}}, gzipped(t, body))
		if same := packed.Message == e.Message && packed.ServiceCode == e.ServiceCode && packed.RequestID == e.RequestID; !same && len(gzipped(t, body)) <= 64<<10 {
			t.Fatalf("compression changed the error: %q if compressed, %q if not", packed, e)
		}
		if bytes.HasPrefix(body, []byte("{")) && utf8.Valid(body) {
			inString, err := json.Marshal(string(body))
			if err != nil {
				t.Fatal(err)
			}
			within := iamhttp.NewStatusError(400, nil, inString)
			if len(inString) <= 64<<10 && (within.Message != e.Message || within.ServiceCode != e.ServiceCode || within.RequestID != e.RequestID) {
				t.Fatalf("wrapping the body in a JSON string changed the error: %q if wrapped, %q if not", within, e)
			}
		}
		// If the body is JSON, encoding/json must find the same message.
		var o struct {
			Message   *string `json:"message"`
			ErrorMsg  any     `json:"error_msg"`
			RequestID any     `json:"request_id"`
		}
		var names map[string]json.RawMessage
		if json.Unmarshal(body, &names) != nil || json.Unmarshal(body, &o) != nil || o.Message == nil || *o.Message == "" || o.ErrorMsg != nil {
			return
		}
		for name := range names {
			// Skip bodies that contain another name for a message, such as Message or msg.
			if plain := strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(name)); name != "message" && slices.Contains([]string{"message", "msg", "errormsg", "errmsg", "errormessage", "errmessage"}, plain) {
				return
			}
		}
		if names["message"] == nil || iamhttp.NewStatusError(400, nil, fmt.Appendf(nil, `{"message":%s,"detail":"d"}`, names["message"])).Message == "d" {
			return // any other text is a better message than a status
		}
		if bytes.Count(body, []byte("message")) != 1 || strings.Contains(*o.Message, "<br") || bytes.ContainsFunc(body, func(r rune) bool { return r == '\\' || r == utf8.RuneError }) {
			return
		}
		if want := strings.Join(strings.Fields(*o.Message), " "); strings.Join(strings.Fields(e.Message), " ") != want && !strings.ContainsFunc(want, func(r rune) bool {
			return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
		}) {
			t.Fatalf("got the message %q, want %q", e.Message, want)
		}
	})
}

func TestRequestIDComesFromTheFirstHeaderThatHasOne(t *testing.T) {
	body := []byte(`{"request_id":"body"}`)
	h := http.Header{}
	want := func(id string) {
		t.Helper()
		assert.Equal(t, id, iamhttp.NewStatusError(500, h, body).RequestID)
	}
	for _, name := range []string{"X-Amz-Request-Id", "x-amzn-RequestId", "request-id", "x-obs-request-id"} {
		h.Set(name, name)
		assert.Equal(t, name, iamhttp.NewStatusError(500, h, nil).RequestID)
	}
	want("body")
	h.Set("X-IAM-Trace-Id", "trace")
	want("trace")
	h.Set("X-Request-Id", "gateway")
	want("gateway")
	h.Set("X-Openstack-Request-Id", "req-1")
	want("req-1")
	h.Set("X-Openstack-Request-Id", "req-\x1b[1m\u0085"+strings.Repeat("x", 200))
	want("req-[1m " + strings.Repeat("x", 120))
}

func TestNothingSecretIsPrintedLoggedOrMarshaled(t *testing.T) {
	const secret = "s3cr3t"
	base := script(answer(401, `{"error":{"message":"Wrong password."},"password":"`+secret+`"}`,
		"X-Subject-Token: "+secret, "Set-Cookie: "+secret, "Openstack-Auth-Receipt: "+secret, "Www-Authenticate: "+secret))
	req := newRequest(t, "POST", secret)
	req.URL.RawQuery, req.URL.Fragment = "token="+secret, secret
	req.URL.User = nil
	req.Header.Set("X-Auth-Token", secret)
	req.Header.Set("Authorization", secret)
	withUser := req.Clone(req.Context())
	withUser.URL.Opaque = "//" + secret + "@iam.example/"
	for _, r := range []*http.Request{req, withUser} {
		_, err := (&iamhttp.Transport{Base: base}).RoundTrip(r)
		e := statusError(t, err)
		require.Contains(t, string(e.Body()), secret, "Body must return the complete body")
		require.Equal(t, secret, e.Header().Get("X-Subject-Token"))
		e.Cause = errors.New(secret)

		var logged bytes.Buffer
		slog.New(slog.NewJSONHandler(&logged, nil)).Error("x", "err", e)
		slog.New(slog.NewTextHandler(&logged, nil)).Error("x", "err", e, "any", slog.AnyValue(error(e)))
		slog.New(slog.NewJSONHandler(&logged, nil)).Error("x", "failure", iamhttp.Failure{Err: e})
		slog.New(slog.NewTextHandler(&logged, nil)).Error("x", "failure", iamhttp.Failure{Err: e})
		marshaled, err := json.Marshal(e)
		require.NoError(t, err)
		for how, text := range map[string]string{
			"Error": e.Error(), "%v": fmt.Sprintf("%v", e), "%+v": fmt.Sprintf("%+v", e), "%#v": fmt.Sprintf("%#v", e),
			"%s": fmt.Sprintf("%s", e), "%q": fmt.Sprintf("%q", e), "in a struct": fmt.Sprintf("%+v", struct{ E error }{e}),
			"in a Failure": fmt.Sprintf("%+v", iamhttp.Failure{Err: e}), "slog": logged.String(), "JSON": string(marshaled),
		} {
			assert.NotContains(t, text, secret, how)
			assert.Contains(t, text, "Wrong password.", how)
		}

		e.Cause = nil // reflection would print the Cause in full
		other := *e
		other.Attempts++
		var xmlBytes, gobBytes bytes.Buffer
		require.NoError(t, xml.NewEncoder(&xmlBytes).Encode(e))
		require.NoError(t, gob.NewEncoder(&gobBytes).Encode(e))
		var diff recordingT
		assert.Equal(&diff, e, &other)
		assert.Equal(&diff, *e, other)
		require.Contains(t, diff.text, "Diff:")
		for how, text := range map[string]string{
			"%v of a value": fmt.Sprintf("%v", *e), "%+v of a value": fmt.Sprintf("%+v", *e), "%#v of a value": fmt.Sprintf("%#v", *e),
			"a value in a struct": fmt.Sprintf("%+v", struct{ e iamhttp.StatusError }{*e}),
			"XML":                 xmlBytes.String(), "gob": gobBytes.String(), "testify's diff": diff.text, "exported fields, as in YAML": exported(reflect.ValueOf(e)),
		} {
			assert.NotContains(t, text, secret, how)
			assert.NotContains(t, text, fmt.Sprint([]byte(secret)), how)
			assert.Contains(t, text, "Wrong password.", how)
		}
		assert.Contains(t, string(marshaled), `"URL":"https://iam.example/v3/users"`)
	}
}

func TestAnEchoOfTheRequestIsNeverTheMessage(t *testing.T) {
	const secret = "s3cr3t in some words"
	for name, tt := range map[string]struct{ body, want string }{
		"NestJS's validation error":           {`{"message":[{"target":{"name":"bob","password":"%s"},"value":"%[1]s","property":"password","children":[],"constraints":{"matches":"password must contain a digit"}}],"error":"Bad Request"}`, "password must contain a digit"},
		"a code and an ID that are JSON":      {`{"code":"{\"password\":\"%s\"}","request_id":"[\"%[1]s\"]","message":"no"}`, "no"},
		"Mongoose's validation error":         {`{"errors":{"password":{"properties":{"value":"%s"},"kind":"minlength","value":"%[1]s","message":"The password is too short."}}}`, "The password is too short."},
		"Spring's validation error":           {`{"error":"Bad Request","errors":[{"arguments":["%s"],"rejectedValue":"%[1]s","defaultMessage":"must not be null"}]}`, "must not be null"},
		"FastAPI's validation error":          {`{"detail":[{"loc":["body","%s"],"input":"%[1]s","msg":"field required"}]}`, "field required"},
		"the header in an error":              {`{"error":{"code":401,"message":"Unauthorized","request":{"headers":{"authorization":"%s"}}}}`, "Unauthorized"},
		"the header in an error, as a list":   {`{"error":{"request":{"header":{"Cookie":["%s"]}}}}`, ""},
		"the header in errors":                {`{"errors":{"headers":{"x":"%s"},"Cookie":["%[1]s"]}}`, ""},
		"the configuration in an error":       {`{"message":"Unauthorized","error":{"config":{"headers":{"Authorization":"%s"}}}}`, "Unauthorized"},
		"the context in the details":          {`{"error_msg":"Forbidden","details":{"context":{"authorization":"%s"}}}`, "Forbidden"},
		"Keystone's identity in an error":     {`{"error":{"title":"Unauthorized","identity":{"methods":["password"],"password":{"user":{"name":"bob","password":"%s"}}}}}`, "Unauthorized"},
		"Keystone's auth in an error":         {`{"error":{"auth":{"identity":{"password":{"user":{"description":"%s"}}}}}}`, ""},
		"Keystone's auth instead of an error": {`{"auth":{"identity":{"methods":["%s"],"password":{"user":{"password":"%[1]s"}}}}}`, ""},
		"the body in the error":               {`{"error":{"body":{"message":"%s","description":"%[1]s"}}}`, ""},
		"the body next to an error":           {`{"serverError":{"data":[{"message":"%s"}],"info":{"msg":"Try again."}}}`, "Try again."},
		"a code and a message in a request":   {`{"request":{"code":"7","message":"%s"},"status":400}`, ""},
		"an unknown name in an error":         {`{"error":{"a":{"b":"%s","c":["%[1]s"]}}}`, ""},
		"a password in errors":                {`{"errors":{"user_password":"%s"}}`, ""},
		"a token in a message":                {`{"message":{"X-Auth-Token":"%s"}}`, ""},
		"a value in a message":                {`{"message":{"value":"%s","constraints":["too short"]}}`, "too short"},
		"the header in errors, as lists":      {`{"errors":{"headers":{"x":["%s"]},"cookies":{"y":["%[1]s"]}}}`, ""},
		"cookies in errors, as a list":        {`{"errors":{"cookies":["%s"]}}`, ""},
		"a secret in the query":               {`{"errors":{"query":{"password":["%s"],"message":"%[1]s"}}}`, ""},
		"a text in the query":                 {`{"errors":{"query":{"name":"%s"}}}`, ""},
		"the form in errors":                  {`{"errors":{"form":{"name":["%s"]}}}`, ""},
		"a secret in an error, as a list":     {`{"error":{"info":{"password":["%s"]},"passwords":["%[1]s"]}}`, ""},
		"the data in errors":                  {`{"errors":{"data":[{"message":"%s"}],"value":"%[1]s"}}`, ""},
		"JSON in a message":                   {`{"message":"{\"password\":\"%s\"}"}`, "\ufffd"},
		"JSON and text in a message":          {`{"message":"{\"password\":\"%s\"} is wrong"}`, "\ufffd"},
		"JSON in an error":                    {`{"error":"{\"request\":{\"headers\":{\"cookie\":\"%s\"}}}"}`, "\ufffd"},
		"JSON in errors":                      {`{"errors":{"name":"[{\"password\":\"%s\"}]"}}`, "\ufffd"},
		"JSON after a number":                 {`{"message":"[1,{\"password\":\"%s\"}]"}`, "\ufffd"},
		"JSON after null":                     {`{"message":"[null,{\"password\":\"%s\"}]"}`, "\ufffd"},
		"JSON after an empty object":          {`{"message":"[{},{\"password\":\"%s\"}]"}`, "\ufffd"},
		"JSON after an empty array":           {`{"message":"[[],{\"password\":\"%s\"}]"}`, "\ufffd"},
		"JSON after a text, in brackets":      {`{"message":"[\"x\",{\"password\":\"%s\"}] is wrong"}`, "x"},
		"JSON in many arrays":                 {`{"message":"[[[[[[{\"password\":\"%s\"}]]]]]]"}`, "\ufffd"},
		"JSON in a string in a message":       {`{"message":"\"{\\\"password\\\":\\\"%s\\\"}\""}`, "\ufffd"},
		"JSON in a string, and text":          {`{"message":"\"{\\\"password\\\":\\\"%s\\\"}\" is wrong"}`, "\ufffd"},
		"JSON after a byte order mark":        {`{"message":"\ufeff{\"password\":\"%s\"}"}`, "\ufffd"},
		"JSON after a mark in a string":       {`{"message":"\"\ufeff{\\\"password\\\":\\\"%s\\\"}\""}`, "\ufffd"},
		"JSON in a string, as plain text":     {`"{\"password\":\"%s\"}" is wrong`, ""},
	} {
		for _, header := range []http.Header{nil, {"Content-Type": {"text/plain"}}} {
			e := iamhttp.NewStatusError(401, header, fmt.Appendf(nil, tt.body, secret))
			assert.Equal(t, tt.want, e.Message, name)
			assert.NotContains(t, e.Error(), "s3cr3t", name)
		}
	}
}

// recordingT is a TestingT that records what testify would print.
type recordingT struct{ text string }

func (r *recordingT) Errorf(format string, args ...any) { r.text += fmt.Sprintf(format, args...) }

// exported formats all exported fields, as marshalers that use reflection do.
func exported(v reflect.Value) (text string) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			return exported(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				text += v.Type().Field(i).Name + ": " + exported(v.Field(i)) + "\n"
			}
		}
	default:
		return fmt.Sprint(v)
	}
	return text
}

func TestBearerChallengeGivesMessageCodeAndReasonButNoSecret(t *testing.T) {
	const secret = "s3cr3t"
	for _, tt := range []struct {
		status           int
		challenge, body  string
		message, svcCode string
		want             iamhttp.Reason
	}{
		{401, `Bearer error="invalid_token", error_description="The token expired at '05/20/2026 11:26:55'"`, "", "The token expired at '05/20/2026 11:26:55'", "invalid_token", iamhttp.ReasonTokenExpired},
		{401, `Bearer scope="" error="invalid_token" error_description="the token has expired"`, `{"message":"Unauthorized"}`, "the token has expired", "invalid_token", iamhttp.ReasonTokenExpired},
		{401, `Bearer error="invalid_token", error_description="The audience 'x' is invalid"`, "", "The audience 'x' is invalid", "invalid_token", iamhttp.ReasonUnknown},
		{403, `Bearer error="insufficient_scope", error_description="The request requires higher privileges."`, "", "The request requires higher privileges.", "insufficient_scope", iamhttp.ReasonUnknown},
		{401, `Bearer error="invalid_token", error_description="The token has expired"`, `{"message":"Wrong password."}`, "Wrong password.", "", iamhttp.ReasonCredentialRejected},
	} {
		h := http.Header{"Www-Authenticate": {secret, "Bearer " + secret, `Digest nonce="` + secret + `"`, tt.challenge + `, realm="` + secret + `"`}}
		e := iamhttp.NewStatusError(tt.status, h, []byte(tt.body))
		assert.Equal(t, tt.message, e.Message)
		assert.Equal(t, tt.svcCode, e.ServiceCode)
		assert.Equal(t, tt.want, e.Reason())
		assert.NotContains(t, e.Error(), secret)
	}
}

func TestErrorsWithoutHeaderAndBodyAreEqualByReflection(t *testing.T) {
	a, b := iamhttp.NewStatusError(404, nil, nil), iamhttp.NewStatusError(404, http.Header{}, []byte{})
	assert.Equal(t, a, b, "errors without header and body must be equal by reflection")
	assert.Nil(t, a.Header())
	assert.Empty(t, a.Body())
	full := iamhttp.NewStatusError(404, nil, []byte("x"))
	full.Body()[0] = 'y'
	assert.Equal(t, "x", string(full.Body()), "Body must return a new copy each time")
}

func TestHeaderBodyAndURLErrorCanContainSecrets(t *testing.T) {
	const secret = "s3cr3t"
	client := &http.Client{Transport: &iamhttp.Transport{Base: script(answer(401, secret, "X-Subject-Token: "+secret))}}
	_, err := client.Get("https://iam.example/v3/users?token=" + secret)
	assert.Contains(t, err.Error(), secret, "this test expects http.Client to put the URL into the error")
	e := statusError(t, err)
	assert.NotContains(t, e.Error(), secret)
	assert.Contains(t, fmt.Sprint(e.Header()), secret)
	assert.Contains(t, string(e.Body()), secret)
}

func TestLogValueGroupsTheSafeFields(t *testing.T) {
	e := &iamhttp.StatusError{Code: 429, ServiceCode: "APIG.0308", Message: strings.Repeat("m", 300), RequestID: "r", Method: "GET",
		URL: "https://iam.example/v3", RetryAfter: 2 * time.Second, Attempts: 3, Stop: iamhttp.StopAttempts}
	var b bytes.Buffer
	slog.New(slog.NewTextHandler(&b, nil)).Error("x", "err", e)
	_, line, _ := strings.Cut(b.String(), "msg=x ")
	assert.Equal(t, `err.code=429 err.title=TooManyRequests err.service_code=APIG.0308 err.message=`+strings.Repeat("m", 200)+
		` err.request_id=r err.method=GET err.url=https://iam.example/v3 err.retry_after=2s err.attempts=3 err.stop="attempts used up"`+"\n", line)
	b.Reset()
	slog.New(slog.NewTextHandler(&b, nil)).Error("x", "err", &iamhttp.StatusError{Code: 499})
	_, line, _ = strings.Cut(b.String(), "msg=x ")
	assert.Equal(t, "err.code=499\n", line)
}

func TestCheckResponse(t *testing.T) {
	t.Run("returns nil for a code from 100 to 399, without reading the body", func(t *testing.T) {
		for code := 100; code < 400; code++ {
			body := watch(strings.NewReader("x"))
			assert.NoError(t, iamhttp.CheckResponse(response(nil, code, body, -1)))
			read, _ := body.counts()
			assert.Zero(t, read)
		}
	})
	t.Run("leaves the body readable and open", func(t *testing.T) {
		body := watch(strings.NewReader(`{"message":"x"}`))
		resp := response(newRequest(t, "DELETE", ""), 409, body, -1, "Retry-After: 3", "X-Request-Id: r")
		for range 2 {
			e := statusError(t, iamhttp.CheckResponse(resp))
			assert.Equal(t, "x", e.Message)
			assert.Equal(t, "DELETE", e.Method)
			assert.Equal(t, "https://iam.example/v3/users", e.URL)
			assert.Equal(t, 3*time.Second, e.RetryAfter)
			assert.Equal(t, "r", e.RequestID)
			assert.Zero(t, e.Attempts)
			assert.Equal(t, iamhttp.StopUnset, e.Stop)
		}
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Equal(t, `{"message":"x"}`, string(b))
		_, closes := body.counts()
		assert.Zero(t, closes)
	})
	t.Run("accepts a response without a body or a request", func(t *testing.T) {
		resp := &http.Response{StatusCode: 500}
		e := statusError(t, iamhttp.CheckResponse(resp))
		assert.Equal(t, iamhttp.StatusError{Code: 500}, *e)
		assert.Equal(t, http.NoBody, resp.Body)
	})
	t.Run("accepts a request without a URL", func(t *testing.T) {
		e := statusError(t, iamhttp.CheckResponse(response(&http.Request{}, 500, http.NoBody, 0)))
		assert.Equal(t, "GET", e.Method)
		assert.Empty(t, e.URL)
	})
	t.Run("stops reading when the context ends", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			start := time.Now()
			resp := response(newRequest(t, "GET", "").WithContext(ctx), 500, stalling("begin"), -1)
			e := statusError(t, iamhttp.CheckResponse(resp))
			assert.Equal(t, time.Second, time.Since(start))
			assert.True(t, e.Truncated)
			assert.Equal(t, "begin", string(e.Body()))
			resp.Body.Close()
		})
	})
	t.Run("reads a body that is in memory although the context has ended", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 50 {
			resp := response(newRequest(t, "GET", "").WithContext(ctx), 403, io.NopCloser(strings.NewReader(`{"error_code":"IAM.0002"}`)), -1)
			e := statusError(t, iamhttp.CheckResponse(resp))
			require.Equal(t, "IAM.0002", e.ServiceCode)
			b, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, `{"error_code":"IAM.0002"}`, string(b))
		}
	})
	t.Run("waits only 50 ms for a body that stalls if the context has ended", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			start := time.Now()
			resp := response(newRequest(t, "GET", "").WithContext(ctx), 500, stalling("begin"), -1)
			e := statusError(t, iamhttp.CheckResponse(resp))
			assert.Equal(t, 50*time.Millisecond, time.Since(start))
			assert.Equal(t, "begin", string(e.Body()))
			b, err := io.ReadAll(resp.Body)
			assert.Equal(t, "begin", string(b))
			assert.ErrorIs(t, err, context.Canceled)
		})
	})
	t.Run("passes a read error on to whoever reads the body", func(t *testing.T) {
		canceled, cancel := context.WithCancel(t.Context())
		defer cancel()
		for _, ctx := range []context.Context{context.Background(), canceled} {
			resp := response(newRequest(t, "GET", "").WithContext(ctx), 500, io.NopCloser(io.MultiReader(strings.NewReader("begin"), new(brokenOnce))), -1)
			e := statusError(t, iamhttp.CheckResponse(resp))
			assert.True(t, e.Truncated)
			b, err := io.ReadAll(resp.Body)
			assert.Equal(t, "begin", string(b))
			assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
		}
	})
	t.Run("lets the body be read byte by byte", func(t *testing.T) {
		resp := response(nil, 500, io.NopCloser(strings.NewReader("text")), -1)
		statusError(t, iamhttp.CheckResponse(resp))
		b, err := io.ReadAll(iotest.OneByteReader(resp.Body))
		require.NoError(t, err)
		assert.Equal(t, "text", string(b))
	})
	t.Run("does not wait for data beyond the limit", func(t *testing.T) {
		resp := response(nil, 500, stalling(strings.Repeat("x", 64<<10)), -1)
		e := statusError(t, iamhttp.CheckResponse(resp))
		assert.Len(t, e.Body(), 64<<10)
		assert.True(t, e.Truncated, "Truncated must be true, because the body may be longer than the part that was read")
	})
	t.Run("stops reading a body whose Read makes no progress", func(t *testing.T) {
		resp := response(nil, 500, io.NopCloser(io.MultiReader(strings.NewReader("begin"), idle{})), -1)
		e := statusError(t, iamhttp.CheckResponse(resp))
		assert.True(t, e.Truncated)
		assert.Equal(t, "begin", string(e.Body()))
		b, err := io.ReadAll(resp.Body)
		assert.Equal(t, "begin", string(b))
		assert.ErrorIs(t, err, io.ErrNoProgress)
	})
}

// idle is a reader that returns neither data nor an error, which io.Reader's
// documentation discourages.
type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

// brokenOnce is a reader that fails once and then returns io.EOF.
type brokenOnce bool

func (b *brokenOnce) Read([]byte) (int, error) {
	if *b {
		return 0, io.EOF
	}
	*b = true
	return 0, io.ErrUnexpectedEOF
}

func TestNewStatusErrorCopiesHeaderAndBody(t *testing.T) {
	h, body := http.Header{"A": {"b"}}, []byte(`{"message":"x"}`)
	e := iamhttp.NewStatusError(404, h, body)
	h.Set("A", "changed")
	clear(body)
	assert.Equal(t, "b", e.Header().Get("A"))
	assert.Equal(t, `{"message":"x"}`, string(e.Body()))
}

func TestNewStatusErrorKeepsAtMost64KiBOfTheBody(t *testing.T) {
	e := iamhttp.NewStatusError(404, nil, make([]byte, 64<<10))
	assert.False(t, e.Truncated)
	e = iamhttp.NewStatusError(404, nil, make([]byte, 64<<10+1))
	assert.True(t, e.Truncated)
	assert.Len(t, e.Body(), 64<<10)
}

func TestNewStatusErrorIsNeverNil(t *testing.T) {
	for _, code := range []int{-1, 0, 200, 404, 999} {
		assert.Equal(t, iamhttp.Code(code), iamhttp.NewStatusError(code, nil, nil).Code)
	}
}

func TestServerChoosesAtMost1040BytesOfTheErrorText(t *testing.T) {
	for _, what := range []string{"x", `\"`, `\\`, "é", "\u0000 ", "limit:1,time:1 day "} {
		policy := `"` + strings.Repeat("p", 64) + `"`
		header := http.Header{"Ratelimit": {policy + ";r=0;t=2678399"}, "Ratelimit-Policy": {policy + ";q=999999999;w=2678399"}}
		body := fmt.Sprintf(`{"error_msg":"%s","error_code":"%[1]s","request_id":"%[1]s"}`, strings.Repeat(what, 3000))
		text := iamhttp.NewStatusError(429, header, []byte(body)).Error()
		ours := len(`iamhttp: 429 TooManyRequests: "" ("", limit , request "")`)
		assert.LessOrEqual(t, len(text)-ours, 2*200+2*128+2*128+128, what)
	}
}
