package answer

import (
	"bytes"
	"encoding/json"
	"iter"
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

// text returns the value that bare returns, with escapes resolved, or nil if they are
// invalid.
func text(raw []byte) []byte {
	b := bare(raw)
	if bytes.IndexByte(b, '\\') < 0 {
		return b
	}
	// If a string was cut off, its last escape may be incomplete.
	for n := len(b); n > max(0, len(b)-len(`\u00fc`)); n-- {
		var s string
		if json.Unmarshal([]byte(`"`+string(b[:n])+`"`), &s) == nil {
			return []byte(s)
		}
	}
	return nil
}
