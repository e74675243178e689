package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/iamtest"
)

// read runs the program with the argument - and input as its standard input. It returns
// the output, with each run of white space replaced by a single space.
func read(t *testing.T, input string) string {
	t.Helper()
	var out, errs bytes.Buffer
	require.Zero(t, run([]string{"-"}, strings.NewReader(input), &out, &errs), errs.String())
	assert.Empty(t, errs.String())
	for line := range strings.SplitSeq(out.String(), "\n") {
		assert.LessOrEqual(t, utf8.RuneCountInString(line), 80, line)
	}
	return strings.Join(strings.Fields(out.String()), " ")
}

// wire formats a response roughly as curl -i prints it.
func wire(proto string, a iamtest.Answer) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d \r\n", proto, a.Status)
	for name, values := range a.Header {
		for _, v := range values {
			fmt.Fprintf(&b, "%s: %s\r\n", strings.ToLower(name), v)
		}
	}
	return b.String() + "\r\n" + a.Body
}

func TestResponseOnStandardInputIsExplained(t *testing.T) {
	got := read(t, wire("HTTP/2", iamtest.ThrottledGateway(200, 5*time.Minute)))
	assert.True(t, strings.HasPrefix(got, "429 TooManyRequests documented yes meaning "), got)
	for _, want := range []string{
		` code APIG.0308 message "The throttling threshold has been reached: policy user over ratelimit,limit:200,time:5 minute" request e2b44851-`,
		` limit 200 per 5m0s (user) reason throttled decision try again later `,
		` Transport retries the request, whatever its method, after 1m40s (a third of the limit's window, `,
	} {
		assert.Contains(t, got, want)
	}
}

func TestExplanationSaysWhatATransportWouldDoWithTheResponse(t *testing.T) {
	const retries = " Transport retries the request, whatever its method, after "
	for name, tt := range map[string]struct {
		answer iamtest.Answer
		want   string
	}{
		"Retry-After":                  {iamtest.Throttled(30 * time.Second), " Retry-After 30s reason throttled decision try again later" + retries + "30s (the Retry-After) plus random jitter; with an earlier deadline, the call fails at once"},
		"Retry-After beyond MaxWait":   {iamtest.Throttled(time.Hour), "; without a deadline and with the default MaxWait, it does not retry: wait longer than allowed"},
		"a reset time":                 {iamtest.ThrottledEnvoy(10, time.Minute, 41*time.Second), " limit 10 per 1m0s new in 41s reason throttled decision try again later" + retries + "41s (until the limit allows requests again) plus random jitter; with an earlier deadline, it uses the backoff instead"},
		"a reset time beyond MaxWait":  {iamtest.ThrottledSAP(10, time.Hour, 41*time.Minute), "; without a deadline and with the default MaxWait, it waits 2m0s"},
		"a 429 that states no time":    {iamtest.Throttled(0), retries + "a backoff of 1 s, doubled each time, ±50%, at most 30 s"},
		"Retry-After of centuries":     {iamtest.Throttled(0).With("Retry-After", "99999999999999999999"), " Transport returns a *StatusError, because the Retry-After is later than any realistic deadline"},
		"Retry-After in the year 9999": {iamtest.Throttled(0).With("Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT"), " Transport returns a *StatusError, because "},
		"a 408":                        {iamtest.Page(408), retries + "a backoff of 1 s"},
		"a 404":                        {iamtest.Keystone(404, "No."), ` message "No." request req-0c43521d-00ed-4f5b-a31b-798560349fcd Transport returns a *StatusError; `},
		"a 503 with Retry-After":       {iamtest.Page(503).With("Retry-After", "120"), " Retry-After 2m0s Transport returns a *StatusError; if AlsoRetry lists the code, requests "},
		"a failure with a reason":      {iamtest.IAM(401, "IAM.0061", "Locked."), " reason account locked decision wait until the account is unlocked; "},
		"a success":                    {iamtest.Answer{Status: 200}.With("Retry-After", "1"), " Transport returns the response unchanged"},
	} {
		t.Run(name, func(t *testing.T) {
			got := read(t, wire("HTTP/1.1", tt.answer))
			assert.Contains(t, got, tt.want)
		})
	}
}

