package main

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/internal/answer"
)

// ask runs the program with the given arguments and an empty standard input.
func ask(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

func TestStatusCodeIsExplained(t *testing.T) {
	for _, c := range []struct{ arg, want string }{
		{"503", "" +
			"503 ServiceUnavailable\n" +
			"  documented  yes\n" +
			"  meaning     The service is not available.\n" +
			"  retry       not without modifications\n" +
			"  Transport   returns a *StatusError; if AlsoRetry lists the code, requests that\n" +
			"              are idempotent or have an Idempotency-Key are retried first\n"},
		{"429", "" +
			"429 TooManyRequests\n" +
			"  documented  yes\n" +
			"  meaning     The client exceeded its rate limit, or the server is over\n" +
			"              capacity: wait for Retry-After, then retry.\n" +
			"  retry       after Retry-After\n" +
			"  Transport   retries the request, whatever its method, after Retry-After or,\n" +
			"              without one, after a backoff or when a stated limit allows it; if\n" +
			"              it gives up, returns a *StatusError\n"},
		{"200", "" +
			"200 OK\n" +
			"  documented  no; the meaning is that of the code's whole class\n" +
			"  meaning     A success that the IAM API does not document on its own.\n" +
			"  retry       unstated\n" +
			"  Transport   returns the response unchanged\n"},
		{"999", "" +
			"999\n" +
			"  documented  no; the meaning is that of the code's whole class\n" +
			"  meaning     A server error that the IAM API does not document.\n" +
			"  retry       unstated\n" +
			"  Transport   returns a *StatusError; if AlsoRetry lists the code, requests that\n" +
			"              are idempotent or have an Idempotency-Key are retried first\n"},
		{"413", "" +
			"413 Request Entity Too Large\n" +
			"  documented  yes\n" +
			"  meaning     The body is larger than the server accepts. If Retry-After is\n" +
			"              present, the condition is temporary.\n" +
			"  retry       if Retry-After is present\n" +
			"  Transport   returns a *StatusError; if AlsoRetry lists the code and the\n" +
			"              response has Retry-After, the request is retried first\n"},
	} {
		code, stdout, stderr := ask(c.arg)
		assert.Zero(t, code)
		assert.Empty(t, stderr)
		assert.Equal(t, c.want, stdout)
	}
}

func TestSeveralStatusCodesAreExplainedInTheGivenOrder(t *testing.T) {
	code, stdout, _ := ask("503", "408")
	assert.Zero(t, code)
	assert.Regexp(t, `(?s)^503 .*\n\n408 Request Time-out\n`, stdout)
}

func TestStatusCodeCanBeGivenByItsTitle(t *testing.T) {
	for arg, want := range map[string]string{
		"NotFound":          "404 NotFound\n",
		"not-found":         "404 NotFound\n",
		"Not Found":         "404 NotFound\n",
		"request time-out":  "408 Request Time-out\n",
		"RequestTimeout":    "408 Request Time-out\n",
		"ServerTimeout":     "504 ServerTimeout\n", // the title in the documentation
		"Gateway Timeout":   "504 ServerTimeout\n", // the title in net/http
		"ok":                "200 OK\n",
		"Too many requests": "429 TooManyRequests\n",

		iamhttp.ErrNotFound.Error():       "404 NotFound\n",
		iamhttp.ErrRequestTimeout.Error(): "408 Request Time-out\n",
		"404 Not Found":                   "404 NotFound\n",
	} {
		code, stdout, stderr := ask(arg)
		require.Zero(t, code, stderr)
		assert.True(t, strings.HasPrefix(stdout, want), "%s: %s", arg, stdout)
	}
}

func TestWithoutAnArgumentTheDocumentedStatusCodesAnd200ArePrinted(t *testing.T) {
	code, stdout, stderr := ask()
	assert.Zero(t, code)
	assert.Empty(t, stderr)
	rows, _, _ := strings.Cut(stdout, "\n\n")
	lines := strings.Split(rows, "\n")
	assert.Len(t, lines, 1+1+41, "want one line for the heading, one for 200, and one for each documented code")
	assert.Regexp(t, `\n101 .*\n200 +OK +unstated +response\n201 `, stdout)
	assert.Regexp(t, `^CODE +TITLE +RETRY +TRANSPORT$`, lines[0])
	assert.Regexp(t, `\n304 +Not Modified +unstated +response\n`, stdout)
	assert.Regexp(t, `\n404 +NotFound +not without modifications +\*StatusError\n`, stdout)
	assert.Regexp(t, `\n408 +Request Time-out +at any later time +retries\n`, stdout)
	assert.Regexp(t, `\n429 +TooManyRequests +after Retry-After +retries\n`, stdout)
}

func TestOutputFitsIn80Columns(t *testing.T) {
	args := [][]string{nil, {"-h"}, {"nonsense"}, {"--nonsense"}, {strings.Repeat("long ", 30)}, {"1000000000000000000000000000"}}
	for status := 100; status < 600; status++ {
		args = append(args, []string{strconv.Itoa(status)})
	}
	for _, m := range answer.Meanings {
		args = append(args, []string{m.Code})
	}
	for r := iamhttp.ReasonUnknown + 1; r <= iamhttp.ReasonRegionFailover; r++ {
		args = append(args, []string{r.Error()})
	}
	for _, a := range args {
		_, stdout, stderr := ask(a...)
		for line := range strings.Lines(stdout + stderr) {
			assert.LessOrEqual(t, utf8.RuneCountInString(line), 1+80, line)
		}
	}
}

func TestStatusAndServiceCodesAreFoundByWordsInTheirMeanings(t *testing.T) {
	for arg, want := range map[string]string{
		"rate limit":   "429 TooManyRequests\n",
		"password":     "401 Unauthorized\n",
		"user name":    "401 Unauthorized\n",
		"no more user": "1115\n",
		"too large":    "413 Request Entity Too Large\n",
	} {
		_, stdout, _ := ask(arg)
		assert.True(t, strings.HasPrefix(stdout, want), "%s: %s", arg, stdout)
	}
	_, stdout, _ := ask("user name")
	assert.Contains(t, stdout, "\n\n1109\n", "the meanings of the service's own codes must also be searched")
	for _, arg := range []string{"rate limits", "a nonsense", ",;"} {
		code, _, _ := ask(arg)
		assert.Equal(t, 2, code, arg)
	}
}

func TestUnknownArgumentsAreRefusedWithAdvice(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"nonsense"}, `explain: found nothing about "nonsense"`},
		{[]string{"--nonsense"}, `explain: found nothing about "--nonsense"`},
		{[]string{""}, `explain: found nothing about ""`},
		{[]string{"42"}, `explain: "42" is not a status code: use a number from 100 to 999`},
		{[]string{"1000"}, `explain: "1000" is not a status code: use a number from 100 to 999`},
		{[]string{"-5"}, `explain: "-5" is not a status code: use a number from 100 to 999`},
		{[]string{"404 Unauthorized"}, `explain: found nothing about "404 Unauthorized"`},
		{[]string{"404", "no\nsense", "0"}, `explain: found nothing about "no\nsense"` +
			"\nexplain: \"0\" is not a status code: use a number from 100 to 999"},
	} {
		code, stdout, stderr := ask(c.args...)
		assert.Equal(t, 2, code)
		assert.Empty(t, stdout)
		assert.Equal(t, c.want+advice, stderr)
	}
}

