package iamhttp_test

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
)

var update = flag.Bool("update", false, "rewrite the tables in docs/status-codes.md and docs/hostile.md")

// constants holds the exported codes by name.
var constants = map[string]iamhttp.Code{
	"ErrBadRequest": iamhttp.ErrBadRequest, "ErrUnauthorized": iamhttp.ErrUnauthorized, "ErrPaymentRequired": iamhttp.ErrPaymentRequired,
	"ErrForbidden": iamhttp.ErrForbidden, "ErrNotFound": iamhttp.ErrNotFound, "ErrMethodNotAllowed": iamhttp.ErrMethodNotAllowed,
	"ErrNotAcceptable": iamhttp.ErrNotAcceptable, "ErrProxyAuthRequired": iamhttp.ErrProxyAuthRequired, "ErrRequestTimeout": iamhttp.ErrRequestTimeout,
	"ErrConflict": iamhttp.ErrConflict, "ErrGone": iamhttp.ErrGone, "ErrLengthRequired": iamhttp.ErrLengthRequired,
	"ErrPreconditionFailed": iamhttp.ErrPreconditionFailed, "ErrRequestEntityTooLarge": iamhttp.ErrRequestEntityTooLarge,
	"ErrRequestURITooLong": iamhttp.ErrRequestURITooLong, "ErrUnsupportedMediaType": iamhttp.ErrUnsupportedMediaType,
	"ErrRequestedRangeNotSatisfiable": iamhttp.ErrRequestedRangeNotSatisfiable, "ErrExpectationFailed": iamhttp.ErrExpectationFailed,
	"ErrUnprocessableEntity": iamhttp.ErrUnprocessableEntity, "ErrTooManyRequests": iamhttp.ErrTooManyRequests,
	"ErrInternalServerError": iamhttp.ErrInternalServerError, "ErrNotImplemented": iamhttp.ErrNotImplemented, "ErrBadGateway": iamhttp.ErrBadGateway,
	"ErrServiceUnavailable": iamhttp.ErrServiceUnavailable, "ErrGatewayTimeout": iamhttp.ErrGatewayTimeout,
	"ErrHTTPVersionNotSupported": iamhttp.ErrHTTPVersionNotSupported,
}

func TestTheTableIsTheDocumentedOne(t *testing.T) {
	rules := map[string]iamhttp.RetryRule{
		"unstated": iamhttp.RetryUnstated, "discouraged": iamhttp.RetryDiscouraged, "anytime": iamhttp.RetryAnytime,
		"after Retry-After": iamhttp.RetryAfterDelay, "if Retry-After": iamhttp.RetryIfTemporary,
	}
	transcript, err := os.ReadFile("testdata/status_codes.tsv")
	require.NoError(t, err)
	var documented []iamhttp.Code
	for i, line := range strings.Split(strings.TrimSpace(string(transcript)), "\n") {
		cells := strings.Split(line, "\t")
		require.Len(t, cells, 3, line)
		if i == 0 {
			require.Equal(t, []string{"code", "title", "repeat"}, cells)
			continue
		}
		code, err := strconv.Atoi(cells[0])
		require.NoError(t, err)
		rule, ok := rules[cells[2]]
		require.True(t, ok, line)
		s := iamhttp.Classify(code)
		assert.Equal(t, iamhttp.Code(code), s.Code)
		assert.Equal(t, cells[1], s.Title)
		assert.Equal(t, rule, s.Retry, line)
		assert.True(t, s.Documented)
		assert.NotEmpty(t, s.Description)
		documented = append(documented, s.Code)
	}
	assert.Len(t, documented, 41)
	var codes []iamhttp.Code
	for c := range iamhttp.Codes() {
		codes = append(codes, c)
	}
	assert.Equal(t, documented, codes, "Codes must yield the codes in the order in which the API documents them")
	assert.IsIncreasing(t, codes, "Classify uses a binary search, so the codes must be in ascending order")
}

func TestRangeOverCodesCanStopEarly(t *testing.T) {
	for c := range iamhttp.Codes() {
		assert.Equal(t, iamhttp.Code(100), c)
		break
	}
}

func TestEveryDocumentedFailureHasAConstant(t *testing.T) {
	named := map[iamhttp.Code]bool{}
	for name, code := range constants {
		assert.True(t, iamhttp.Classify(int(code)).Documented, name)
		assert.False(t, named[code], "there is more than one constant for %v", code)
		named[code] = true
	}
	for code := range iamhttp.Codes() {
		assert.Equal(t, code >= 400, named[code], "each failure must have a constant, and no other code may have one: %v", code)
	}
	assert.Len(t, named, 26)
	assert.EqualValues(t, http.StatusRequestTimeout, iamhttp.ErrRequestTimeout)
	assert.EqualValues(t, http.StatusGatewayTimeout, iamhttp.ErrGatewayTimeout)
}