func TestChunkedBodyIsExplained(t *testing.T) {
	const (
		header = "HTTP/1.1 429 Too Many Requests\r\nTransfer-Encoding: chunked\r\n\r\n"
		body   = `{"error_msg":"policy user over ratelimit,limit:200,time:5 minute"}`
	)
	first, second := body[:20], body[20:]
	chunks := fmt.Sprintf("%x\r\n%s\r\n%X;a=b\r\n%s\r\n0\r\n\r\n", len(first), first, len(second), second)
	for name, input := range map[string]string{
		"in chunks":                   header + chunks,
		"in chunks, with LF":          strings.ReplaceAll(header+chunks, "\r", ""),
		"in chunks, after a redirect": "HTTP/1.1 302 Found\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + header + chunks,
		"whole, as curl decodes it":   header + body,
		"in chunks, in capitals":      strings.Replace(header, "chunked", "Chunked", 1) + chunks,
	} {
		t.Run(name, func(t *testing.T) {
			assert.Contains(t, read(t, input), ` message "policy user over ratelimit,limit:200,time:5 minute" limit 200 per 5m0s (user) `)
		})
	}
	for name, body := range map[string]string{
		"a number":                  "12\r\nis the answer",
		"an unfinished chunk":       "ff\r\nx",
		"a chunk of enormous size":  "ffffffffffffffff\r\nx",
		"a chunk without an end":    "1\r\nxy\r\n0\r\n\r\n",
		"a chunk of no size":        "\r\nx",
		"chunks that do not finish": "1\r\nx\r\n",
	} {
		resp, err := readResponse(strings.NewReader(header + body))
		require.NoError(t, err, name)
		assert.Equal(t, body, string(resp.body), "this body begins with %s, and must not be changed", name)
	}
}

func TestTerminalEscapesInTheHeaderAreIgnored(t *testing.T) {
	got := read(t, "HTTP/1.1 429 Too Many Requests\r\n\x1b[1mRetry-After\x1b[0m: 58\r\n\x1b[36mX-Request-Id\x1b[39;49m: \x1b[33mreq-1\x1b[m\r\n\r\n")
	assert.Contains(t, got, " request req-1 Retry-After 58s ")
}

func TestLastResponseInTheInputIsExplained(t *testing.T) {
	const last = "HTTP/1.1 404 Not Found\r\n\r\n{\"error\":{\"message\":\"No.\"}}"
	for name, input := range map[string]string{
		"one response":                                       last,
		"100 Continue":                                       "HTTP/1.1 100 Continue\r\n\r\n" + last,
		"a proxy's 200":                                      "HTTP/1.0 200 Connection established\r\n\r\n" + last,
		"redirects":                                          "HTTP/2 301 \r\nlocation: /a\r\ncontent-length: 7\r\n\r\nHTTP/2 302 \r\nlocation: /b\r\n\r\n" + last,
		"a retry after a response with a body":               "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy" + last,
		"retries after HTTP/2 responses":                     "HTTP/2 503 \r\nserver: a\r\n\r\n{\"message\":\"busy\"}HTTP/2 429 \r\nretry-after: 1\r\n\r\nslow down\n" + last,
		"a retry after a chunked body":                       "HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked\r\n\r\n<html>\nHTTP/1.1 is busy\n</html>\r\n" + last,
		"a body that is longer than announced":               "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nbusy\n" + last,
		"a redirect with a body":                             "HTTP/2 302 \r\nlocation: /a\r\n\r\n<a href=/a>Found</a>.\n\n" + strings.Replace(last, "\r\n\r\n", "\r\ncontent-type: application/json\r\n\r\n", 1),
		"several responses with LF line endings":             strings.ReplaceAll("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"+last, "\r", ""),
		"a byte order mark and empty lines at the beginning": "\ufeff\r\n\n" + last,
		"HTTP/3":                             strings.Replace(last, "HTTP/1.1 404 Not Found", "HTTP/3 404", 1),
		"a folded header field":              strings.Replace(last, "\r\n\r\n", "\r\nX-A: 1,\r\n 2\r\n\r\n", 1),
		"a Content-Length that is too large": strings.Replace(last, "\r\n\r\n", "\r\nContent-Length: 999\r\n\r\n", 1),
	} {
		t.Run(name, func(t *testing.T) {
			got := read(t, input)
			assert.True(t, strings.HasPrefix(got, "404 NotFound"), got)
			assert.Contains(t, got, `message "No."`)
		})
	}
	assert.Contains(t, read(t, "HTTP/1.1 429"), "429 TooManyRequests", "a status line without a header must be accepted")
	for _, body := range []string{
		"see HTTP/1.1 404 Not Found",
		"see HTTP/1.1 404 Not Found\r\n\r\nfor more",
		"HTTP/1.1 404 Not Found",
		"not found\nHTTP/1.1 404 Not Found\nis what the backend says",
		`{"message":"HTTP/1.1 404 Not Found\nServer: a"}`,
	} {
		assert.Contains(t, read(t, "HTTP/1.1 400 Bad Request\r\nServer: a\r\n\r\nx"+body), "400 ", "the status line in this body must not count as the start of a response")
	}
}