func TestHelpShowsExamples(t *testing.T) {
	for _, flag := range []string{"-h", "-help", "--help"} {
		code, stdout, stderr := ask(flag)
		assert.Zero(t, code)
		assert.Empty(t, stderr)
		assert.Contains(t, stdout, "go run ./examples/explain 503")
	}
}

func TestServiceCodeIsExplained(t *testing.T) {
	for arg, want := range map[string]string{
		"IAM.0061":   "IAM.0061\n  reason      account locked\n  decision    wait until the account is unlocked; logging in again does not help\n",
		"iam.0061":   "IAM.0061\n  reason      account locked\n",
		"APIGW.0308": "APIGW.0308\n  reason      throttled\n  decision    try again later\n",
		"1109":       "1109\n  reason      already exists\n  decision    use the existing one, or choose another name\n  documented  as a 400: the user name is taken\n",
		"IAM.0011":   "IAM.0011\n  reason      none known; rely on the status code and the message\n",
	} {
		code, stdout, stderr := ask(arg)
		assert.Zero(t, code)
		assert.Empty(t, stderr)
		assert.True(t, strings.HasPrefix(stdout, want), stdout)
	}
}

func TestEveryReasonHasADecision(t *testing.T) {
	for r := iamhttp.ReasonUnknown + 1; r <= iamhttp.ReasonRegionFailover; r++ {
		assert.NotEmpty(t, decisions[r], r)
	}
}

func TestServiceCodeWithSeveralMeaningsIsExplainedByItsMessages(t *testing.T) {
	for _, arg := range []string{"APIGW.0301", "apig.0301"} {
		code, stdout, stderr := ask(arg)
		assert.Zero(t, code)
		assert.Empty(t, stderr)
		assert.True(t, strings.HasPrefix(stdout, strings.ToUpper(arg)+"\n  reason      depends on the message; without one, token expired\n"), stdout)
		assert.Contains(t, stdout, `  message     "AK access failed to reach the limit,forbidden": account locked,`+"\n")
		assert.Contains(t, stdout, `  message     "verify aksk signature fail": signature invalid, check the secret`+"\n")
		assert.Contains(t, stdout, "unknown reason,\n              the service could not check the credentials; logging in again does\n              not help\n")
		for line := range strings.SplitSeq(stdout, "\n") {
			assert.LessOrEqual(t, len(line), 80, line)
		}
	}
	_, stdout, _ := ask("APIG.0303")
	assert.True(t, strings.HasPrefix(stdout, "APIG.0303\n  reason      depends on the message\n  documented  as a 401: the signature"), stdout)
}

func TestReasonsAreFoundByTheirWordsOrNames(t *testing.T) {
	for arg, want := range map[string]string{
		"quota": "quota exceeded\n  decision    delete something, or ask for a higher quota\n" +
			"  code        1115, as a 400: no more users can be created\n  code        APIG.0501, as a 405: the app has used up its quota of calls\n",
		"Quota Exceeded":      "quota exceeded\n",
		"quota-exceeded":      "quota exceeded\n",
		"ReasonQuotaExceeded": "quota exceeded\n",
		"AccountLocked":       "account locked\n",
		"exists":              "already exists\n",
		"signature":           "signature invalid\n",
		"failover":            "region failover\n",
		"throttled":           "throttled\n",
		"api":                 "API not found\n",
	} {
		code, stdout, stderr := ask(arg)
		require.Zero(t, code, stderr)
		assert.True(t, strings.HasPrefix(stdout, want), "%s: %s", arg, stdout)
	}
	_, stdout, _ := ask("expired")
	assert.Regexp(t, `(?s)^credential expired\n.*\n\ntoken expired\n`, stdout, "every reason that contains the word must be explained")
	_, stdout, _ = ask("locked")
	assert.Regexp(t, `(?s)^423 Locked\n.*\n\naccount locked\n.*  message     "The account is locked."\n`, stdout, "both the status with this title and the reason that contains the word must be explained")
	_, stdout, _ = ask("not found")
	assert.NotContains(t, stdout, "API", "the title of a documented status must not be looked up as a reason")
}
