package answer

import (
	"bytes"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Label returns a text from the service in a form that is safe to print: one line of at
// most 128 bytes.
func Label(s string) string { return Cut(OneLine(s), 128) }

// Cut returns at most the first n bytes of s. It does not cut a character in two.
func Cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// OneLine returns s without surrounding white space, and without the control and
// invisible characters that could start a new line, move the cursor or change the writing
// direction when s is displayed.
func OneLine(s string) string {
	plain := true // the usual case
	for i := 0; i < len(s) && plain; i++ {
		plain = ' ' <= s[i] && s[i] <= '~'
	}
	if plain || !strings.ContainsFunc(s, unprintable) && utf8.ValidString(s) {
		return strings.TrimSpace(s)
	}
	var line strings.Builder
	line.Grow(len(s)) // a single allocation, because this is done for every response that is retried
	var space, invalid bool
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		i += size
		again := invalid
		invalid = r == utf8.RuneError && size == 1
		switch {
		case unicode.IsSpace(r):
			space = line.Len() > 0
		case unprintable(r), invalid && again: // several invalid bytes are shown as one character
		default:
			if space {
				line.WriteByte(' ')
			}
			space = false
			line.WriteRune(r)
		}
	}
	return line.String()
}

// visible is OneLine for texts that are compared with known ones, so that "Forbidden" with
// an invisible space is still recognized. The result is a part of b if possible.
func visible(b []byte) []byte {
	if b = bytes.TrimFunc(b, func(r rune) bool { return r == ' ' || unprintable(r) }); bytes.ContainsFunc(b, unprintable) {
		return appendVisible(nil, b)
	}
	return b
}

// appendVisible appends b to line as OneLine would return it, except that invalid bytes
// stay as they are.
func appendVisible(line, b []byte) []byte {
	space := false
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		switch {
		case unicode.IsSpace(r):
			space = len(line) > 0
		case !unprintable(r):
			if space {
				line = append(line, ' ')
			}
			space = false
			line = append(line, b[:size]...)
		}
		b = b[size:]
	}
	return line
}

// unprintable also rejects invisible characters, because they would make different texts
// look the same.
func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// Word returns s as a Label, in quotes if it could be taken for more than one word.
func Word(s string) string {
	if s = Label(s); strings.ContainsAny(s, ` ,()"`) {
		return strconv.Quote(s)
	}
	return s
}