func TestClassifyAcceptsEveryInt(t *testing.T) {
	check := func(n int) {
		s := iamhttp.Classify(n)
		require.Equal(t, iamhttp.Code(n), s.Code)
		require.NotEmpty(t, s.Description, n)
		if !s.Documented {
			require.Equal(t, http.StatusText(n), s.Title)
			require.Equal(t, iamhttp.RetryUnstated, s.Retry)
		}
	}
	for n := -1000; n <= 1100; n++ {
		check(n)
	}
	check(math.MinInt)
	check(math.MaxInt)
}

func TestUndocumentedCodeIsDescribedByItsClass(t *testing.T) {
	for code, like := range map[int]int{
		102: 199, 200: 299, 207: 299, 307: 399, 308: 399, 418: 499, 426: 499, 494: 499, 511: 599,
		// RFC 9110 §15: an invalid code is treated as a 5xx.
		-1: 599, 0: 599, 99: 599, 600: 599, 999: 599, 1000: 599,
	} {
		s := iamhttp.Classify(code)
		assert.False(t, s.Documented)
		assert.Equal(t, iamhttp.Classify(like).Description, s.Description, code)
	}
	classes := map[string]bool{}
	for code := 199; code < 600; code += 100 {
		classes[iamhttp.Classify(code).Description] = true
	}
	assert.Len(t, classes, 5)
}

func TestCodeIsAnError(t *testing.T) {
	for code, want := range map[iamhttp.Code]string{
		404: "404 NotFound", 408: "408 Request Time-out", 504: "504 ServerTimeout", 418: "418 I'm a teapot",
		499: "499", 999: "999", 99: "99", 0: "0", -1: "-1",
	} {
		assert.EqualError(t, code, want)
	}
	err := fmt.Errorf("wrapped: %w", iamhttp.ErrConflict)
	assert.ErrorIs(t, err, iamhttp.ErrConflict)
	assert.NotErrorIs(t, err, iamhttp.ErrGone)
	var code iamhttp.Code
	ok := errors.As(err, &code)
	assert.True(t, ok)
	assert.Equal(t, iamhttp.ErrConflict, code)
}

func TestEveryRetryRuleHasADistinctText(t *testing.T) {
	seen := map[string]bool{}
	for r := iamhttp.RetryUnstated; r <= iamhttp.RetryIfTemporary; r++ {
		assert.NotEmpty(t, r.String())
		assert.NotContains(t, r.String(), "RetryRule(")
		assert.False(t, seen[r.String()])
		seen[r.String()] = true
	}
	assert.Equal(t, "RetryRule(200)", iamhttp.RetryRule(200).String())
}

func TestTableInStatusCodesMdMatchesTheCode(t *testing.T) {
	names := map[iamhttp.Code]string{}
	for name, code := range constants {
		names[code] = "`" + name + "`"
	}
	var table strings.Builder
	table.WriteString("| code | title | meaning | retry unchanged? | constant |\n|---|---|---|---|---|\n")
	for code := range iamhttp.Codes() {
		s := iamhttp.Classify(int(code))
		rule := ""
		if s.Retry != iamhttp.RetryUnstated {
			rule = "**" + s.Retry.String() + "**"
		}
		fmt.Fprintf(&table, "| %d | %s | %s | %s | %s |\n", code, s.Title, s.Description, rule, names[code])
	}
	isInStatusCodes(t, "status table", table.String())
}

// isInStatusCodes asserts that in docs/status-codes.md the text between the two comments
// with this name equals generated. With -update, it writes generated there instead.
func isInStatusCodes(t *testing.T, name, generated string) {
	t.Helper()
	const file = "docs/status-codes.md"
	begin, end := "<!-- "+name+", written by: go test -run StatusCodes -update . -->\n", "<!-- end of "+name+" -->"
	generated = "\n" + generated + "\n"
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	head, rest, ok := strings.Cut(string(text), begin)
	require.True(t, ok, "%s has no line %q", file, begin)
	old, tail, ok := strings.Cut(rest, end)
	require.True(t, ok, "%s has no line %q", file, end)
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(head+begin+generated+end+tail), 0o644))
		return
	}
	assert.Equal(t, generated, old, "docs/status-codes.md is out of date; run: go test -run StatusCodes -update .")
}
