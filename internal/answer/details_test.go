package answer_test

import (
	"encoding/json"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/internal/answer"
)

func TestDecodeAllocatesOnlyTheStringsThatItReturns(t *testing.T) {
	asJSON := http.Header{"Content-Type": {"application/json"}}
	text := http.Header{"Content-Type": {"text/plain; charset=utf-8"}}
	for _, tt := range []struct {
		header http.Header
		body   string
		want   answer.Details
	}{
		{asJSON, `{"error":{"code":404,"message":"Could not find user: x.","title":"Not Found"}}`, answer.Details{Message: "Could not find user: x."}},
		{asJSON, `{"error_msg":"No.","error_code":"IAM.0002","request_id":"req-1"}`, answer.Details{Code: "IAM.0002", Message: "No.", RequestID: "req-1"}},
		{asJSON, `{"code":"IAM.0011","message":"Request body is invalid."}`, answer.Details{Code: "IAM.0011", Message: "Request body is invalid."}},
		{asJSON, `{"errors":[{"title":"Not Found","detail":"No such user.","request_id":"req-1"}]}`, answer.Details{Message: "No such user.", RequestID: "req-1"}},
		{asJSON, `{"error":"invalid_client","error_description":"Unknown client."}`, answer.Details{Code: "invalid_client", Message: "Unknown client."}},
		{asJSON, `{"status":404,"error":"Not Found","message":"No such user.","path":"/v3"}`, answer.Details{Message: "No such user."}},
		{asJSON, `{"itemNotFound":{"code":404,"message":"No such user."}}`, answer.Details{Message: "No such user."}},
		{asJSON, `{"errCode":"IAM.0011","errMsg":"No such user.","requestId":"req-1"}`, answer.Details{Code: "IAM.0011", Message: "No such user.", RequestID: "req-1"}},
		{asJSON, "{\"error\":\"Bad Request\",\"message\":\"The first line.\nAnd\u00a0the second.\"}", answer.Details{Message: "The first line.\nAnd\u00a0the second."}},
		{text, "no such user", answer.Details{Message: "no such user"}},
		{text, "<html><h1>404 Not Found</h1></html>", answer.Details{}},
		{nil, "", answer.Details{}},
	} {
		body, wanted := []byte(tt.body), 0
		if tt.want != (answer.Details{}) {
			wanted = 1 // all strings share one allocation
		}
		var got answer.Details // declared outside of the function, so that the strings are really allocated
		assert.EqualValues(t, wanted, testing.AllocsPerRun(100, func() { got = answer.Decode(tt.header, body, 404) }), tt.body)
		assert.Equal(t, tt.want, got)
		message, _ := answer.Message(tt.header, body, 404)
		assert.Equal(t, tt.want.Message, message)
	}
}

func TestRetryDelayIsReadFromRetryInfoAndRoundedUp(t *testing.T) {
	for value, want := range map[string]time.Duration{
		`"53s"`: 53 * time.Second, `"45.837906927s"`: 46 * time.Second, `"7.000s"`: 7 * time.Second, `"0.5s"`: time.Second, `"0s"`: 0, `"007s"`: 7 * time.Second,
		`"-3s"`: 0, `"+3s"`: 0, `"3"`: 0, `3`: 0, `"3m"`: 0, `"1m3s"`: 0, `".5s"`: 0, `"5.s"`: 0, `"1.2.3s"`: 0, `"1e3s"`: 0, `"1.-5s"`: 0, `"s"`: 0, `""`: 0, `null`: 0, `{}`: 0,
		`"9223372036s"`: 9223372036 * time.Second, `"9223372036.9s"`: math.MaxInt64, `"99999999999999999999s"`: math.MaxInt64, `"` + strings.Repeat("9", 50) + `s"`: 0,
	} {
		const info = `{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":%s}`
		for _, form := range []string{
			`{"error":{"code":429,"message":"Slow down.","details":[` + info + `]}}`,
			`{"error":{"code":429,"message":"Slow down.","details":[{"@type":"type.googleapis.com/google.rpc.Help","retryDelay":"1s"},` + info + `]}}`,
			`{"code":8,"message":"Slow down.","details":[` + info + `]}`,
			`[{"error":{"message":"Slow down.","details":[` + info + `]}}]`,
		} {
			body := strings.ReplaceAll(form, "%s", value)
			assert.Equal(t, want, answer.Decode(nil, []byte(body), 429).RetryDelay, body)
			message, delay := answer.Message(nil, []byte(body), 429)
			assert.Equal(t, "Slow down.", message)
			assert.Equal(t, want, delay, body)
		}
	}
}

func FuzzEscapes(f *testing.F) {
	for _, s := range []string{
		"", `\n\t\r\b\f\/\\\"`, `\u00fc \u00FC`, `\ud83d\ude00`, `\ud83d`, `\ude00\ud83d`, `\ud83d\u0041`, `\ud83d\ud83d\ude00`, `\u0000`,
		`it\'s`, `\x41`, `C:\q`, `\u12`, `\u12g4`, `\`, "a\tb\nc\\n", `\ufffd`, "\xff\\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		s = "m" + s
		got := answer.Decode(nil, []byte(`{"message":"`+s+`"}`), 404).Message
		if !strings.HasPrefix(got, "m") {
			t.Fatalf("the message was lost: %q", got)
		}
		if cutOff := answer.Decode(nil, []byte(`{"message":"`+s), 404).Message; !strings.HasPrefix(cutOff, "m") {
			t.Fatalf("the message of the body that is cut off was lost: %q", cutOff)
		}
		var want string
		if !utf8.ValidString(s) || json.Unmarshal([]byte(`"`+s+`"`), &want) != nil || strings.Contains(want, "<br") {
			return
		}
		if got != want {
			t.Fatalf("got %q, but encoding/json decodes %q", got, want)
		}
	})
}
