package answer_test

import (
	"math"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/internal/answer"
)

func TestRetryAfterIsParsedAsRFC9110Says(t *testing.T) {
	const longest = time.Duration(math.MaxInt64)
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		header http.Header
		want   time.Duration
		valid  bool
	}{
		"seconds":                 {http.Header{"Retry-After": {"120"}}, 2 * time.Minute, true},
		"surrounding white space": {http.Header{"Retry-After": {" \t7 \t"}}, 7 * time.Second, true},
		"leading zeros":           {http.Header{"Retry-After": {"0000000000000000000000000007"}}, 7 * time.Second, true},
		"zero":                    {http.Header{"Retry-After": {"0"}}, 0, true},
		"a negative number":       {http.Header{"Retry-After": {"-5"}}, 0, false},
		"a plus sign":             {http.Header{"Retry-After": {"+5"}}, 0, false},
		"a fraction":              {http.Header{"Retry-After": {"1.5"}}, 0, false},
		"an exponent":             {http.Header{"Retry-After": {"1e3"}}, 0, false},
		"hexadecimal":             {http.Header{"Retry-After": {"0x10"}}, 0, false},
		"an Arabic-Indic digit":   {http.Header{"Retry-After": {"٣"}}, 0, false},
		"a word":                  {http.Header{"Retry-After": {"soon"}}, 0, false},
		"empty":                   {http.Header{"Retry-After": {""}}, 0, false},
		"absent":                  {nil, 0, false},
		"the largest number that fits a Duration":                 {http.Header{"Retry-After": {"9223372036"}}, 9223372036 * time.Second, true},
		"the smallest number that overflows":                      {http.Header{"Retry-After": {"9223372037"}}, longest, true},
		"a number that would wrap to 6 s":                         {http.Header{"Retry-After": {"18446744080"}}, longest, true},
		"a number that does not fit into 64 bits":                 {http.Header{"Retry-After": {"99999999999999999999999"}}, longest, true},
		"two lines: the longer wait counts":                       {http.Header{"Retry-After": {"5", "10"}}, 10 * time.Second, true},
		"two lines: the invalid one is ignored":                   {http.Header{"Retry-After": {"soon", "10"}}, 10 * time.Second, true},
		"a list in one line":                                      {http.Header{"Retry-After": {"5, 10"}}, 0, false},
		"IMF-fixdate":                                             {http.Header{"Retry-After": {"Sat, 01 Jan 2000 00:01:00 GMT"}}, time.Minute, true},
		"RFC 850":                                                 {http.Header{"Retry-After": {"Saturday, 01-Jan-00 00:01:00 GMT"}}, time.Minute, true},
		"asctime":                                                 {http.Header{"Retry-After": {"Sat Jan  1 00:01:00 2000"}}, time.Minute, true},
		"a date in the past":                                      {http.Header{"Retry-After": {"Fri, 31 Dec 1999 23:59:00 GMT"}}, 0, true},
		"a date in another time zone":                             {http.Header{"Retry-After": {"Sat, 01 Jan 2000 00:01:00 CET"}}, 0, false},
		"an RFC 850 date in the past":                             {http.Header{"Retry-After": {"Friday, 31-Dec-99 23:59:00 GMT"}}, 0, true},
		"relative to Date, if the server's clock is an hour slow": {http.Header{"Retry-After": {"Fri, 31 Dec 1999 23:00:10 GMT"}, "Date": {"Fri, 31 Dec 1999 23:00:00 GMT"}}, 10 * time.Second, true},
		"relative to Date, if the server's clock is an hour fast": {http.Header{"Retry-After": {"Sat, 01 Jan 2000 01:00:10 GMT"}, "Date": {"Sat, 01 Jan 2000 01:00:00 GMT"}}, 10 * time.Second, true},
		"an invalid Date is ignored":                              {http.Header{"Retry-After": {"Sat, 01 Jan 2000 00:00:10 GMT"}, "Date": {"today"}}, 10 * time.Second, true},
		"a date and a number: the longer wait counts":             {http.Header{"Retry-After": {"Sat, 01 Jan 2000 00:00:10 GMT", "7"}}, 10 * time.Second, true},
		"a date centuries ahead saturates":                        {http.Header{"Retry-After": {"Fri, 31 Dec 9999 23:59:59 GMT"}}, longest, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, valid := answer.RetryAfter(tt.header, now)
			assert.Equal(t, tt.want, got)
			assert.Equal(t, tt.valid, valid)
		})
	}
	t.Run("the wait until a date, by the local clock, is rounded up to whole seconds", func(t *testing.T) {
		h := http.Header{"Retry-After": {"Sat, 01 Jan 2000 00:00:02 GMT"}}
		got, _ := answer.RetryAfter(h, now.Add(300*time.Millisecond))
		assert.Equal(t, 2*time.Second, got)
	})
}
