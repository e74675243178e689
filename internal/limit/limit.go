// Package limit parses what a failing response states about the service's rate limit. A
// service may state nonsense, so malformed, negative and absurd values are ignored.
package limit

import (
	"cmp"
	"math"
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

// If the end of a window is not stated, the wait is the window divided by windowShare. If
// many requests were sent at once, the window has just begun, and three such waits reach
// its end. In a window that began earlier, calls may wait up to a third of it too long.
// Shorter waits would waste more requests, and might use up the attempts before the window
// ends: against 200 in 5 minutes, 500 calls by 10 callers take 1.12 requests per success
// with a third of the window, and 1.2 with a quarter.
const windowShare = 3

// Wait returns how long the limit asks to wait, or 0. If requests remain, it returns 0,
// because another limit must have refused the request. fromWindow reports whether the
// wait is only a part of the window, because the end of the window is unknown.
func (l Limit) Wait() (wait time.Duration, fromWindow bool) {
	switch {
	case l.Remaining > 0:
		return 0, false
	case l.Reset > 0 || l.Requests == 0:
		return l.Reset, false
	}
	return l.Per / windowShare, true
}

// Any is the bound for Longer, Stated and Of with which waits of any length count.
const Any = time.Duration(math.MaxInt64)

// Bound returns the bound for Longer, Stated and Of if a wait is cut to most and must then be
// shorter than left.
func Bound(left, most time.Duration) time.Duration {
	if most < left {
		return Any
	}
	return left
}

// Longer returns the limit that asks for the longer wait. Only waits shorter than bound
// count. A stated end takes precedence over a part of a window, which is only a guess. If
// these rules do not decide, Longer returns l or, if l states nothing, other.
func (l Limit) Longer(other Limit, bound time.Duration) Limit {
	mine, myGuess := l.Wait()
	theirs, theirGuess := other.Wait()
	switch {
	case l == (Limit{}):
		return other
	case theirs <= 0 || theirs >= bound:
		return l
	case mine <= 0 || mine >= bound || myGuess && !theirGuess || myGuess == theirGuess && theirs > mine:
		return other
	}
	return l
}

// Stated returns the limit that a response states in its header or in its body. at is the
// time when the response arrived. data is the body as far as it was read. If the
// header and the body state different limits, Longer chooses one of them. Only waits shorter
// than bound count.
func Stated(h http.Header, data []byte, status int, at time.Time, bound time.Duration) Limit {
	l := Of(h, at, bound)
	if len(data) > 0 && (h["Content-Encoding"] != nil || mayState(data)) {
		message, delay := answer.Message(h, data, status)
		l = l.Longer(OfBody(answer.OneLine(message), delay), bound)
	}
	return l
}

// Of returns the limit that a response states in its header. A response may contain
// several statements, for example from a service and from a proxy in front of it. The
// statement that asks for the longest wait shorter than bound counts, with two exceptions:
// X-Retry-After and its variants, which say when to retry, take precedence over what is known
// of a window, and a stated end over a guess (see Longer).
func Of(h http.Header, at time.Time, bound time.Duration) Limit {
	l := asked(h, at, bound)
	// If the chosen statement has no number of requests, the first of these that has one
	// provides it.
	stated := [...]Limit{structured(h, bound), dictionary(h), family(h, at, "X-Ratelimit-"), family(h, at, "X-Rate-Limit-"), family(h, at, "Ratelimit-"), debug(h)}
	if l.Reset == 0 || l.Reset >= bound {
		for _, other := range stated {
			l = l.Longer(other, bound)
		}
	}
	if l.Requests == 0 {
		for _, other := range stated {
			if other.Requests > 0 {
				l.Requests, l.Per, l.Policy = other.Requests, other.Per, cmp.Or(l.Policy, other.Policy)
				break
			}
		}
	}
	return l.clean()
}

// Asks reports whether a response's X-Retry-After, or a variant of it, asks for a wait. Unlike
// the other fields, which a response may contain whatever its status is, these say why it
// failed.
func Asks(h http.Header, at time.Time) bool { return asked(h, at, Any).Reset > 0 }

// asked returns the wait that these fields ask for. As with Of, only waits shorter than
// bound count.
func asked(h http.Header, at time.Time, bound time.Duration) (l Limit) {
	for _, name := range [...]string{"X-Retry-After", "X-Ratelimit-Retry-After", "X-Rate-Limit-Retry-After-Seconds"} {
		if d, ok := answer.Wait(h[name], h, at); ok && d > 0 && d <= longest {
			l = l.Longer(Limit{Reset: d}, bound)
		}
	}
	return l
}

// clean removes a Policy that must not be printed. It returns the zero Limit if neither
// Requests nor Reset is set.
func (l Limit) clean() Limit {
	if len(l.Policy) > 64 || strings.ContainsFunc(l.Policy, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-/", r)
	}) {
		l.Policy = "" // in an error text, such a name could look like part of our own text
	}
	if l.Requests == 0 && l.Reset == 0 { // on their own, Remaining and Policy mean nothing
		return Limit{}
	}
	return l
}

