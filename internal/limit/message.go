package limit

import (
	"net/http"
	"strings"
	"time"
)

// OfBody returns the limit that a body states: the one in its message or, if that asks for a
// longer wait, the delay that a RetryInfo asks for.
func OfBody(message string, retryDelay time.Duration) (l Limit) {
	if retryDelay <= longest {
		l.Reset = retryDelay
	}
	return OfMessage(message).Longer(l, Any)
}

// OfMessage parses the limit, if any, in a message from the gateway or the IAM service:
//
//	The throttling threshold has been reached: policy user over ratelimit,limit:200,time:5 minute
//	… Threshold: 10 times per 60 seconds
func OfMessage(s string) Limit {
	return ofGateway(s).Longer(ofThreshold(s), Any).clean()
}

// ofThreshold parses the IAM service's text. It returns the zero Limit if the text states
// no valid limit.
func ofThreshold(s string) Limit {
	const name, perName = "threshold:", "times per "
	at := index(s, name)
	if at < 0 {
		return Limit{}
	}
	times, rest, _ := strings.Cut(strings.TrimSpace(s[at+len(name):]), " ")
	n, ok := number(times)
	rest = strings.TrimSpace(rest)
	if !ok || !begins(rest, perName) || n == 0 || n > mostRequests {
		return Limit{}
	}
	if per := lengthOf(rest[len(perName):]); per > 0 {
		return Limit{Requests: int(n), Per: per}
	}
	return Limit{}
}

// mayState is a cheap check that reports whether a message, or the message in a body,
// might state a limit. In a body, characters may be escaped.
func mayState(s []byte) bool {
	for i, c := range s {
		switch c | 0x20 {
		case 'l', 't', 'r':
			if begins(s[i:], "limit") || begins(s[i:], "threshold") || begins(s[i:], "retrydelay") {
				return true
			}
		case '\\' | 0x20:
			if begins(s[i+1:], "u") {
				return true
			}
		}
	}
	return false
}

// begins reports whether s begins with prefix, which must be in lower case, ignoring the
// case of ASCII letters in s. To lower the whole text first would cost an allocation.
func begins[T string | []byte](s T, prefix string) bool {
	if len(s) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != prefix[i] {
			return false
		}
	}
	return true
}

// index returns the position of the first name in s, or -1. Like begins, it ignores case.
func index(s, name string) int {
	for i := range len(s) - len(name) + 1 {
		if begins(s[i:], name) {
			return i
		}
	}
	return -1
}

// debug parses the header fields that the gateway adds in its debug mode, and returns
// the limit that is used up or, of several, the one with the longest window:
//
//	X-Apig-RateLimit-User: remain:0,limit:10,time:10 second
func debug(h http.Header) (l Limit) {
	for _, policy := range [...]string{"Api", "User", "App", "Ip", "Api-Allenv"} {
		text := h.Get("X-Apig-Ratelimit-" + policy)
		if remain, _, _ := valueOf(text, "remain:"); remain == "0" {
			if stated := ofGateway(text); stated.Requests > 0 {
				stated.Policy = strings.ToLower(policy)
				l = l.Longer(stated, Any)
			}
		}
	}
	return l
}

// ofGateway parses the values after "limit:" and "time:", which may come in either order.
// If a text states several limits, the one with the longest window counts. If any value
// is malformed, such as "1,000" or "2e3", nothing is read.
func ofGateway(s string) (l Limit) {
	limits, times := s, s
	named := 0 // the end of the text that may name the limit's policy
	for {
		limit, moreLimits, foundLimit := valueOf(limits, "limit:")
		length, moreTimes, foundTime := valueOf(times, "time:")
		if !foundLimit && !foundTime {
			break
		}
		digits := leading(limit)
		n, ok := number(digits)
		per := lengthOf(length)
		if !ok || n == 0 || n > mostRequests || per == 0 || !endsNumber(limit[len(digits):]) || continues(moreLimits) || continues(moreTimes) {
			return Limit{}
		}
		if per > l.Per {
			l.Requests, l.Per = int(n), per
			named = len(s) - max(len(moreLimits), len(moreTimes))
		}
		limits, times = moreLimits, moreTimes
	}
	l.Policy = policyIn(s[:named]) // only once, because it looks at the whole text
	return l
}

// policyIn returns the last policy that a text names.
func policyIn(s string) (name string) {
	for at := index(s, "policy "); at >= 0; at = index(s, "policy ") {
		s = s[at+len("policy "):]
		name = s
	}
	if end := strings.IndexAny(name, " ,:;"); end >= 0 {
		name = name[:end]
	}
	if name = strings.TrimRight(name, "."); len(name) > 32 {
		return ""
	}
	return strings.ToLower(name)
}

// endsNumber reports whether the text after some digits is not part of the number.
func endsNumber(after string) bool {
	rest := strings.TrimLeft(after, " ")
	if leading(rest) != "" { // "1 000"
		return false
	}
	return after == "" || len(rest) < len(after) || strings.ContainsRune(";)", rune(after[0])) || after == "."
}

// continues reports whether the text from a comma on is the rest of a number, as in
// "1,000".
func continues(after string) bool {
	rest, comma := strings.CutPrefix(after, ",")
	return comma && leading(rest) != ""
}

// valueOf returns the text between a name and the next comma, and the text from that comma
// on. The name must not be part of a longer word.
func valueOf(s, name string) (value, rest string, found bool) {
	for i := 0; ; {
		at := index(s[i:], name)
		if at < 0 {
			return "", "", false
		}
		at += i
		i = at + len(name)
		if at == 0 || strings.ContainsRune(" ,;:([{", rune(s[at-1])) {
			if end := strings.IndexByte(s[i:], ','); end >= 0 {
				return strings.TrimSpace(s[i : i+end]), s[i+end:], true
			}
			return strings.TrimSpace(s[i:]), "", true
		}
	}
}

// leading returns the digits that s begins with.
func leading(s string) string {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return s[:i]
		}
	}
	return s
}

// lengthOf parses durations such as "5 minute", "60 seconds" and "5minutes". It returns 0
// for a duration of several parts, such as "1 minute 30 second".
func lengthOf(s string) time.Duration {
	digits := leading(s)
	n, ok := number(digits)
	if !ok {
		return 0
	}
	name, rest := strings.TrimLeft(s[len(digits):], " "), ""
	if end := strings.IndexFunc(name, func(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') }); end >= 0 {
		name, rest = name[:end], name[end:]
	}
	of := unit(name)
	if of == 0 || name == "" || leading(strings.TrimLeft(rest, " ")) != "" {
		return 0
	}
	return window(n, of)
}
