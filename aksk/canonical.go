package aksk

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/iamhttp/iamhttp/internal/signature"
)

// canonical returns the text that is hashed and signed. It consists of these parts,
// separated by line breaks: method, path, query, headers, signed header names, and the
// payload that payloadOf returns. They are derived from what net/http sends, so that the
// gateway computes the same text.
func (a authorization) canonical(req *http.Request, payload string) []byte {
	b := append(make([]byte, 0, 1024), cmp.Or(req.Method, http.MethodGet)...)
	b = appendPath(append(b, '\n'), req.URL.Path)
	b = append(b, '\n')
	switch {
	case a.form != scoped:
		b = appendQuery(b, req.URL.RawQuery)
	case !queryIsPayload(req):
		b = appendScopedQuery(b, req.URL.Query())
	}
	b = a.appendHeaders(append(b, '\n'), req)
	b = append(append(b, '\n'), a.names...)
	return append(append(b, '\n'), payload...)
}

// appendPath appends the escaped path, with a slash at both ends.
func appendPath(b []byte, path string) []byte {
	if !strings.HasPrefix(path, "/") {
		b = append(b, '/')
	}
	for i := range len(path) {
		if path[i] == '/' {
			b = append(b, '/')
		} else {
			b = appendEscaped(b, path[i])
		}
	}
	if path != "" && !strings.HasSuffix(path, "/") {
		b = append(b, '/')
	}
	return b
}

// appendQuery appends the query, sorted by key and then by value.
func appendQuery(b []byte, raw string) []byte {
	if raw == "" {
		return b
	}
	type pair struct{ key, value string }
	pairs := make([]pair, 0, strings.Count(raw, "&")+1)
	for part := range strings.SplitSeq(raw, "&") {
		if part != "" {
			key, value, _ := strings.Cut(part, "=")
			pairs = append(pairs, pair{unescape(key), unescape(value)})
		}
	}
	slices.SortFunc(pairs, func(x, y pair) int {
		return cmp.Or(strings.Compare(x.key, y.key), strings.Compare(x.value, y.value))
	})
	for i, p := range pairs {
		if i > 0 {
			b = append(b, '&')
		}
		b = append(escape(b, p.key), '=')
		b = escape(b, p.value)
	}
	return b
}

// unescape decodes a part of a query. It returns s unchanged if s contains an invalid
// escape.
func unescape(s string) string {
	if decoded, err := url.QueryUnescape(s); err == nil {
		return decoded
	}
	return s
}

// appendScopedQuery appends the query as gophertelekomcloud and golangsdk do: the first
// value of each key, sorted by key without regard to case.
func appendScopedQuery(b []byte, query url.Values) []byte {
	keys := make([]string, 0, len(query))
	values := make(map[string]string, len(query))
	for k, v := range query {
		escaped := string(escape(nil, k))
		keys = append(keys, escaped)
		values[escaped] = v[0]
	}
	slices.SortFunc(keys, func(x, y string) int {
		return cmp.Or(strings.Compare(strings.ToLower(x), strings.ToLower(y)), strings.Compare(x, y))
	})
	for i, k := range keys {
		if i > 0 {
			b = append(b, '&')
		}
		b = append(append(b, k...), '=')
		b = escape(b, values[k])
	}
	return b
}

// appendHeaders appends the signed headers, one line per value. It trims white space
// around a value, because net/http does not send that white space.
func (a authorization) appendHeaders(b []byte, req *http.Request) []byte {
	var room [8]string
	for name := range strings.SplitSeq(a.names, ";") {
		values := a.values(room[:0], req, name)
		for i, v := range values {
			if values[i] = strings.TrimSpace(v); a.form == scoped {
				values[i] = strings.Join(strings.FieldsFunc(v, space), " ")
			}
		}
		slices.Sort(values)
		for _, v := range values {
			b = append(append(b, name...), ':')
			b = append(append(b, v...), '\n')
		}
	}
	return b
}

// values returns a header's values; the scoped form uses only the first.
func (a authorization) values(to []string, req *http.Request, name string) []string {
	if name == "host" {
		return append(to, signature.Host(req))
	}
	to = append(to, signature.Values(req.Header, name)...)
	switch {
	case len(to) == 0 && name == "content-length" && req.ContentLength > 0:
		to = append(to, strconv.FormatInt(req.ContentLength, 10))
	case len(to) > 1 && (a.form == scoped || name == "user-agent"): // net/http sends only the first User-Agent
		to = to[:1]
	}
	if name == "user-agent" && len(to) == 1 && to[0] == "" {
		to = to[:0] // net/http does not send an empty User-Agent
	}
	return to
}

// space reports whether r matches \s in package regexp. The SDKs that use the scoped form
// replace each run of such characters with one space.
func space(r rune) bool { return strings.ContainsRune(" \t\n\f\r", r) }

func escape(b []byte, s string) []byte {
	for i := range len(s) {
		b = appendEscaped(b, s[i])
	}
	return b
}

func appendEscaped(b []byte, c byte) []byte {
	if 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.' || c == '~' {
		return append(b, c)
	}
	const digits = "0123456789ABCDEF"
	return append(b, '%', digits[c>>4], digits[c&15])
}
