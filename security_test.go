package iamhttp_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// securityTests lists the tests for each bold statement in SECURITY.md, in the document's
// order.
var securityTests = []struct {
	statement string
	tests     []string
}{
	{"make a call hang on an error body", []string{
		"TestReadingAnErrorBodyIsBounded",
		"TestDiscardingABodyIsBounded",
		"TestSlowErrorBodyIsTruncatedBeforeTheDeadline",
		"TestErrorBodyArrivingAtAByteASecondIsReadForFiveSeconds",
		"TestSlowDiscardedBodyHardlyDelaysTheRetry",
		"TestStalledErrorBodyDoesNotPreventTheRetry",
		"TestStalledGzipBodyDoesNotDelayTheCall",
	}},
	{"fill your memory with an error body", []string{
		"TestErrorBodyOfAGigabyteIsReadOnlyUpTo64KiB",
		"TestGzipBombIsNotInflatedBeyondTheLimit",
		"TestParsingAGzipBombAllocatesLessThan1MiB",
	}},
	{"choose how long you wait", []string{
		"Test100000BogusRetryAfterValuesNeverMakeTheWaitTooLong",
		"TestCallThatStopsEarlyReturnsAtOnceWithTheStopReason",
		"FuzzRetryAfter",
	}},
	{"end a call, or shorten a wait, by stating a limit", []string{
		"TestTenThousandBogusLimitsNeverShortenTheWaitOrEndTheCall",
		"TestAResetAfterTheDeadlineDoesNotHideAnEarlierOne",
		"TestStatedLimitDoesNotEndACallWithAGate",
		"TestStatedWindowEndsNoCallAndImpatientCallsProbeForTheRest",
	}},
	{"make the Transport retry without end", []string{
		"TestWithMaxAttemptsOverridesTheSetting",
		"TestZeroAndNegativeSettingsMeanTheDefault",
		"TestDeadlineReplacesTheDefaultLimits",
	}},
	{"get a POST retried", []string{
		"TestOnly408And429AreRetriedByDefault",
		"TestConnectionResetAtAnyByteIsAnErrorAndAPOSTIsSentOnce",
		"TestHTTP2POSTIsResentOnlyIfItWasNotProcessed",
		"TestSoak",
	}},
	{"redirect the Transport", []string{
		"TestRedirectsAreLeftToTheClient",
		"TestSecretsInARedirectDoNotReachTheError",
	}},
	{"pass off a response that nobody asked for", []string{"TestUnsolicitedResponseIsNotUsedForTheNextRequest"}},
	{"forge a log line", []string{
		"TestTextFromTheServerCannotForgeALogLine",
		"TestErrorTextIsOneLineWithAllKnownDetails",
		"FuzzErrorBody",
	}},
	{"hold up the calls of another account", []string{"TestPausedAccountDoesNotDelayAnotherAccount"}},
	{"leave you without a response", []string{
		"TestEndlessHeaderEndsTheCallAtTheDeadline",
		"TestHTTP2RefusedStreamsEndTheCallAtTheDeadline",
	}},
	{"stall a body that is read ahead and put back", []string{"TestBodyReadAheadIsPutBackInFrontOfTheRest"}},
	{"carry a request out and still respond with 408 or 429", []string{
		"TestSoak",
		"TestBodyIsReplayedFromGetBodyForEachRetry",
	}},
	{"hold up all callers of the account that it throttles", []string{
		"TestPauseLongerThanMaxWaitIsRefusedAtOnce",
		"TestSlowAnswersDoNotStallOtherRequests",
	}},
	{"prolong a call with 408s and 429s", []string{"TestCallThatIsAlwaysThrottledWaitsAtMostSixteenMinutes"}},
	{"keep a connection and two goroutines busy", []string{"TestReadingAnErrorBodyIsBounded"}},
	{"make an aksk.Transport sign with the wrong time", []string{
		"TestA401IsRetriedOnceIfTheClockWasOffAndOnlyThen",
		"TestClockOffsetFromOneResponseIsUsedForLaterRequests",
	}},
	{"send a header as large as http.Transport allows", []string{"TestHeaderWithinTheLimitIsKeptAndALargerOneIsAnError"}},
	{"send 100,000 lines of Retry-After", []string{"Test100000RetryAfterLinesAreParsedQuickly"}},
	{"choose up to 1,040 bytes of the error text", []string{"TestServerChoosesAtMost1040BytesOfTheErrorText"}},
	{"impersonate the service", []string{"TestInvalidCertificateEndsTheCallAtTheFirstHandshake"}},
	{"cause attempts without end", []string{"TestProxyThatKeepsThrottlingUsesUpTheAttempts"}},
	{"pass its response off as the service's, or get the proxy's password into an error", []string{"TestProxyRefusalIsATypedError"}},
	{"cut connections", []string{"TestConnectionResetAtAnyByteIsAnErrorAndAPOSTIsSentOnce"}},
	{"an idempotent request", []string{"TestConnectionErrorsAreRetriedOnlyIfEnabledAndIdempotent"}},
	{"log a token, password, query or body", []string{
		"TestNothingSecretIsPrintedLoggedOrMarshaled",
		"TestNothingInThisPackagePrintsASecret",
	}},
	{"make an aksk.Transport sign for another host", []string{"TestRequestIsSignedAgainOnlyIfItsSignatureIsStaleAndReplaceable"}},
	{"send half a body, an empty body or a mixture of two", []string{
		"TestRequestWhoseBodyCannotBeReplayedIsSentOnce",
		"TestUploadThrottledBeforeItsEndIsReplayedByteForByte",
		"TestUploadRefusedHalfwayIsResentInFull",
	}},
	{"multiply the attempts", []string{"TestStackedTransportsSendNoMoreRequestsThanOneTransport"}},
	{"get a POST retried by listing 503", []string{"TestAlsoRetryRequiresIdempotenceExceptFor413"}},
	{"turn the limits off", []string{"TestZeroAndNegativeSettingsMeanTheDefault"}},
	{"leave connections, goroutines or timers behind", []string{
		"TestSoak",
		"TestTenThousandCanceledCallsReturnAtOnce",
	}},
	{"change the error that others see", []string{
		"TestHeaderOfAnErrorIsACopy",
		"TestAReportedErrorNeverChanges",
	}},
	{"log secrets", []string{"TestHeaderBodyAndURLErrorCanContainSecrets"}},
	{"retry a 403", []string{"ExampleTransport_RoundTrip_incorrect"}},
	{"wait as long as the server likes", []string{"TestWithoutADeadlineTheTransportWaitsADayForAResponse"}},
}