// family returns the limit in the fields Limit, Remaining and Reset with this prefix. The
// IETF's drafts with these fields, 03 to 06, may state the window in RateLimit-Policy.
func family(h http.Header, at time.Time, prefix string) (l Limit) {
	var name [32]byte
	field := func(suffix string) []string { return h[string(append(append(name[:0], prefix...), suffix...))] }
	if lines := field("Limit"); len(lines) > 0 {
		l = quota(strings.Join(lines, ","))
	}
	if prefix == "Ratelimit-" && l.Per == 0 {
		l.Per = policyOf(l.Requests, h)
	}
	l.Reset = reset(field("Reset"), h, at)
	if lines := field("Remaining"); len(lines) == 1 && (l.Requests > 0 || l.Reset > 0) {
		count, params, _ := strings.Cut(lines[0], ";") // "76;w=21600"
		n, ok := number(strings.TrimSpace(count))
		if _, wellFormed := windowOf(params); ok && wellFormed && n <= mostRequests {
			l.Remaining = int(n)
		}
	}
	return l
}

// reset reads a number of seconds, or a time in seconds or milliseconds since 1970, which it
// compares with the response's own Date or, without a valid Date, with at. If there are
// several lines, the longest wait counts.
func reset(lines []string, h http.Header, at time.Time) (longestOf time.Duration) {
	for _, line := range lines {
		line = strings.TrimSpace(line)
		fraction := "0"
		inMillis := len(line) == 13 // a time in seconds has ten digits until the year 2286
		if inMillis {
			line, fraction = line[:10], line[10:]
		}
		n, ok := number(line)
		millis, valid := number(fraction)
		if !ok || !valid || n == 0 {
			continue
		}
		d := window(n, time.Second)
		if d == 0 || inMillis { // n is too large for a wait, so it is a point in time
			origin := at
			if date, err := http.ParseTime(h.Get("Date")); err == nil {
				origin = date
			}
			d = time.Unix(n, millis*int64(time.Millisecond)).Sub(origin)
		}
		if d > 0 && d <= longest {
			longestOf = max(longestOf, d)
		}
	}
	return longestOf
}

// quota reads "60", "60r/m", "60r/5m", "60;w=60" and "60, 60;w=60, 1000;w=3600": the
// limit, which may be followed by policies with their windows. If any part is malformed,
// such as "1,000" or "1.5r/m", nothing is read.
func quota(s string) Limit {
	s, ok := emptied(s)
	if !ok {
		return Limit{}
	}
	first, policies, several := strings.Cut(s, ",")
	head, params, own := strings.Cut(strings.TrimSpace(first), ";")
	head = strings.TrimSpace(head)
	digits := leading(head)
	n, ok := number(digits)
	if !ok || n == 0 || n > mostRequests {
		return Limit{}
	}
	var per time.Duration
	if rest := strings.TrimSpace(head[len(digits):]); rest != "" {
		if per = perOf(rest); per == 0 {
			return Limit{}
		}
	}
	if own {
		if per, ok = windowOf(params); !ok {
			return Limit{}
		}
	}
	for several {
		first, policies, several = strings.Cut(policies, ",")
		q, params, found := strings.Cut(strings.TrimSpace(first), ";")
		w, ok := windowOf(params)
		m, isNumber := number(strings.TrimSpace(q))
		if !found || !ok || !isNumber {
			return Limit{}
		}
		if m == n && !own {
			per = max(per, w)
		}
	}
	return Limit{Requests: int(n), Per: per}
}

// emptied removes the content of the quoted strings in s, which may contain separators. It
// returns false if the last string has no end.
func emptied(s string) (string, bool) {
	if !strings.Contains(s, `"`) { // the usual case
		return s, true
	}
	var b strings.Builder
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			quoted = !quoted
			b.WriteByte(c)
		case !quoted:
			b.WriteByte(c)
		case c == '\\':
			i++ // the next character is part of the string
		}
	}
	return b.String(), !quoted
}

// perOf parses what follows the number in "60r/m", "60 requests/5m" or "60/minute".
func perOf(s string) time.Duration {
	of, name, found := strings.Cut(strings.ToLower(s), "/")
	if name = strings.TrimSpace(name); !found || name == "" || strings.ContainsFunc(of, func(r rune) bool { return (r < 'a' || r > 'z') && r != ' ' }) {
		return 0
	}
	if leading(name) != "" {
		return lengthOf(name)
	}
	return unit(name)
}

// windowOf returns the window among the parameters of a policy, or 0 if there is none. It
// returns false if the window is malformed.
func windowOf(params string) (per time.Duration, ok bool) {
	for p := range strings.SplitSeq(params, ";") {
		if w, found := strings.CutPrefix(strings.TrimSpace(p), "w="); found {
			seconds, ok := number(w)
			if per = window(seconds, time.Second); !ok || per == 0 {
				return 0, false
			}
		}
	}
	return per, true
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

// unit returns the length of a unit that is given by its name (singular or plural), an
// abbreviation or its first letter, or 0 if the unit is unknown.
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
