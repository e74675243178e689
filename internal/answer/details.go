// Package answer reads what a failing answer says: the wait it asks for, and the
// service's own words in its body. All of it is pure.
package answer

import (
	"bytes"
	"cmp"
	"encoding/json"
	"iter"
	"strconv"
)

// Details are what a service says of a failure in its body.
type Details struct{ Code, Message, RequestID string }

// Decode understands the error bodies of IAM services and of the gateways and
// token endpoints in front of them. In the order of preference:
//
//	{"error_code": …, "error_msg": …, "request_id": …}
//	{"code": …, "message": …, "request_id": …}
//	{"error": {one of the two above}}, Keystone's form with a "title" beside
//	{"errors": [{"code": …, "detail": …, "title": …, "request_id": …}, …]}
//	{"error": "…", "error_description": "…"}, OAuth 2 (RFC 6749 §5.2)
//	{"title": …, "detail": …}, problem details (RFC 9457)
//
// Nothing is guessed from any other body. It works on the bytes rather than
// with encoding/json for two reasons: a body that was cut off still tells its
// message, and nothing is allocated but the strings returned.
func Decode(body []byte, status int) Details {
	f := parseFields(bytes.TrimPrefix(body, []byte("\ufeff")))
	inner := parseFields(f.err)
	first := parseFields(firstElement(f.errs))
	var d Details
	own := strconv.AppendInt(make([]byte, 0, 20), int64(status), 10)
	for _, raw := range [...][]byte{f.errorCode, f.code, inner.errorCode, inner.code, first.errorCode, first.code, f.err} {
		if c := bare(raw); len(c) > 0 && !bytes.Equal(c, own) {
			d.Code = text(raw)
			break
		}
	}
	var sentence []byte
	if bytes.IndexByte(bare(f.err), ' ') >= 0 {
		sentence = f.err // {"error": "no such user"}: a code has no spaces
		if d.Code == text(f.err) {
			d.Code = ""
		}
	}
	for _, raw := range [...][]byte{
		f.errorMsg, f.message, inner.errorMsg, inner.message, f.errorDescription,
		first.detail, first.errorMsg, first.message, first.title,
		f.detail, f.title, inner.detail, inner.title, sentence,
	} {
		if d.Message = text(raw); d.Message != "" {
			break
		}
	}
	d.RequestID = cmp.Or(text(f.requestID), text(inner.requestID), text(first.requestID))
	return d
}

// fields are the members of an object that matter, as raw JSON.
type fields struct {
	errorCode, errorMsg, code, message, detail, title, requestID []byte

	err, errs, errorDescription []byte
}

func parseFields(object []byte) (f fields) {
	for name, value := range members(object) {
		switch string(name) {
		case "error_code":
			f.errorCode = value
		case "error_msg":
			f.errorMsg = value
		case "code":
			f.code = value
		case "message":
			f.message = value
		case "detail":
			f.detail = value
		case "title":
			f.title = value
		case "request_id":
			f.requestID = value
		case "error":
			f.err = value
		case "errors":
			f.errs = value
		case "error_description":
			f.errorDescription = value
		}
	}
	return f
}

// members ranges over the names, without their quotes, and the raw values of a
// JSON object. It is lenient: from where the text stops being JSON, nothing
// more comes; a value that is cut off comes as far as it goes.
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

// firstElement returns the first raw element of a JSON array, and nothing of any
// other value.
func firstElement(array []byte) []byte {
	rest, ok := bytes.CutPrefix(trimSpace(array), []byte("["))
	if !ok {
		return nil
	}
	rest = trimSpace(rest)
	return rest[:valueEnd(rest)]
}

// trimSpace is bytes.TrimLeft without the cost of preparing a set.
func trimSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t' || b[0] == '\r' || b[0] == '\n') {
		b = b[1:]
	}
	return b
}

// valueEnd returns the length of the JSON value that b starts with, len(b) if
// it is cut off. It looks at strings and at the depth of brackets, no more.
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

// bare returns a raw JSON string without its quotes, a number as it stands, and
// nothing for any other value.
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

// text is bare with the escapes resolved.
func text(raw []byte) string {
	b := bare(raw)
	if bytes.IndexByte(b, '\\') < 0 {
		return string(b)
	}
	// Where a string was cut off, its last escape may be incomplete.
	for n := len(b); n > max(0, len(b)-len(`\u00fc`)); n-- {
		var s string
		if json.Unmarshal([]byte(`"`+string(b[:n])+`"`), &s) == nil {
			return s
		}
	}
	return ""
}
