package limit

import (
	"net/http"
	"strings"
	"time"
)

// OfMessage parses the limit, if any, in a message from the gateway or the IAM service:
//
//	The throttling threshold has been reached: policy user over ratelimit,limit:200,time:5 minute
//	… Threshold: 10 times per 60 seconds
func OfMessage(s string) Limit {
	if !mayState([]byte(s)) {
		return Limit{}
	}
	lower := strings.ToLower(s)
	return ofGateway(lower).Longer(ofThreshold(lower), Any).clean()
}

// ofThreshold parses the IAM service's text. It returns the zero Limit if the text states
// no valid limit.
func ofThreshold(lower string) Limit {
	_, after, found := strings.Cut(lower, "threshold:")
	if !found {
		return Limit{}
	}
	times, rest, _ := strings.Cut(strings.TrimSpace(after), " ")
	n, ok := number(times)
	rest, found = strings.CutPrefix(strings.TrimSpace(rest), "times per ")
	if !ok || !found || n == 0 || n > mostRequests {
		return Limit{}
	}
	if per := lengthOf(rest); per > 0 {
		return Limit{Requests: int(n), Per: per}
	}
	return Limit{}
}

// mayState is a cheap check that reports whether a message, or the message in a body,
// might state a limit. In a body, characters may be escaped.
func mayState(s []byte) bool {
	for i, c := range s {
		switch c | 0x20 {
		case 'l', 't':
			if begins(s[i:], "limit") || begins(s[i:], "threshold") {
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

// begins reports whether s begins with prefix, ignoring case. prefix must consist of
// lower-case letters.
func begins(s []byte, prefix string) bool {
	if len(s) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		if s[i]|0x20 != prefix[i] {
			return false
		}
	}
	return true
}

// debug parses the header fields that the gateway adds in its debug mode, and returns
// the limit that is used up or, of several, the one with the longest window:
//
//	X-Apig-RateLimit-User: remain:0,limit:10,time:10 second
func debug(h http.Header) (l Limit) {
	for _, policy := range [...]string{"Api", "User", "App", "Ip", "Api-Allenv"} {
		text := strings.ToLower(h.Get("X-Apig-Ratelimit-" + policy))
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
func ofGateway(lower string) (l Limit) {
	limits, times := lower, lower
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
			l.Policy = policyIn(lower[:len(lower)-max(len(moreLimits), len(moreTimes))])
		}
		limits, times = moreLimits, moreTimes
	}
	return l
}

// policyIn returns the last policy that a text names.
func policyIn(lower string) string {
	i := strings.LastIndex(lower, "policy ")
	if i < 0 {
		return ""
	}
	name := lower[i+len("policy "):]
	if end := strings.IndexAny(name, " ,:;"); end >= 0 {
		name = name[:end]
	}
	if name = strings.TrimRight(name, "."); len(name) > 32 {
		return ""
	}
	return name
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
		at := strings.Index(s[i:], name)
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
	if end := strings.IndexFunc(name, func(r rune) bool { return r < 'a' || r > 'z' }); end >= 0 {
		name, rest = name[:end], name[end:]
	}
	of := unit(name)
	if of == 0 || name == "" || leading(strings.TrimLeft(rest, " ")) != "" {
		return 0
	}
	return window(n, of)
}
