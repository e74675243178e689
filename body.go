package iamhttp

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// Bounds for reading the body of a failing answer.
const (
	maxBody      = 64 << 10        // bytes read
	maxKept      = 4 << 10         // bytes kept while a repeat is waited for
	maxBodyTime  = 5 * time.Second // for a body that is returned
	maxDrainTime = time.Second     // for a body that is discarded
	minDrainTime = 50 * time.Millisecond
	closeTime    = 100 * time.Millisecond // in which a Close interrupts a Read
)

// peek reads the beginning of the body into e and puts it back. It may take as
// long as ctx lasts: giving up earlier would lose the rest of the body.
func (e *StatusError) peek(ctx context.Context, resp *http.Response) {
	body := resp.Body
	if body == nil || body == http.NoBody {
		resp.Body = http.NoBody
		e.setBody(nil, false)
		return
	}
	stop := func() bool { return true }
	if ctx.Done() != nil {
		// Not every body ends with the context of its request.
		stop = context.AfterFunc(ctx, func() { body.Close() })
	}
	data, err := readUpTo(body, maxBody, resp.ContentLength)
	if !stop() && err != io.EOF {
		err = ctx.Err()
	}
	e.setBody(data, err != io.EOF)
	resp.Body = &peekedBody{data: data, err: err, rest: body}
}

// peekedBody is a body of which the beginning has been read already.
type peekedBody struct {
	data []byte
	err  error // met behind data; nil: go on with rest
	rest io.ReadCloser
}

func (p *peekedBody) Read(b []byte) (int, error) {
	if len(p.data) > 0 {
		n := copy(b, p.data)
		p.data = p.data[n:]
		return n, nil
	}
	if p.err != nil {
		return 0, p.err
	}
	return p.rest.Read(b)
}

func (p *peekedBody) Close() error { return p.rest.Close() }

// readAndClose reads at most maxBody bytes of the body in at most d, or until
// ctx ends, and returns the first keep of them and whether there would have
// been more. It closes the body.
func readAndClose(ctx context.Context, resp *http.Response, keep int, d time.Duration) (data []byte, truncated bool) {
	if resp.Body == http.NoBody {
		return nil, false
	}
	if resp.Uncompressed {
		return readAside(ctx, resp, keep, d)
	}
	return readInTime(ctx, resp, keep, d)
}

func readInTime(ctx context.Context, resp *http.Response, keep int, d time.Duration) (data []byte, truncated bool) {
	g := bodyCloser{body: resp.Body}
	defer g.close()
	// Only Close interrupts a Read that waits for a slow server.
	defer time.AfterFunc(d, g.close).Stop()
	if ctx.Done() != nil {
		defer context.AfterFunc(ctx, g.close)()
	}
	data, err := readUpTo(resp.Body, keep, resp.ContentLength)
	if err != nil {
		return data, err != io.EOF
	}
	if keep == maxBody { // a Read of no bytes asks for the end alone
		_, err = resp.Body.Read(nil)
		return data, err != io.EOF
	}
	if resp.ContentLength > maxBody {
		return data, true
	}
	// What is read to its end leaves a connection that can be used again.
	n, err := io.CopyN(io.Discard, resp.Body, int64(maxBody-keep))
	return data, n > 0 || err != io.EOF
}

// bodyCloser closes a body once, whoever comes first; whoever comes later waits
// until it is closed.
type bodyCloser struct {
	once sync.Once
	body io.Closer
}

func (g *bodyCloser) close() { g.once.Do(func() { g.body.Close() }) }

// readAside is readInTime for a body that net/http inflates. Before Go 1.27 its
// Close waits for a Read that waits for the header of gzip, so that such a Read
// has to be left to itself. It ends when the server, or ctx, does.
func readAside(ctx context.Context, resp *http.Response, keep int, d time.Duration) ([]byte, bool) {
	type read struct {
		data      []byte
		truncated bool
	}
	done := make(chan read, 1)
	go func() {
		data, truncated := readInTime(ctx, resp, keep, d)
		done <- read{data, truncated}
	}()
	timer := time.NewTimer(d + min(closeTime, d/2)) // before the deadline that d is half of
	defer timer.Stop()
	select {
	case r := <-done:
		return r.data, r.truncated
	case <-timer.C:
		return nil, true
	}
}

// readUpTo reads n bytes of r, or fewer and the error that r ended with. size
// is the length announced, -1 if unknown.
func readUpTo(r io.Reader, n int, size int64) ([]byte, error) {
	// A server may announce more than it sends: only a small size is believed.
	// One byte more lets the last Read meet the end.
	first := 512
	if 0 <= size && size < maxKept {
		first = int(size) + 1
	}
	var buf []byte
	for idle := 0; idle < 100; {
		if len(buf) == cap(buf) && len(buf) < n {
			grown := make([]byte, len(buf), min(max(first, 2*cap(buf)), n))
			copy(grown, buf)
			buf = grown
		}
		m, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+m]
		if err != nil || len(buf) == n {
			return buf, err
		}
		if m == 0 {
			idle++
		}
	}
	return buf, io.ErrNoProgress
}

// details is what a service says of a failure in its body.
type details struct{ code, message, requestID string }

// decode understands the error bodies of IAM services and of the gateways and
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
func decode(body []byte, status int) details {
	f := parseFields(bytes.TrimPrefix(body, []byte("\ufeff")))
	inner := parseFields(f.err)
	first := parseFields(firstElement(f.errs))
	var d details
	own := strconv.AppendInt(make([]byte, 0, 20), int64(status), 10)
	for _, raw := range [...][]byte{f.errorCode, f.code, inner.errorCode, inner.code, first.errorCode, first.code, f.err} {
		if c := bare(raw); len(c) > 0 && !bytes.Equal(c, own) {
			d.code = text(raw)
			break
		}
	}
	var sentence []byte
	if bytes.IndexByte(bare(f.err), ' ') >= 0 {
		sentence = f.err // {"error": "no such user"}: a code has no spaces
		if d.code == text(f.err) {
			d.code = ""
		}
	}
	for _, raw := range [...][]byte{
		f.errorMsg, f.message, inner.errorMsg, inner.message, f.errorDescription,
		first.detail, first.errorMsg, first.message, first.title,
		f.detail, f.title, inner.detail, inner.title, sentence,
	} {
		if d.message = text(raw); d.message != "" {
			break
		}
	}
	d.requestID = cmp.Or(text(f.requestID), text(inner.requestID), text(first.requestID))
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

// label makes a short text of the service fit to be printed as it is.
func label(s string) string { return cut(oneLine(s), 128) }

// cut returns at most n bytes of s and no half character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// oneLine removes what could start a new line, move the cursor or turn the
// direction of writing in whatever shows s, and the white space around it.
func oneLine(s string) string {
	plain := true // nearly always
	for i := 0; i < len(s) && plain; i++ {
		plain = ' ' <= s[i] && s[i] <= '~'
	}
	if plain || !strings.ContainsFunc(s, unprintable) && utf8.ValidString(s) {
		return strings.TrimSpace(s)
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unprintable(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
	return strings.Join(strings.Fields(s), " ")
}

// unprintable is true of what cannot be seen too: it would tell apart what
// looks the same.
func unprintable(r rune) bool { return !unicode.IsPrint(r) }
