package limit

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// structured reads the header fields of draft-ietf-httpapi-ratelimit-headers-11, which
// are structured fields (RFC 9651):
//
//	RateLimit: "default";r=50;t=30
//	RateLimit-Policy: "burst";q=100;w=60, "daily";q=1000;w=86400
//
// A malformed field is ignored as a whole, as the draft requires. If there are several
// limits, only the used-up ones count, unless none is used up; of those that count, the
// one with the longest wait shorter than bound is returned. A policy counts only if its
// quota unit (qu) is requests, which is also the default. The package has its own parser
// because the root module must not get another dependency, and because only lists of strings
// and tokens with a few parameters have to be parsed.
func structured(h http.Header, bound time.Duration) (l Limit) {
	var room [2][4]item // more are rare, and cost an allocation
	limits, ok := items(h["Ratelimit"], room[0][:0])
	if !ok {
		limits = nil
	}
	var chosen *item
	for i := range limits {
		if c := &limits[i]; chosen == nil || c.before(chosen, bound) {
			chosen = c
		}
	}
	policies, ok := items(h["Ratelimit-Policy"], room[1][:0])
	if !ok {
		policies = nil
	}
	if chosen != nil {
		l.Reset, l.Policy = window(chosen.t, time.Second), chosen.name
		l.Remaining = int(min(max(chosen.r, 0), mostRequests))
	}
	for _, p := range policies {
		if chosen != nil && p.name != chosen.name || chosen == nil && len(policies) > 1 {
			continue // a policy of another limit, or one of several that may have refused the request
		}
		if p.q > 0 && p.q <= mostRequests && !p.otherUnit {
			if per := window(p.w, time.Second); per > l.Per {
				l.Requests, l.Per, l.Policy = int(p.q), per, p.name
			}
		}
	}
	return l.clean()
}

// dictionary reads the header fields of draft-ietf-httpapi-ratelimit-headers-07:
//
//	RateLimit: limit=100, remaining=0, reset=50
//	RateLimit-Policy: 10;w=1, 100;w=60
//
// A malformed field is ignored as a whole. A policy counts only if its quota is the limit.
func dictionary(h http.Header) (l Limit) {
	v, ok := members(h["Ratelimit"])
	if !ok {
		return Limit{}
	}
	if n := v.limit; n > 0 && n <= mostRequests {
		l.Requests, l.Per = int(n), policyOf(int(n), h)
	}
	l.Reset = window(v.reset, time.Second)
	l.Remaining = int(min(max(v.remaining, 0), mostRequests))
	return l.clean()
}

// policyOf returns the window of the policy, in the syntax of older drafts, whose quota is
// n, or 0.
func policyOf(n int, h http.Header) time.Duration {
	policies := h["Ratelimit-Policy"]
	if n == 0 || len(policies) == 0 {
		return 0
	}
	size := 0
	for _, p := range policies {
		if size += len(p) + 1; size > mostBytes {
			return 0
		}
	}
	return quota(strconv.Itoa(n) + "," + strings.Join(policies, ",")).Per
}

// An item is one member of a list: a string or a token, with parameters.
type item struct {
	name       string
	q, w, r, t int64 // these parameters, if they are non-negative whole numbers; otherwise -1
	otherUnit  bool  // the quota counts something other than requests
}

// before reports whether i is more likely than o to be the limit that refused the
// request. Absurd waits, and those of bound or longer, do not count.
func (i *item) before(o *item, bound time.Duration) bool {
	wait := func(x *item) time.Duration {
		if t := window(x.t, time.Second); t < bound {
			return t
		}
		return 0
	}
	if used := i.r == 0; used != (o.r == 0) {
		return used
	}
	return wait(i) > wait(o)
}

const (
	mostItems = 16
	mostBytes = 4096 // of a field
)

// values holds what dictionary needs of a dictionary: non-negative whole numbers; -1 stands
// for any other value.
type values struct{ limit, remaining, reset int64 }

// members parses a dictionary of at most mostItems bare items, whose parameters it ignores
// (RFC 9651 §4.2.2). If a key occurs more than once, its last value counts.
func members(lines []string) (v values, ok bool) {
	s := strings.Join(lines, ",")
	if len(s) > mostBytes {
		return values{}, false
	}
	n := 0
	for s = strings.TrimLeft(s, " \t"); s != ""; n++ {
		var name string
		if name, s = key(s); name == "" || n == mostItems {
			return values{}, false
		}
		value := int64(-1)
		if strings.HasPrefix(s, "=") {
			if value, _, s, ok = bare(s[1:]); !ok {
				return values{}, false
			}
		}
		if s, ok = new(item).parameters(s); !ok {
			return values{}, false
		}
		switch name {
		case "limit":
			v.limit = value
		case "remaining":
			v.remaining = value
		case "reset":
			v.reset = value
		}
		if s, ok = next(s); !ok {
			return values{}, false
		}
	}
	return v, n > 0
}

