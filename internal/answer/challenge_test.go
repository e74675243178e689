package answer_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/internal/answer"
)

func TestBearerChallengeExplainsABodyThatSaysLittle(t *testing.T) {
	const expired = `Bearer error="invalid_token", error_description="The token has expired"`
	for name, tt := range map[string]struct {
		lines         []string
		body          string
		code, message string
	}{
		"no body":                       {[]string{expired}, "", "invalid_token", "The token has expired"},
		"a body that says little":       {[]string{expired}, `{"message":"Unauthorized"}`, "invalid_token", "The token has expired"},
		"a body with a code":            {[]string{expired}, `{"code":"A.1","message":"Unauthorized"}`, "A.1", "The token has expired"},
		"a body with a message":         {[]string{expired}, `{"message":"No."}`, "", "No."},
		"a text":                        {[]string{expired}, "Unauthorized", "invalid_token", "The token has expired"},
		"Kestrel":                       {[]string{`Bearer error="invalid_token", error_description="The token expired at '05/20/2026 11:26:55'"`}, "", "invalid_token", "The token expired at '05/20/2026 11:26:55'"},
		"AWS, which omits commas":       {[]string{`Bearer scope="" error="invalid_token" error_description="the token has expired"`}, `{"message":"Unauthorized"}`, "invalid_token", "the token has expired"},
		"other parameters":              {[]string{`Bearer realm="a, error=b", scope="c d" , error=invalid_token,error_uri="https://x/y"`}, "", "invalid_token", ""},
		"another spelling":              {[]string{`bearer ERROR = "invalid_token" , Error_Description = "No."`}, "", "invalid_token", "No."},
		"escapes":                       {[]string{`Bearer error_description="\"a\" \\ \b"`}, "", "", `"a" \ b`},
		"an empty description":          {[]string{`Bearer error="invalid_token", error_description=""`}, `{"message":"Unauthorized"}`, "invalid_token", "Unauthorized"},
		"a description that is little":  {[]string{`Bearer error="401", error_description="Unauthorized"`}, `{"message":"HTTP 401"}`, "", "HTTP 401"},
		"a description that is JSON":    {[]string{`Bearer error_description="{\"password\":\"s3cr3t\"}"`}, "", "", ""},
		"a description with a JWT":      {[]string{`Bearer error="invalid_token", error_description="Invalid access token: eyJhbGciOiJub25lIn0.e30."`}, "", "invalid_token", ""},
		"a description with a token":    {[]string{`Bearer error="invalid_token", error_description="Invalid token (0fd2c8a1-8a3e-4c5b-9d6f-112233445566)."`}, "", "invalid_token", ""},
		"a description with a secret":   {[]string{`Bearer error_description="Bad key AbCdEfGhIjKl+/nOpQrSt1==", error=invalid_token, x=y`}, `{"message":"No"}`, "", "No"},
		"a description with long words": {[]string{`Bearer error="invalid_token", error_description="Token's type application/vnd.example.internationalization at 20260520112655000000000000: no"`}, "", "invalid_token", "Token's type application/vnd.example.internationalization at 20260520112655000000000000: no"},
		"an error that is a JWT":        {[]string{`Bearer error="eyJhbGciOiJub25lIn0.e30.", error_description="No."`}, "", "", "No."},
		"an error that is a token":      {[]string{`Bearer error=0fd2c8a1, error_description="No."`}, "", "", "No."},
		"an error that is a text":       {[]string{`Bearer error="the token is wrong"`}, "", "", ""},
		"an error that is long":         {[]string{`Bearer error="` + strings.Repeat("a", 41) + `"`}, "", "", ""},
		"several challenges":            {[]string{`Basic realm="x", Negotiate, NTLM a/b+c==, ` + expired + `, Digest realm="y", error="z"`}, "", "invalid_token", "The token has expired"},
		"two Bearer challenges":         {[]string{expired + `, Bearer error="b", error_description="B."`}, "", "invalid_token", "The token has expired"},
		"a Bearer challenge without an error, and one with": {[]string{`Bearer realm="x", ` + expired}, "", "invalid_token", "The token has expired"},
		"several lines":                     {[]string{`Keystone uri="https://iam.example/v3"`, `Bearer realm="x"`, expired}, "", "invalid_token", "The token has expired"},
		"another scheme":                    {[]string{`Digest error="a", error_description="B."`, `DPoP error="a"`}, "", "", ""},
		"no scheme":                         {[]string{`error="a", error_description="B."`}, "", "", ""},
		"a token":                           {[]string{"Bearer s3cr3t", "Bearer s3cr3t==", "Bearer  s3/cr3t=", "s3cr3t"}, "", "", ""},
		"malformed, no end of the string":   {[]string{`Bearer error="a", error_description="B.`}, "", "", ""},
		"malformed, a backslash at the end": {[]string{`Bearer error="a", error_description="B.\`}, "", "", ""},
		"malformed, no value":               {[]string{`Bearer error="a", error_description=, x=y`}, "", "", ""},
		"malformed, after the value":        {[]string{`Bearer error="a"b, error_description="B."`, `Bearer error=a"b"`}, "", "", ""},
		"malformed, a strange character":    {[]string{`Bearer error="a", (error_description="B.")`, `Bearer; error="a"`, `Béarer error="a"`}, "", "", ""},
		"malformed, then a good line":       {[]string{`Bearer error="`, expired}, "", "invalid_token", "The token has expired"},
		"too long":                          {[]string{expired + `, x="` + strings.Repeat("y", 4096) + `"`}, "", "", ""},
		"empty":                             {[]string{"", " , "}, "", "", ""},
	} {
		h := http.Header{"Content-Type": {"text/plain"}, "Www-Authenticate": tt.lines}
		got := answer.Decode(h, []byte(tt.body), 401)
		assert.Equal(t, answer.Details{Code: tt.code, Message: tt.message}, got, name)
	}
}

func FuzzChallenge(f *testing.F) {
	f.Add(`Bearer error="invalid_token", error_description="The \"token\" has expired"`)
	f.Add(`Basic realm="x", Negotiate a/b==, Bearer scope="" error=a error_description="b"`)
	f.Fuzz(func(t *testing.T, line string) {
		d := answer.Decode(http.Header{"Www-Authenticate": {line}}, nil, 401)
		if len(d.Code)+len(d.Message) > 0 && !strings.Contains(strings.ToLower(line), "bearer") {
			t.Fatalf("got %+v without a Bearer challenge", d)
		}
		if len(d.Message) > len(line)+3 {
			t.Fatalf("the message is longer than the line: %q", d.Message)
		}
		if strings.Contains(line, `"`) || strings.Contains(line, ",") {
			return
		}
		quoted := answer.Decode(http.Header{"Www-Authenticate": {`Digest x="` + strings.ReplaceAll(line, `\`, `\\`) + `"`}}, nil, 401)
		if quoted != (answer.Details{}) {
			t.Fatalf("got %+v from a quoted string of another scheme", quoted)
		}
	})
}
