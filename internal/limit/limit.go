// Package limit parses what a failing response states about the service's rate limit. A
// service may state nonsense, so malformed, negative and absurd values are ignored.
package limit

import (
	"net/http"
	"strings"
	"time"

	"github.com/iamhttp/iamhttp/internal/answer"
)

// A Limit is a rate limit as the service states it. It has the same fields as gate.Limit,
// where they are documented.
type Limit struct {
	Requests  int
	Per       time.Duration
	Remaining int
	Reset     time.Duration
	Policy    string
}

const (
	mostRequests = 1_000_000_000
	longest      = 31 * 24 * time.Hour // the longest window, and the longest time until it ends
)

// Of returns the limit that a response states in its header or, if the header states
// none, in its message. at is the time when the response arrived. More precise header
// fields take precedence: X-Retry-After, then the IETF's structured fields, then
// X-RateLimit-Reset and its variants.
func Of(h http.Header, message string, at time.Time) Limit {
	var l Limit
	for _, name := range [...]string{"X-Retry-After", "X-Ratelimit-Retry-After"} {
		if d, ok := answer.Wait(h[name], h, at); ok && d > 0 && d <= longest {
			l.Reset = max(l.Reset, d)
		}
	}
	l.fields(h)
	if l.Reset == 0 {
		for _, name := range [...]string{"X-Ratelimit-Reset", "X-Rate-Limit-Reset", "Ratelimit-Reset"} {
			l.Reset = max(l.Reset, reset(h[name], h, at))
		}
	}
	if l.Requests == 0 {
		for _, name := range [...]string{"X-Ratelimit-Limit", "X-Rate-Limit-Limit", "Ratelimit-Limit"} {
			if l.quota(h.Get(name)) {
				break
			}
		}
	}
	if l.Requests > 0 || l.Reset > 0 {
		for _, name := range [...]string{"X-Ratelimit-Remaining", "X-Rate-Limit-Remaining", "Ratelimit-Remaining"} {
			if n, ok := number(strings.TrimSpace(h.Get(name))); ok && n <= mostRequests {
				l.Remaining = int(n)
				break
			}
		}
	}
	if l == (Limit{}) {
		l = ofDebug(h)
	}
	if l == (Limit{}) {
		l = ofMessage(message)
	}
	if strings.ContainsFunc(l.Policy, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-/", r)
	}) {
		l.Policy = "" // in an error text, such a name could look like part of our own text
	}
	return l
}

// reset reads a number of seconds, or a time in seconds since 1970, which it compares
// with the response's own Date. If there are several lines, the longest wait counts.
func reset(lines []string, h http.Header, at time.Time) (longestOf time.Duration) {
	for _, line := range lines {
		n, ok := number(strings.TrimSpace(line))
		if !ok || n == 0 {
			continue
		}
		d := window(n, time.Second)
		if d == 0 { // n is too large for a wait, so it is a point in time
			origin := at
			if date, err := http.ParseTime(h.Get("Date")); err == nil {
				origin = date
			}
			d = time.Unix(n, 0).Sub(origin)
		}
		if d > 0 && d <= longest {
			longestOf = max(longestOf, d)
		}
	}
	return longestOf
}

// quota reads "60", "60r/m", "60r/5m", "60;w=60" and "60, 60;w=60, 1000;w=3600": the
// limit, which may be followed by policies with their windows.
func (l *Limit) quota(s string) bool {
	s, policies, _ := strings.Cut(s, ",")
	head, params, _ := strings.Cut(s, ";")
	for p := range strings.SplitSeq(policies, ",") {
		if q, w, _ := strings.Cut(strings.TrimSpace(p), ";"); params == "" && q == strings.TrimSpace(head) {
			params = w
		}
	}
	head = strings.TrimSpace(head)
	digits := strings.IndexFunc(head, func(r rune) bool { return r < '0' || r > '9' })
	if digits < 0 {
		digits = len(head)
	}
	n, ok := number(head[:digits])
	if !ok || n == 0 || n > mostRequests {
		return false
	}
	per := time.Duration(0)
	if rest := strings.TrimSpace(head[digits:]); rest != "" {
		_, name, found := strings.Cut(rest, "/")
		if !found || strings.TrimSpace(name) == "" {
			return false
		}
		if name = strings.ToLower(strings.TrimSpace(name)); leading(name) != "" {
			per = lengthOf(name)
		} else {
			per = unit(name)
		}
		if per == 0 {
			return false
		}
	}
	for p := range strings.SplitSeq(params, ";") {
		if w, found := strings.CutPrefix(strings.TrimSpace(p), "w="); found {
			if seconds, ok := number(w); ok {
				per = window(seconds, time.Second)
			}
		}
	}
	l.Requests, l.Per = int(n), per
	return true
}

// number parses an unsigned decimal number with at most ten digits.
func number(s string) (n int64, ok bool) {
	if s == "" || len(s) > 10 {
		return 0, false
	}
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// window returns the length of n units, or 0 if that length is absurd.
func window(n int64, of time.Duration) time.Duration {
	if n <= 0 || n > int64(longest/of) {
		return 0
	}
	return time.Duration(n) * of
}

// unit returns the length of a unit that is given by its name or its first letter, or 0
// if the unit is unknown.
func unit(name string) time.Duration {
	name = strings.ToLower(name)
	if name == "ms" || name == "ns" {
		return 0 // no window is that short
	}
	switch strings.TrimSuffix(name, "s") {
	case "", "second", "sec": // "" is "s" without its suffix
		return time.Second
	case "m", "min", "minute":
		return time.Minute
	case "h", "hour":
		return time.Hour
	case "d", "day":
		return 24 * time.Hour
	}
	return 0
}
