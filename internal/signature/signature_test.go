package signature_test

import (
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/internal/signature"
)

const known = "SDK-HMAC-SHA256 Access=ak, SignedHeaders=x-sdk-date, Signature=00"

func header(authorization, date string) http.Header {
	return http.Header{"Authorization": {authorization}, "X-Sdk-Date": {date}}
}

func TestTimeAcceptsTheSameDatesAsTimeParse(t *testing.T) {
	for _, date := range []string{
		"20261128T100000Z", "20240229T235959Z", "20230229T000000Z", "20261131T000000Z", "20261301T000000Z", "20260001T000000Z",
		"20261128T240000Z", "20261128T106000Z", "20261128T100060Z", "20261128T100000z", "20261128 100000Z", "2026112810000Z",
		"", "x", "2026-11-28T10:00", "20261128T1000000", "-0261128T100000Z", "00000101T000000Z", "99991231T235959Z", "20261100T000000Z",
	} {
		want, err := time.Parse(signature.Layout, date)
		got, ok := signature.Time(header(known, date))
		assert.Equal(t, err == nil, ok, date)
		if ok {
			assert.Equal(t, want, got.UTC(), date)
		}
	}
}

func TestDaysAgreesWithPackageTimeBeforeTheYear3000(t *testing.T) {
	for day := time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC); day.Year() < 3000; day = day.AddDate(0, 0, 1) {
		n, ok := signature.Days(int64(day.Year()), int64(day.Month()), int64(day.Day()))
		if !ok || n*86400 != day.Unix() {
			t.Fatalf("wrong number of days: got %d (valid: %v) for %v", n, ok, day)
		}
	}
}

// time.Parse also accepts fractions of a second.
func FuzzTimeAgreesWithTimeParse(f *testing.F) {
	f.Add("20261128T100000Z")
	f.Fuzz(func(t *testing.T, date string) {
		want, err := time.Parse(signature.Layout, date)
		got, ok := signature.Time(header(known, date))
		if ok && (err != nil || !got.Equal(want)) || !ok && err == nil && len(date) == len(signature.Layout) {
			t.Errorf("%q: got %v %v, want %v %v", date, got, ok, want, err)
		}
	})
}

func TestOnlySignaturesWithAnAccessKeyHaveATime(t *testing.T) {
	const date = "20261128T100000Z"
	for name, tt := range map[string]struct {
		header http.Header
		signed bool
	}{
		"a signature in the plain form":              {header(known, date), true},
		"a signature in the scoped form":             {header("SDK-HMAC-SHA256 Credential=ak/20261128/eu-de/iam/sdk_request, SignedHeaders=host, Signature=00", date), true},
		"a signature in the derived form":            {header("V11-HMAC-SHA256 Credential=ak/20261128/eu-de/iam, SignedHeaders=host, Signature=00", date), true},
		"a signature with another algorithm":         {header("SDK-HMAC-SM3 Access=ak, SignedHeaders=host, Signature=00", date), true},
		"a signature for AWS":                        {header("AWS4-HMAC-SHA256 Credential=ak", date), false},
		"a token instead of a signature":             {http.Header{"X-Auth-Token": {"t"}, "X-Sdk-Date": {date}}, false},
		"no header":                                  {nil, false},
		"a signature with two dates":                 {http.Header{"Authorization": {known}, "X-Sdk-Date": {date, date}}, false},
		"a signature without a date":                 {http.Header{"Authorization": {known}}, false},
		"an Authorization header with only a scheme": {header("SDK-HMAC-SHA256", date), false},
	} {
		_, signed := signature.Time(tt.header)
		assert.Equal(t, tt.signed, signed, name)
	}
}

func TestValuesFindsAHeaderWhateverTheCapitalizationOfItsName(t *testing.T) {
	h := http.Header{"x-sdk-date": {"a"}, "X-Sdk-Date": {"b", "c"}, "X-Other": {"d"}}
	assert.ElementsMatch(t, []string{"a", "b", "c"}, signature.Values(h, "X-Sdk-Date"))
	assert.Equal(t, http.Header{"x-sdk-date": {"a"}, "X-Sdk-Date": {"b", "c"}, "X-Other": {"d"}}, h)
	assert.Empty(t, signature.Values(h, "X-Sdk-Dat"))
	signature.Delete(h, "X-Sdk-Date")
	assert.Equal(t, http.Header{"X-Other": {"d"}}, h)
	assert.Zero(t, testing.AllocsPerRun(100, func() { signature.Values(h, "x-other") }))

	lower := http.Header{"authorization": {known}, "x-sdk-date": {"20261128T100000Z"}}
	assert.NotZero(t, signature.Expires(lower, 0))
	assert.True(t, signature.CanSign(&http.Request{Body: http.NoBody, Header: lower}))
	lower["x-sdk-content-sha256"] = []string{"UNSIGNED-PAYLOAD"}
	assert.True(t, signature.CanSign(&http.Request{Body: io.NopCloser(http.NoBody), Header: lower}))
}

func TestASignatureIsValidFor15MinutesByDefault(t *testing.T) {
	h := header(known, "20261128T100000Z")
	signed := time.Date(2026, 11, 28, 10, 0, 0, 0, time.UTC)
	assert.Equal(t, signed.Add(15*time.Minute), signature.Expires(h, 0).UTC())
	assert.Equal(t, signed.Add(4*time.Minute), signature.Expires(h, 4*time.Minute).UTC())
	assert.Zero(t, signature.Expires(h, -1))
	assert.Zero(t, signature.Expires(nil, 0))
	assert.Zero(t, testing.AllocsPerRun(100, func() { signature.Expires(h, 0) }))
}

func TestHostIsTheOneThatNetHTTPSends(t *testing.T) {
	for host, want := range map[string]string{
		"iam.example:8443":   "iam.example:8443",
		"[fe80::1%en0]:8443": "[fe80::1]:8443",
		"[fe80::1%25en0]":    "[fe80::1]",
		"[fe80::1]:8443":     "[fe80::1]:8443",
		"100%.example":       "100%.example",
		"[fe80::1%en0":       "[fe80::1%en0",
		"iam.example/[x%y]":  "iam.example/[x%y]",
		"":                   "url.example",
	} {
		assert.Equal(t, want, signature.Host(&http.Request{Host: host, URL: &url.URL{Host: "url.example"}}))
	}
}
