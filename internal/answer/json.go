package answer

import (
	"bytes"
	"iter"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// members returns an iterator over the members of a JSON object: their names, without
// quotes, and their raw values. It is lenient: it does not validate values, yields the
// part of a truncated value that is present, and stops where no other member follows.
func members(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		rest, ok := bytes.CutPrefix(trimSpace(object), []byte("{"))
		for ok {
			rest = trimSpace(rest)
			name := rest[:valueEnd(rest)]
			rest = trimSpace(rest[len(name):])
			if len(name) < 2 || name[0] != '"' || len(rest) == 0 || rest[0] != ':' {
				return
			}
			rest = trimSpace(rest[1:])
			value := rest[:valueEnd(rest)]
			if !yield(name[1:len(name)-1], value) {
				return
			}
			rest, ok = bytes.CutPrefix(trimSpace(rest[len(value):]), []byte(","))
		}
	}
}

// elements returns an iterator over the elements of a JSON array, as raw JSON. Like
// members, it is lenient.
func elements(array []byte) iter.Seq[[]byte] {
	return func(yield func(element []byte) bool) {
		rest, ok := bytes.CutPrefix(trimSpace(array), []byte("["))
		for ok {
			rest = trimSpace(rest)
			element := rest[:valueEnd(rest)]
			if len(element) == 0 || !yield(element) {
				return
			}
			rest, ok = bytes.CutPrefix(trimSpace(rest[len(element):]), []byte(","))
		}
	}
}

// firstElement returns the first element of a JSON array, as raw JSON, or nil if there is
// none.
func firstElement(array []byte) []byte {
	for element := range elements(array) {
		return element
	}
	return nil
}

// trimSpace does what bytes.TrimLeft would do with JSON's white space, but without
// building a cutset.
func trimSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t' || b[0] == '\r' || b[0] == '\n') {
		b = b[1:]
	}
	return b
}

// valueEnd returns the length of the JSON value at the beginning of b, or len(b) if the
// value is cut off. It tracks only strings and the depth of brackets.
func valueEnd(b []byte) int {
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted:
			switch c {
			case '\\':
				i++
			case '"':
				quoted = false
				if depth == 0 {
					return i + 1
				}
			}
		case c == '"':
			if depth == 0 && i > 0 {
				return i
			}
			quoted = true
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth--; depth <= 0 {
				return i + depth + 1
			}
		case depth == 0 && (c == ',' || c == ':' || c == ' ' || c == '\t' || c == '\r' || c == '\n'):
			return i
		}
	}
	return len(b)
}

// isWhole reports whether b is a single JSON value, which may be cut off.
func isWhole(b []byte) bool { return len(trimSpace(b[valueEnd(b):])) == 0 }

// isJSON reports whether b begins with an object that has a member, with an array that
// contains one, or with a string that does so itself, or is an array of strings. Anything
// else may be a text in brackets or quotes.
func isJSON(b []byte) bool { return isData(b, 0) }

func isData(b []byte, depth int) bool {
	b = printable(b)
	if len(b) == 0 || b[0] != '{' && b[0] != '[' && b[0] != '"' {
		return false
	}
	if depth > maxDepth { // too deep to tell
		return true
	}
	if b[0] == '"' {
		return isData(text(b[:valueEnd(b)]), depth+1)
	}
	for range members(b) {
		return true
	}
	texts := false
	for element := range elements(b) {
		if isData(element, depth+1) {
			return true
		}
		texts = texts || element[0] == '"'
	}
	return texts && isWhole(b)
}

// printable returns b without the white space and the invisible characters, such as byte
// order marks, that it begins with.
func printable(b []byte) []byte {
	return bytes.TrimLeftFunc(b, func(r rune) bool { return r == ' ' || !unicode.IsPrint(r) })
}

// object returns raw if raw is a JSON object. If raw is a string that contains a JSON
// object, it returns the inner object. For any other value, it returns nil.
func object(raw []byte) []byte {
	raw = trimSpace(raw)
	if len(raw) > 0 && raw[0] == '{' {
		return raw
	}
	inside := trimSpace(bare(raw))
	for len(inside) > 1 && inside[0] == '\\' && (inside[1] == 'n' || inside[1] == 'r' || inside[1] == 't') {
		inside = trimSpace(inside[2:])
	}
	if len(inside) > 0 && inside[0] == '{' {
		return text(raw)
	}
	return nil
}

// bare returns a raw JSON string without its quotes, a number unchanged, or nil for any
// other value.
func bare(raw []byte) []byte {
	switch {
	case len(raw) == 0:
		return nil
	case raw[0] == '"':
		return bytes.TrimSuffix(raw[1:], []byte(`"`))
	case raw[0] == '-', '0' <= raw[0] && raw[0] <= '9':
		return raw
	}
	return nil
}

// text returns the value that bare returns, with escapes resolved. Like members, it is
// lenient, because some services escape too much ("it\'s") or too little ("C:\x"): invalid
// escapes and raw control characters are kept as they are. If the string was cut off within
// an escape, that escape is dropped.
func text(raw []byte) []byte {
	b := bare(raw)
	i := bytes.IndexByte(b, '\\')
	if i < 0 {
		return b
	}
	cutOff := raw[0] == '"' && len(raw) < len(b)+2
	s := make([]byte, 0, len(b)) // an escape is never shorter than its character
	for i >= 0 {
		s = append(s, b[:i]...)
		b = b[i:]
		r, n := unescape(b)
		switch {
		case n > 0:
			s = utf8.AppendRune(s, r)
		case len(b) == 1 || cutOff && b[1] == 'u' && hexDigits(b[2:]) == len(b)-2:
			return s
		default:
			n = 1
			s = append(s, '\\')
		}
		b = b[n:]
		i = bytes.IndexByte(b, '\\')
	}
	return append(s, b...)
}

// unescape returns the character that the escape at the beginning of b stands for, and the
// length of the escape, or 0 if it is invalid or incomplete. Half of a surrogate pair
// stands for U+FFFD, as in encoding/json.
func unescape(b []byte) (r rune, length int) {
	if len(b) < 2 {
		return 0, 0
	}
	switch c := b[1]; c {
	case '"', '\\', '/':
		return rune(c), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	}
	r = codeUnit(b)
	if r < 0 {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if pair := utf16.DecodeRune(r, codeUnit(b[6:])); pair != utf8.RuneError {
		return pair, 12
	}
	return utf8.RuneError, 6
}

// codeUnit returns the number in the escape at the beginning of b, such as 0xfc for
// \u00fc, or -1 if b does not begin with such an escape.
func codeUnit(b []byte) (r rune) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' || hexDigits(b[2:6]) < 4 {
		return -1
	}
	for _, c := range b[2:6] {
		if c = lower(c); c > '9' {
			c -= 'a' - '9' - 1
		}
		r = r<<4 | rune(c-'0')
	}
	return r
}

// hexDigits returns how many hexadecimal digits b begins with, but at most four.
func hexDigits(b []byte) (n int) {
	for n < min(len(b), 4) && ('0' <= b[n] && b[n] <= '9' || 'a' <= lower(b[n]) && lower(b[n]) <= 'f') {
		n++
	}
	return n
}