func TestEveryBoldStatementInSECURITYHasTests(t *testing.T) {
	text, err := os.ReadFile("SECURITY.md")
	require.NoError(t, err)
	var said, tested []string
	for _, m := range regexp.MustCompile(`\*\*([^*]+?)[.,:]?\*\*`).FindAllStringSubmatch(string(text), -1) {
		said = append(said, strings.Join(strings.Fields(m[1]), " "))
	}
	for _, s := range securityTests {
		tested = append(tested, s.statement)
		assert.NotEmpty(t, s.tests, "no test is listed for the statement: %s", s.statement)
	}
	assert.Greater(t, len(said), 30)
	assert.Equal(t, said, tested, "the statements in SECURITY.md and in this file differ")
}

func TestEveryTestListedForSECURITYExists(t *testing.T) {
	tests := map[string]bool{}
	for _, dir := range []string{".", "aksk", "gate", "internal/*"} {
		found, err := filepath.Glob(dir + "/*_test.go")
		require.NoError(t, err)
		for _, file := range found {
			b, err := os.ReadFile(file)
			require.NoError(t, err)
			for _, f := range regexp.MustCompile(`(?m)^func \w+`).FindAllString(string(b), -1) {
				tests[f] = true
			}
		}
	}
	for _, s := range securityTests {
		for _, name := range s.tests {
			assert.True(t, tests["func "+name], "test %s is listed for a statement but does not exist; the statement is: %s", name, s.statement)
		}
	}
}
