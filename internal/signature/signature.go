// Package signature finds out whether a request is signed with an access key, and how
// long the signature is valid. Its functions, except for Delete, are pure. Except for Host,
// they do not allocate, unless a header's name occurs with more than one capitalization.
package signature

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Life is the largest difference between a signature's time and the gateway's clock that
// the API gateway's documentation allows (APIG.0301 and APIG.0303, "signature expired").
const Life = 15 * time.Minute

// Layout is the format of the time in the header X-Sdk-Date, in UTC.
const Layout = "20060102T150405Z"

// Time returns when a request was signed. It returns false if the request is not signed
// with an access key, or if X-Sdk-Date is missing or invalid. Time is called for every
// request at a gate, so it looks for the two usual spellings of Authorization only.
func Time(h http.Header) (time.Time, bool) {
	authorization := h["Authorization"]
	if authorization == nil {
		authorization = h["authorization"] //nolint:staticcheck // a program may have set the header in this way
	}
	if len(authorization) != 1 {
		return time.Time{}, false
	}
	scheme, _, ok := strings.Cut(authorization[0], " ")
	if !ok || !strings.HasPrefix(scheme, "SDK-") && !strings.HasPrefix(scheme, "V11-") {
		return time.Time{}, false
	}
	unix, ok := Date(h)
	return time.Unix(unix, 0), ok
}

// Expires returns when a request's signature expires, by the signer's clock. It returns
// the zero Time if there is no signature with a valid date, or if life is negative, which
// means that signatures do not expire. A life of 0 means [Life].
func Expires(h http.Header, life time.Duration) time.Time {
	signed, ok := Time(h)
	switch {
	case !ok || life < 0:
		return time.Time{}
	case life == 0:
		life = Life
	}
	return signed.Add(life)
}

// A Signer is a RoundTripper that can sign attempts, as aksk.Transport does.
// SignsEachAttempt reports whether the Signer keeps the signature of a request valid in
// each attempt, provided that the request can be signed again (see [CanSign]).
type Signer interface {
	SignsEachAttempt(req *http.Request) bool
}

// CanSign reports whether a request can be signed again: either its body, if any, can be
// read again, or the signature does not need the body.
func CanSign(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil || len(Values(req.Header, "X-Sdk-Content-Sha256")) > 0
}

// Date returns the time in the header X-Sdk-Date, in seconds since 1970. It returns false
// if the date is missing or invalid. Date is much faster than time.Parse.
func Date(h http.Header) (unix int64, ok bool) {
	date := Values(h, "X-Sdk-Date")
	if len(date) != 1 || len(date[0]) != len(Layout) {
		return 0, false
	}
	s := date[0] // 20060102T150405Z
	century, a := Two(s[0:2])
	year, b := Two(s[2:4])
	month, c := Two(s[4:6])
	day, d := Two(s[6:8])
	clock, e := Clock(s[9:11], s[11:13], s[13:15])
	if !(a && b && c && d && e) || s[8] != 'T' || s[15] != 'Z' {
		return 0, false
	}
	days, ok := Days(100*century+year, month, day)
	return 86400*days + clock, ok
}

// Clock returns the number of seconds since midnight, and false if there is no such time.
// Each argument must be two bytes long.
func Clock(hour, minute, second string) (seconds int64, ok bool) {
	h, a := Two(hour)
	m, b := Two(minute)
	s, c := Two(second)
	return 3600*h + 60*m + s, a && b && c && h < 24 && m < 60 && s < 60
}

// Days returns the number of days from 1 January 1970 to a date, and false if the date
// does not exist. Internally, a year begins in March, so that the leap day is its last
// day.
func Days(year, month, day int64) (days int64, ok bool) {
	if month < 1 || month > 12 || day < 1 {
		return 0, false
	}
	last := 30 + (month+month/8)%2
	if month == 2 {
		last = 28
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			last = 29
		}
	}
	if month -= 3; month < 0 {
		month += 12
		year--
	}
	year += 400               // keeps the year positive, because January of the year 0 counts as year -1
	const before1970 = 865565 // days from 1 March of the year -400 to 1 January 1970
	return 365*year + year/4 - year/100 + year/400 + (153*month+2)/5 + day - 1 - before1970, day <= last
}

// Two returns the number that two digits represent. s must be two bytes long.
func Two(s string) (n int64, ok bool) {
	tens, ones := s[0]-'0', s[1]-'0'
	return 10*int64(tens) + int64(ones), tens <= 9 && ones <= 9
}

// Values returns a header's values. It compares names without regard to case, because a
// program may have set the header with any capitalization, and net/http sends all of them.
// The caller must not change the result.
func Values(h http.Header, name string) []string {
	var values []string
	for k, v := range h {
		switch {
		case !same(k, name):
		case values == nil:
			values = v
		default:
			values = slices.Concat(values, v)
		}
	}
	return values
}

// Delete removes a header. Like Values, it compares names without regard to case.
func Delete(h http.Header, name string) {
	maps.DeleteFunc(h, func(k string, _ []string) bool { return same(k, name) })
}

func same(a, b string) bool { return len(a) == len(b) && strings.EqualFold(a, b) }

// Host returns the value that net/http sends in the Host header, which a signature may
// cover. (Over HTTP/2, net/http does not remove the zone of an IPv6 address.) It returns a host name that is not ASCII unchanged, but net/http converts such a
// name to Punycode.
func Host(req *http.Request) string {
	host := cmp.Or(req.Host, req.URL.Host)
	if end := strings.LastIndexByte(host, ']'); end > 0 && host[0] == '[' {
		if zone := strings.IndexByte(host[:end], '%'); zone > 0 { // the zone matters only to this machine
			return host[:zone] + host[end:]
		}
	}
	return host
}
