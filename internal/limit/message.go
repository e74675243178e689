package limit

import (
	"net/http"
	"strings"
	"time"
)

// ofMessage parses the limit in a message from the gateway or from the IAM service:
//
//	The throttling threshold has been reached: policy user over ratelimit,limit:200,time:5 minute
//	… Threshold: 10 times per 60 seconds
func ofMessage(s string) Limit {
	if !Mentioned(s) {
		return Limit{}
	}
	lower := strings.ToLower(s)
	if l, ok := ofGateway(lower); ok {
		return l
	}
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

// Mentioned is a cheap check that reports whether a text or a body may state a limit.
func Mentioned[T string | []byte](s T) bool {
	for i := range len(s) {
		switch s[i] | 0x20 {
		case 'l', 't':
			if begins(s[i:], "limit:") || begins(s[i:], "threshold:") {
				return true
			}
		}
	}
	return false
}

// begins reports whether s begins with prefix, ignoring case. prefix must consist of
// lower-case letters and punctuation.
func begins[T string | []byte](s T, prefix string) bool {
	if len(s) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		if s[i]|0x20 != prefix[i]|0x20 {
			return false
		}
	}
	return true
}

// ofDebug parses the header fields that the gateway adds in its debug mode, and returns
// the limit that is used up:
//
//	X-Apig-RateLimit-User: remain:0,limit:10,time:10 second
func ofDebug(h http.Header) Limit {
	for _, policy := range [...]string{"Api", "User", "App", "Ip", "Api-Allenv"} {
		text := strings.ToLower(h.Get("X-Apig-Ratelimit-" + policy))
		if remain, _ := valueOf(text, "remain:"); remain == "0" {
			if l, ok := ofGateway(text); ok {
				l.Policy = strings.ToLower(policy)
				return l
			}
		}
	}
	return Limit{}
}

// ofGateway parses the values after "limit:" and "time:", which may come in either order.
func ofGateway(lower string) (l Limit, ok bool) {
	limit, found := valueOf(lower, "limit:")
	if !found {
		return l, false
	}
	n, ok := number(strings.TrimSpace(leading(limit)))
	if !ok || n == 0 || n > mostRequests {
		return l, false
	}
	length, found := valueOf(lower, "time:")
	if !found {
		return l, false
	}
	per := lengthOf(length)
	if per == 0 {
		return l, false
	}
	l = Limit{Requests: int(n), Per: per}
	if _, after, found := strings.Cut(lower, "policy "); found {
		name, _, _ := strings.Cut(after, " ")
		if name = strings.Trim(name, ",:;."); len(name) <= 32 {
			l.Policy = name
		}
	}
	return l, true
}

// valueOf returns the text between a name and the next comma. The name must not be part
// of a longer word.
func valueOf(s, name string) (string, bool) {
	for i := 0; ; {
		at := strings.Index(s[i:], name)
		if at < 0 {
			return "", false
		}
		at += i
		if at == 0 || strings.ContainsRune(" ,;:([{", rune(s[at-1])) {
			value, _, _ := strings.Cut(s[at+len(name):], ",")
			return strings.TrimSpace(value), true
		}
		i = at + len(name)
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

// lengthOf parses durations such as "5 minute", "60 seconds" and "5minutes".
func lengthOf(s string) time.Duration {
	digits := leading(s)
	n, ok := number(digits)
	if !ok {
		return 0
	}
	name := strings.TrimLeft(s[len(digits):], " ")
	if end := strings.IndexFunc(name, func(r rune) bool { return r < 'a' || r > 'z' }); end >= 0 {
		name = name[:end]
	}
	of := unit(name)
	if of == 0 || name == "" {
		return 0
	}
	return window(n, of)
}