// items parses a list of strings and tokens with parameters (RFC 9651 §4.2.1), and appends
// them to list.
func items(lines []string, list []item) (_ []item, ok bool) {
	s := strings.Join(lines, ",")
	if len(s) > mostBytes {
		return nil, false
	}
	for s = strings.TrimLeft(s, " \t"); s != ""; {
		i := item{q: -1, w: -1, r: -1, t: -1}
		if i.name, s, ok = name(s); !ok {
			return nil, false
		}
		if s, ok = i.parameters(s); !ok {
			return nil, false
		}
		if list = append(list, i); len(list) > mostItems {
			return nil, false
		}
		if s, ok = next(s); !ok {
			return nil, false
		}
	}
	return list, len(list) > 0
}

// next skips the comma after a member of a list or dictionary. It returns false if
// something else follows, or nothing follows the comma.
func next(s string) (rest string, ok bool) {
	s = strings.TrimLeft(s, " \t")
	if s == "" {
		return "", true
	}
	rest = strings.TrimLeft(s[1:], " \t")
	return rest, s[0] == ',' && rest != ""
}

// name parses a string or a token.
func name(s string) (name, rest string, ok bool) {
	if s[0] != '"' {
		end := 0
		for end < len(s) && tokenByte(s[end]) {
			end++
		}
		letter := s[0]|0x20 >= 'a' && s[0]|0x20 <= 'z' || s[0] == '*'
		return s[:end], s[end:], letter
	}
	escaped := false
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			name = s[1:i]
			if escaped {
				name = unescape.Replace(name)
			}
			return name, s[i+1:], true
		case c == '\\':
			escaped = true
			if i++; i == len(s) || s[i] != '"' && s[i] != '\\' {
				return "", "", false
			}
		case c < ' ' || c > '~':
			return "", "", false
		}
	}
	return "", "", false
}

var unescape = strings.NewReplacer(`\\`, `\`, `\"`, `"`)

func tokenByte(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~:/", c) >= 0
}

// parameters parses at most mostItems parameters such as ";key=value" and ";key". If a key
// occurs more than once, its last value counts.
func (i *item) parameters(s string) (rest string, ok bool) {
	for n := 0; strings.HasPrefix(s, ";"); n++ {
		var name string
		if name, s = key(strings.TrimLeft(s[1:], " ")); name == "" || n == mostItems {
			return "", false
		}
		value, text := int64(-1), ""
		if strings.HasPrefix(s, "=") {
			if value, text, s, ok = bare(s[1:]); !ok {
				return "", false
			}
		}
		switch name {
		case "q":
			i.q = value
		case "w":
			i.w = value
		case "r":
			i.r = value
		case "t":
			i.t = value
		case "qu":
			i.otherUnit = text != "requests" && text != "request" // earlier drafts have the singular
		}
	}
	return s, true
}

// key parses a key. It returns an empty key if there is none.
func key(s string) (key, rest string) {
	end := 0
	for end < len(s) && (s[end] >= 'a' && s[end] <= 'z' || s[end] == '*' || end > 0 && (s[end] >= '0' && s[end] <= '9' || strings.IndexByte("_-.", s[end]) >= 0)) {
		end++
	}
	return s[:end], s[end:]
}

// bare parses a bare item. It returns the value of a non-negative whole number, and -1
// for any other value; text is the value of a string or a token.
func bare(s string) (value int64, text, rest string, ok bool) {
	switch {
	case s == "":
		return 0, "", "", false
	case s[0] == ':': // a byte sequence
		_, rest, ok = strings.Cut(s[1:], ":")
		return -1, "", rest, ok
	case s[0] == '@': // a date
		s = strings.TrimPrefix(s[1:], "-")
		digits := leading(s)
		return -1, "", s[len(digits):], digits != "" && len(digits) <= 15
	case strings.HasPrefix(s, `%"`): // a display string
		text, rest, ok = strings.Cut(s[2:], `"`)
		decoded, err := url.PathUnescape(text)
		unprintable := func(r rune) bool { return r < ' ' || r > '~' }
		return -1, "", rest, ok && err == nil && utf8.ValidString(decoded) && !strings.ContainsFunc(text, unprintable)
	case s[0] == '?':
		return -1, "", s[min(2, len(s)):], len(s) >= 2 && (s[1] == '0' || s[1] == '1')
	case s[0] == '-' || s[0] >= '0' && s[0] <= '9':
		end := 1
		for end < len(s) && (s[end] >= '0' && s[end] <= '9' || s[end] == '.') {
			end++
		}
		n, err := strconv.ParseInt(s[:end], 10, 64)
		if err != nil || n < 0 || end > 15 {
			return -1, "", s[end:], strings.Count(s[:end], ".") <= 1 && end <= 17 && s[end-1] != '.' && s[end-1] != '-'
		}
		return n, "", s[end:], true
	}
	text, rest, ok = name(s)
	return -1, text, rest, ok
}
