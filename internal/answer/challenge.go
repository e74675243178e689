package answer

import "strings"

// maxChallenge is the maximum length of a WWW-Authenticate line that is read.
const maxChallenge = 4096

// challenge returns the error and the error_description of the first Bearer challenge that
// has one of them (RFC 6750 §3). It reads nothing else, because the other parameters say how to
// log in. A line that is malformed or too long is ignored, and so is an error that does not look
// like a code, and either of the two if it may quote the token.
func challenge(lines []string) (code, description string) {
	for _, line := range lines[:min(len(lines), maxElements)] {
		if len(line) > maxChallenge {
			continue
		}
		if code, description, ok := bearer(line); ok && (code != "" || description != "") {
			if !isCode(code) {
				code = ""
			}
			if quotesSecret(description) {
				description = ""
			}
			return code, description
		}
	}
	return "", ""
}

// isCode reports whether an error looks like a code, such as "invalid_token", rather than a text
// or a part of the request.
func isCode(s string) bool {
	return len(s) <= 40 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_") == ""
}

// quotesSecret reports whether a description may quote the token or another secret of the
// request, because it has the beginning of a JWT or a long word of both letters and digits.
func quotesSecret(s string) bool {
	letters, digits, n := false, false, 0 // in the word so far
	for i := range len(s) {
		switch c := s[i]; {
		case isDigit(c):
			digits = true
		case 'a' <= lower(c) && lower(c) <= 'z':
			letters = true
		case strings.IndexByte("-._~+/=", c) < 0: // not in a token68, either
			letters, digits, n = false, false, 0
			continue
		}
		if n++; n >= 20 && letters && digits {
			return true
		}
	}
	return strings.Contains(s, "eyJ")
}

// bearer does what challenge does, for one line. It returns false if the line is malformed. It
// also accepts parameters that are separated by spaces only, as AWS does.
func bearer(s string) (code, description string, ok bool) {
	in, done := false, false // in a Bearer challenge; behind the one that counts
	for s = skip(s); s != ""; s = skip(s) {
		name := s[:tokenLen(s)]
		if name == "" {
			return "", "", false
		}
		s = s[len(name):]
		after := strings.TrimLeft(s, " \t")
		if !strings.HasPrefix(after, "=") { // a scheme
			if s != "" && s[0] != ' ' && s[0] != '\t' && s[0] != ',' {
				return "", "", false
			}
			done = done || code != "" || description != ""
			in = strings.EqualFold(name, "Bearer")
			s = s[token68Len(s):]
			continue
		}
		var value string
		if value, s, ok = parameter(strings.TrimLeft(after[1:], " \t")); !ok {
			return "", "", false
		}
		switch {
		case !in || done:
		case strings.EqualFold(name, "error") && code == "":
			code = value
		case strings.EqualFold(name, "error_description") && description == "":
			description = value
		}
	}
	return code, description, true
}

// skip skips the white space and commas between challenges and parameters.
func skip(s string) string { return strings.TrimLeft(s, " \t,") }

// parameter parses the value of a parameter, which is a token or a quoted string.
func parameter(s string) (value, rest string, ok bool) {
	n := tokenLen(s)
	value = s[:n]
	if strings.HasPrefix(s, `"`) {
		if value, n, ok = quoted(s); !ok {
			return "", "", false
		}
	}
	return value, s[n:], n > 0 && (n == len(s) || skip(s[n:]) != s[n:])
}

// quoted returns the content of the quoted string that s begins with, and the string's length.
func quoted(s string) (content string, length int, ok bool) {
	var unescaped []byte
	begin := 1 // of the part that has not been copied
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			if begin == 1 { // the usual case
				return s[1:i], i + 1, true
			}
			return string(append(unescaped, s[begin:i]...)), i + 1, true
		case '\\':
			unescaped = append(unescaped, s[begin:i]...)
			i++
			begin = i
		}
	}
	return "", 0, false
}

// token68Len returns the length of the space and the token68 that s begins with (RFC 9110
// §11.2), or 0 if it begins with neither.
func token68Len(s string) int {
	n := len(s) - len(strings.TrimLeft(s, " "))
	begin := n
	for n < len(s) && (inWord(s[n]) || strings.IndexByte("-._~+/", s[n]) >= 0) {
		n++
	}
	if n == begin {
		return 0
	}
	for n < len(s) && s[n] == '=' {
		n++
	}
	if rest := strings.TrimLeft(s[n:], " \t"); rest != "" && rest[0] != ',' {
		return 0 // a parameter
	}
	return n
}

// tokenLen returns the length of the token that s begins with (RFC 9110 §5.6.2).
func tokenLen(s string) (n int) {
	for n < len(s) && s[n] < 0x80 && (inWord(s[n]) || strings.IndexByte("!#$%&'*+-.^_`|~", s[n]) >= 0) {
		n++
	}
	return n
}
