package answer_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/internal/answer"
)

func TestDecodeAllocatesOnlyTheStringsThatItReturns(t *testing.T) {
	json := http.Header{"Content-Type": {"application/json"}}
	text := http.Header{"Content-Type": {"text/plain; charset=utf-8"}}
	for _, tt := range []struct {
		header http.Header
		body   string
		want   answer.Details
	}{
		{json, `{"error":{"code":404,"message":"Could not find user: x.","title":"Not Found"}}`, answer.Details{Message: "Could not find user: x."}},
		{json, `{"error_msg":"No.","error_code":"IAM.0002","request_id":"req-1"}`, answer.Details{Code: "IAM.0002", Message: "No.", RequestID: "req-1"}},
		{json, `{"code":"IAM.0011","message":"Request body is invalid."}`, answer.Details{Code: "IAM.0011", Message: "Request body is invalid."}},
		{json, `{"errors":[{"title":"Not Found","detail":"No such user.","request_id":"req-1"}]}`, answer.Details{Message: "No such user.", RequestID: "req-1"}},
		{json, `{"error":"invalid_client","error_description":"Unknown client."}`, answer.Details{Code: "invalid_client", Message: "Unknown client."}},
		{json, `{"status":404,"error":"Not Found","message":"No such user.","path":"/v3"}`, answer.Details{Message: "No such user."}},
		{json, `{"itemNotFound":{"code":404,"message":"No such user."}}`, answer.Details{Message: "No such user."}},
		{json, `{"errCode":"IAM.0011","errMsg":"No such user.","requestId":"req-1"}`, answer.Details{Code: "IAM.0011", Message: "No such user.", RequestID: "req-1"}},
		{text, "no such user", answer.Details{Message: "no such user"}},
		{text, "<html><h1>404 Not Found</h1></html>", answer.Details{}},
		{nil, "", answer.Details{}},
	} {
		body, strings := []byte(tt.body), 0
		for _, s := range []string{tt.want.Code, tt.want.Message, tt.want.RequestID} {
			if s != "" {
				strings++
			}
		}
		var got answer.Details // declared outside of the function, so that the strings are really allocated
		assert.EqualValues(t, strings, testing.AllocsPerRun(100, func() { got = answer.Decode(tt.header, body, 404) }), tt.body)
		assert.Equal(t, tt.want, got)
		assert.Equal(t, tt.want.Message, answer.Message(tt.header, body, 404))
	}
}