func TestInvalidResponseOnStandardInputIsRefused(t *testing.T) {
	const (
		noStatusLine = ", which is not a status line\nsuch as HTTP/1.1 429; call curl with -i\n"
		noField      = "\ninstead of a header field (Name: value) or an empty line\n"
	)
	for input, want := range map[string]string{
		"":                          "standard input is empty\n",
		" \r\n\n":                   "standard input is empty\n",
		`{"error":{}}`:              `standard input begins with "{\"error\":{}}"` + noStatusLine,
		"HTTP/1.1 42 Short\r\n":     `standard input begins with "HTTP/1.1 42 Short"` + noStatusLine,
		"\x1b[1mHTTP/1.1\a\r\nx":    `standard input begins with "\x1b[1mHTTP/1.1\a"` + noStatusLine,
		"HTTP/1.1 429 X\n{}\n":      `standard input contains "{}"` + noField,
		"HTTP/1.1 429 X\n : x\n":    `standard input contains ": x"` + noField,
		"HTTP/1.1 429 X\na b: x\n":  `standard input contains "a b: x"` + noField,
		"HTTP/1.1 429 X\na\x1b]: x": `standard input contains "a\x1b]: x"` + noField,
		"HTTP/1.1 429 X\na\x7f: x":  `standard input contains "a\x7f: x"` + noField,
	} {
		var out, errs bytes.Buffer
		assert.Equal(t, 1, run([]string{"-"}, strings.NewReader(input), &out, &errs), input)
		assert.Empty(t, out.String())
		assert.Equal(t, "explain: "+want, errs.String())
	}
	var out, errs bytes.Buffer
	assert.Equal(t, 1, run([]string{"-"}, iotest.ErrReader(errors.New("it broke")), &out, &errs))
	assert.Equal(t, "explain: it broke\n", errs.String())
}

func TestResponseWithAHugeBodyIsExplained(t *testing.T) {
	assert.Contains(t, read(t, "HTTP/1.1 500 \r\n\r\n"+strings.Repeat("x", 3<<20)), "500")
}

// If each folded line copied the lines before it, this would take hours.
func TestResponseWithManyFoldedLinesIsExplained(t *testing.T) {
	const lines = 1 << 21
	out := read(t, "HTTP/1.1 429 \r\nRetry-After: 5\r\nA: b"+strings.Repeat("\r\n c", lines)+"\r\n\r\n")
	assert.Contains(t, out, "429")
	resp, _, err := parseResponse([]byte("HTTP/1.1 429 \r\nA: b\r\n\tc \r\n d\r\nA: e\r\n f\r\n\r\n"))
	require.NoError(t, err)
	assert.Equal(t, []string{"b c d", "e f"}, resp.header["A"])
}

func FuzzReadResponse(f *testing.F) {
	f.Add("HTTP/1.1 100 Continue\r\n\r\nHTTP/2 429\nretry-after: 5\n\n{}")
	f.Add("HTTP/1.1 200\ncontent-length: 1\n\nxHTTP/1.1 429\n y\n:")
	f.Fuzz(func(t *testing.T, input string) {
		var out, errs bytes.Buffer
		code := run([]string{"-"}, strings.NewReader(input), &out, &errs)
		if (code == 0) == (out.Len() == 0) || (code == 1) == (errs.Len() == 0) || code > 1 {
			t.Errorf("exit status %d does not match the output %q and the error output %q", code, out.String(), errs.String())
		}
		for _, r := range out.String() + errs.String() {
			if r < ' ' && r != '\n' || r == 0x7f {
				t.Errorf("the output contains the control character %q", r)
			}
		}
	})
}
