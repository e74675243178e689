package answer

import (
	"math"
	"net/http"
	"strings"
	"time"
)

// RetryAfter returns the wait that Retry-After asks for (RFC 9110 §10.2.3), and whether
// the field is present and valid. The wait is rounded up to whole seconds, and saturates
// instead of overflowing. If there are several Retry-After lines, the longest wait
// counts. A date is measured from the response's own Date, so that a wrong local clock
// does no harm; only if there is no valid Date is it measured from now. A time in the
// past is valid and yields 0.
func RetryAfter(h http.Header, now time.Time) (wait time.Duration, valid bool) {
	return Wait(h["Retry-After"], h, now)
}

// Wait does what RetryAfter does, but for the lines of any header field with the syntax
// of Retry-After. h is the header that contains the Date.
func Wait(lines []string, h http.Header, now time.Time) (wait time.Duration, valid bool) {
	for _, line := range lines {
		line = strings.Trim(line, " \t")
		d, ok := delaySeconds(line)
		if !ok {
			at, err := http.ParseTime(line)
			if err != nil {
				continue
			}
			origin := now
			if date, err := http.ParseTime(h.Get("Date")); err == nil {
				origin = date
			}
			d = untilCeil(at, origin)
		}
		wait, valid = max(wait, d), true
	}
	return wait, valid
}

// delaySeconds parses a number of seconds that consists only of digits (1*DIGIT), without
// a sign, fraction or exponent.
func delaySeconds(s string) (time.Duration, bool) {
	if s == "" {
		return 0, false
	}
	var n int64
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = min(n*10+int64(c-'0'), math.MaxInt64/int64(time.Second)+1)
	}
	return seconds(n), true
}

// fraction parses a duration as Protocol Buffers write it in JSON, such as "53s" or
// "45.837906927s", and rounds it up to whole seconds. It returns 0 for any other text.
func fraction(b []byte) time.Duration {
	s, ok := strings.CutSuffix(string(b[:min(len(b), 32)]), "s")
	whole, part, point := strings.Cut(s, ".")
	d, valid := delaySeconds(whole)
	if !ok || !valid {
		return 0
	}
	if point {
		if _, valid = delaySeconds(part); !valid {
			return 0
		}
		if strings.Trim(part, "0") != "" {
			d = seconds(int64(d/time.Second) + 1)
		}
	}
	return d
}

func seconds(n int64) time.Duration {
	if n > math.MaxInt64/int64(time.Second) {
		return math.MaxInt64
	}
	return time.Duration(n) * time.Second
}

// untilCeil returns at - from. A positive result is rounded up to whole seconds.
func untilCeil(at, from time.Time) time.Duration {
	d := at.Sub(from)
	if rest := d % time.Second; rest > 0 {
		d = seconds(int64(d/time.Second) + 1)
	}
	return d
}
