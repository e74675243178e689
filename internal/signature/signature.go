// Package signature tells which requests are signed with an access key, and until
// when such a signature is good. It is pure, and allocates nothing.
package signature

import (
	"net/http"
	"strings"
	"time"
)

// Life is how far the time of a signature and that of the gateway may be apart, by
// the documentation of the API gateway (APIG.0301 and APIG.0303, "signature expired").
const Life = 15 * time.Minute

// Layout is how the header X-Sdk-Date writes a time, in UTC.
const Layout = "20060102T150405Z"

// Time returns when a request was signed, and false if it is not signed with an
// access key, or in a way that has no X-Sdk-Date.
func Time(h http.Header) (time.Time, bool) {
	date, authorization := h["X-Sdk-Date"], h["Authorization"]
	if len(date) != 1 || len(authorization) != 1 {
		return time.Time{}, false
	}
	scheme, _, ok := strings.Cut(authorization[0], " ")
	if !ok || !strings.HasPrefix(scheme, "SDK-") && !strings.HasPrefix(scheme, "V11-") {
		return time.Time{}, false
	}
	return parse(date[0])
}

// Expires returns until when the signature of a request is good, by the clock that
// has signed it, and the zero Time if there is none. A life of 0 means [Life], a
// negative one that a signature has no end.
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

// A Signer is a RoundTripper that signs each attempt, as aksk.Transport does.
type Signer interface{ SignsEachAttempt() }

// parse does what time.Parse does with the Layout, in a tenth of the time.
func parse(s string) (time.Time, bool) {
	if len(s) != len(Layout) || s[8] != 'T' || s[15] != 'Z' {
		return time.Time{}, false
	}
	var n [6]int // year, month, day, hour, minute, second
	at := 0
	for i, digits := range [...]int{4, 2, 2, 2, 2, 2} {
		if i == 3 {
			at++ // the T
		}
		for range digits {
			d := s[at] - '0'
			if d > 9 {
				return time.Time{}, false
			}
			n[i] = 10*n[i] + int(d)
			at++
		}
	}
	t := time.Date(n[0], time.Month(n[1]), n[2], n[3], n[4], n[5], 0, time.UTC)
	// time.Date takes the 31st of February for the 2nd or 3rd of March.
	if n[1] < 1 || n[1] > 12 || t.Day() != n[2] || n[3] > 23 || n[4] > 59 || n[5] > 59 {
		return time.Time{}, false
	}
	return t, true
}
