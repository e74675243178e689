// Package answer interprets failing responses: the wait that they ask for, the service's
// code and message in the body, and what the code and message mean. All functions are
// pure.
package answer

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// Details holds what a service says about a failure in the response body.
type Details struct {
	Code, Message, RequestID string
	RetryDelay               time.Duration // the wait that a RetryInfo asks for, rounded up to whole seconds; 0: none
}

// Decode understands the error bodies of IAM services and of the gateways and token
// endpoints in front of them. If a body has several of these forms, the earlier ones
// usually take precedence:
//
//	{"error_code": …, "error_msg": …, "request_id": …}
//	{"code": …, "message": …, "request_id": …}
//	{"error": {one of the two above}}; Keystone's form also has a "title"
//	{"errors": [{"code": …, "detail": …, "title": …, "request_id": …}, …]}
//	{"error": "…", "error_description": "…"}, OAuth 2 (RFC 6749 §5.2)
//	{"title": …, "detail": …}, problem details (RFC 9457)
//	{"itemNotFound": {one of the above}}, whatever the name of the object
//	[{one of the above}, …]
//
// Names may be spelled in other ways, such as errorCode, errMsg or faultstring. If there is no
// other code, it is AWS's __type or the reason in an ErrorInfo of Google. An object or a
// message may be JSON inside a string. If the value of a name that usually holds a
// message is an object or an array, the message is the first one within it, no more than
// a few levels down: {"detail": [{"msg": …}]}, {"errors": {"name": ["too short"]}}. An
// echo of the request is never a message, because it may be secret (see place, echoes and
// isSecret). A code that only names a status, such as "404 Not Found" or "Forbidden", is
// ignored, and so is such a message if there is another one, or one that only says that
// something is wrong, such as "Validation Failed". If the body is a short text
// declared as text/plain or text/html, or a JSON string with a short text of several
// words, that text becomes the message. Decode ignores all other bodies. If there is then no
// message, or one that only names a status, the error and error_description of a Bearer
// challenge in WWW-Authenticate (RFC 6750 §3) count, but nothing else of that header. A
// message without any printable character, or that is JSON without a message, becomes U+FFFD, because a
// body with an unreadable message does not mean the same as one without a message.
//
// Decode parses the bytes itself instead of using encoding/json, for two reasons: a
// truncated body still yields its message, and for most bodies nothing but the returned
// strings is allocated. Exceptions include strings that contain escapes or JSON, and
// compressed bodies.
func Decode(header http.Header, body []byte, status int) Details {
	d := decodeBody(header, body, status)
	if len(bytes.TrimSpace(d.message)) > 0 && len(printable(d.message)) == 0 {
		d.message = []byte("\ufffd")
	}
	var all strings.Builder // one allocation for all three
	all.Grow(len(d.code) + len(d.message) + len(d.requestID))
	for _, b := range [...][]byte{d.code, d.message, d.requestID} {
		all.Write(b)
	}
	code, rest := all.String()[:len(d.code)], all.String()[len(d.code):]
	return Details{code, rest[:len(d.message)], rest[len(d.message):], fraction(d.retryDelay)}
}

// Message returns the Message and the RetryDelay that Decode returns. It saves the allocations
// for the other fields, and is used for every response that is retried.
func Message(header http.Header, body []byte, status int) (message string, retryDelay time.Duration) {
	d := decodeBody(header, body, status)
	return string(d.message), fraction(d.retryDelay)
}

// details holds what becomes the Details, as parts of the body or, for strings with
// escapes, as copies.
type details struct{ code, message, requestID, retryDelay []byte }

func decodeBody(header http.Header, body []byte, status int) details {
	body = inflate(header["Content-Encoding"], body)
	body = bytes.TrimPrefix(body, []byte("\ufeff"))
	d := decode(body, status, 0, top)
	if isJSON(d.message) {
		inner := decode(printable(d.message), status, 0, list)
		if len(inner.message) == 0 || isJSON(inner.message) { // do not print data that may echo the request
			inner.message = []byte("\ufffd")
		}
		d.message = inner.message
		d.fill(inner)
	}
	if len(d.code) == 0 && len(d.message) == 0 {
		d.message = plainText(header.Get("Content-Type"), body)
	}
	if lines := header["Www-Authenticate"]; len(lines) > 0 && (len(d.message) == 0 || saysLittle(d.message)) {
		d.challenged(lines, status)
	}
	if bytes.Contains(d.message, []byte("<br")) {
		d.message = []byte(lineBreaks.Replace(string(d.message)))
	}
	return d
}

// challenged fills in what a Bearer challenge says about the error.
func (d *details) challenged(lines []string, status int) {
	code, description := challenge(lines)
	if message := []byte(description); !isJSON(message) {
		d.better(message)
	}
	if len(d.code) == 0 {
		d.setCode([]byte(code), status)
	}
}

// lineBreaks replaces the line breaks that WebOb puts into its messages, even in JSON.
var lineBreaks = strings.NewReplacer("<br />", " ", "<br/>", " ", "<br>", " ")

// To find a message, decode calls itself for values down to the depth maxDepth, and looks
// at no more than the first maxElements elements of an array, or objects and arrays in an
// object.
const (
	maxDepth    = 4
	maxElements = 32
)

// A place is where in a body a value is. It decides which texts can be messages, because a
// text that is not one may be secret.
type place uint8

const (
	top    place = iota // the body itself, which may be the requested resource instead of an error
	within              // within an error: texts with known names
	list                // also the texts in an array: {"description": ["too short"]}
	lists               // also the sentences in an object's arrays: {"error": {"name": ["is too short"]}}
	nested              // also those in the objects within it: {"errors": {"user": {"name": ["is too short"]}}}
	texts               // also those in an object, whatever their names: {"errors": {"name": "is too short"}}
)

// decode extracts the details from JSON: from an uncompressed body, or from a value at the
// given depth and place within it.
func decode(body []byte, status, depth int, at place) details {
	body = trimSpace(body)
	if len(body) > 0 && body[0] == '[' {
		return decodeArray(body, status, depth, at)
	}
	if len(body) > 0 && body[0] == '"' && !isWhole(body) { // "bob" was not found
		return details{}
	}
	whole := object(body)
	if whole == nil && len(body) > 0 && body[0] == '"' {
		return decodeString(body, status, depth, at)
	}
	f := orOnly(parseFields(whole))
	inner := parseFields(object(f.err))
	element := firstElement(f.errs)
	first := parseFields(element)
	detail := parseFields(object(f.detail))
	var d details
	for _, raw := range [...][]byte{f.errorCode, f.code, inner.errorCode, inner.code, first.errorCode, first.code, detail.errorCode} {
		if d.setCode(text(raw), status) {
			break
		}
	}
	if len(d.code) == 0 {
		kind := text(f.awsType) // com.amazon.coral.service#ThrottlingException
		if !d.setCode(kind[bytes.LastIndexByte(kind, '#')+1:], status) && !d.setCode(text(info(inner.detail, "ErrorInfo", "reason")), status) {
			d.setCode(text(info(f.detail, "ErrorInfo", "reason")), status)
		}
	}
	sentence := f.sentence
	if at == top && f.title == nil && f.code == nil && f.errorCode == nil && !says(f.err) {
		f.description, f.named, f.more = nil, nil, nil
	}
	errText := text(f.err)
	switch c := visible(errText); {
	case len(c) == 0:
	case c[0] == '{', c[0] == '[', bytes.IndexByte(c, ' ') >= 0, bytes.IndexByte(errText, ' ') >= 0, isPhrase(c):
		sentence = f.err // {"error": "no such user"}: a code has no spaces
	case len(d.code) == 0 && !namesStatus(c, status):
		d.code = c
	}
	for _, raw := range [...][]byte{
		f.errorMsg, f.message, inner.errorMsg, inner.message, f.errorDescription,
		first.detail, first.errorMsg, first.message, first.title, f.detail,
	} {
		if d.better(text(raw)) {
			break
		}
	}
	var room [128]byte
	generic := isGeneric(shown(room[:0], d.message))
	if generic { // {"error": {"message": "Error", "title": …}}: of the requested resource, perhaps
		inner.explanation, inner.title = nil, nil
	}
	if saysLittle(d.message) {
		for i, raw := range [...][]byte{
			f.explanation, f.description, f.named, f.title, inner.detail, inner.explanation, inner.title, sentence, f.errs, element,
		} {
			if generic && i < 4 { // {"message": "Error", "title": …}
				continue
			}
			if d.better(text(raw)) {
				break
			}
			generic = isGeneric(shown(room[:0], d.message))
		}
	}
	if generic {
		f.explanation, f.description = nil, nil
	}
	innermost := parseFields(object(inner.innerError))
	for _, raw := range [...][]byte{f.requestID, inner.requestID, first.requestID, innermost.requestID} {
		if id := visible(text(raw)); len(id) > 0 && !isJSON(id) {
			d.requestID = id
			break
		}
	}
	d.retryDelay = text(info(inner.detail, "RetryInfo", "retryDelay"))
	if len(d.retryDelay) == 0 {
		d.retryDelay = text(info(f.detail, "RetryInfo", "retryDelay"))
	}
	if len(d.message) == 0 || saysLittle(d.message) { // {"error": "Bad Request", "message": ["name is missing"]}
		below := descend(whole, f, status, depth, at, generic)
		d.better(below.message)
		d.fill(below)
	}
	if more := text(f.more); saysLittle(d.message) && bytes.IndexByte(more, ' ') >= 0 && !bytes.HasPrefix(visible(more), []byte("http")) { // not only where to find more
		d.better(more)
	}
	if at == top && len(d.message) == 0 {
		d.message = text(claim(whole))
	}
	return d
}

// claim returns the value of an object's only member if it says what is wrong with a claim of
// a token, as Kong's {"exp": "token expired"} does.
func claim(object []byte) (only []byte) {
	for name, value := range members(object) {
		if only != nil || string(name) != "exp" && string(name) != "nbf" || bytes.IndexByte(value, ' ') < 0 || value[0] != '"' {
			return nil
		}
		only = value
	}
	return only
}

// setCode makes c the code, unless c is empty, only names a status or is JSON. It reports
// whether it did.
func (d *details) setCode(c []byte, status int) bool {
	if c = visible(c); len(c) == 0 || namesStatus(c, status) || isJSON(c) {
		return false
	}
	d.code = c
	return true
}

// info returns a member of the first element of an array that has this kind, as raw JSON, or
// nil. Google's errors have such details: {"@type": "…/google.rpc.ErrorInfo", "reason": …}.
func info(details []byte, kind, name string) []byte {
	n := 0
	for element := range elements(details) {
		if n++; n > maxElements {
			break
		}
		var found []byte
		is := false
		for member, value := range members(element) {
			switch string(member) {
			case "@type":
				is = bytes.HasSuffix(bare(value), []byte("/google.rpc."+kind))
			case name:
				found = value
			}
		}
		if is && found != nil {
			return found
		}
	}
	return nil
}

// better makes m the message if there is none, or if only m says more than the status. It
// reports whether the message now says more.
func (d *details) better(m []byte) bool {
	more := len(m) > 0 && !saysLittle(m)
	if more || len(d.message) == 0 {
		d.message = m
	}
	return more
}

// fill fills in d's empty fields from other.
func (d *details) fill(other details) {
	if len(d.code) == 0 {
		d.code = other.code
	}
	if len(d.message) == 0 {
		d.message = other.message
	}
	if len(d.requestID) == 0 {
		d.requestID = other.requestID
	}
	if len(d.retryDelay) == 0 {
		d.retryDelay = other.retryDelay
	}
}

// descend looks for a message in the members of an object that are objects or arrays
// themselves, first in those whose names usually hold a message. At the top level, it
// looks only at these and at members that look like errors. Next to a generic message, a
// member looks like errors only if its name says so.
func descend(whole []byte, f fields, status, depth int, at place, generic bool) (d details) {
	if depth >= maxDepth {
		return d
	}
	for _, member := range [...]struct {
		value []byte
		at    place
	}{
		{f.err, lists}, {f.errs, texts}, {f.errorMsg, texts}, {f.message, texts}, {f.detail, lists},
		{f.errorDescription, list}, {f.description, list}, {f.explanation, list},
	} {
		if d.take(decodeInner(member.value, status, depth+1, member.at)) {
			return d
		}
	}
	var known fields
	n := 0                                          // the objects and arrays so far
	translated := at == texts && has(whole, "lang") // OData's {"message": {"lang": "en", "value": "No such user."}}
	for name, value := range members(whole) {
		var room [64]byte
		plain := plainName(room[:0], end(name, len(room)))
		switch known.field(plain) {
		case &known.err, &known.errs, &known.errorMsg, &known.message, &known.detail, &known.errorDescription, &known.description, &known.explanation:
			continue
		}
		isText := len(value) > 0 && value[0] == '"'
		isList := len(value) > 0 && value[0] == '['
		held := at == top && holdsMessages(plain, value)
		if at == top && !held && !isError(plain, value) || generic && !holdsErrors(plain, value) {
			continue
		}
		if isList || len(value) > 0 && value[0] == '{' {
			if n++; n > maxElements {
				break
			}
		}
		switch {
		case held:
			d.take(decodeInner(value, status, depth+1, within))
		case at == texts && isLocation(plain, value):
			d.take(descend(value, fields{}, status, depth+1, lists, false))
		case echoes(plain) && !(translated && isText && string(plain) == "value") && !(at == texts && isField(plain, value)):
		case at != top && isSecret(plain) && !(isList && at >= nested): // {"errors": {"password": ["is too short"]}}
		case isText && at == texts && bytes.IndexByte(value, ' ') >= 0:
			d.better(text(value))
		case isList && at == texts:
			d.take(decodeArray(value, status, depth+1, list))
		default:
			inner := placeOf(plain)
			if !isList && at >= nested {
				inner = max(inner, nested)
			}
			d.take(decodeInner(value, status, depth+1, inner))
			if isList && at >= lists {
				if first := decodeArray(value, status, depth+1, list); bytes.IndexByte(first.message, ' ') >= 0 {
					d.take(first)
				}
			}
		}
		if len(d.message) > 0 && !saysLittle(d.message) {
			break
		}
	}
	return d
}

// take makes other the details if it has a message, unless d has a better one. It reports
// whether the message now says more than the status.
func (d *details) take(other details) bool {
	if len(other.message) == 0 || len(d.message) > 0 && saysLittle(other.message) {
		return false
	}
	*d = other
	return !saysLittle(d.message)
}

// placeOf returns the place of an object or array with this plain name.
func placeOf(plain []byte) place {
	switch {
	case bytes.HasSuffix(plain, []byte("errors")), bytes.HasSuffix(plain, []byte("messages")), bytes.HasSuffix(plain, []byte("constraints")):
		return texts
	case namesError(plain):
		return list
	}
	return within
}

// namesError reports whether a plain name is that of an error.
func namesError(plain []byte) bool {
	return bytes.HasSuffix(plain, []byte("error")) || bytes.HasSuffix(plain, []byte("fault")) || bytes.HasSuffix(plain, []byte("exception"))
}

// isError reports whether a member of the top-level object is an error rather than the
// requested resource, judging by its plain name or by its having both a code and a
// message. HAL embeds errors. Of a list of messages, the first element decides.
func isError(plain, value []byte) bool {
	switch string(plain) {
	case "embedded":
		return true
	case "messages":
		element := firstElement(value)
		return isCoded(element) || has(element, "id") && has(element, "defaultmessage") // VMware
	}
	return holdsErrors(plain, value) || isCoded(value)
}

// holdsErrors reports whether a member holds errors, judging by its plain name alone. A value
// that HAL embeds may also be the requested resource.
func holdsErrors(plain, value []byte) bool {
	switch string(plain) {
	case "violations", "invalidparams":
		return true
	case "embedded":
		return has(value, "errors")
	}
	return namesError(bytes.TrimSuffix(plain, []byte("s")))
}

// isCoded reports whether an object has both a code and a message.
func isCoded(value []byte) bool {
	f := parseFields(object(value))
	return (f.code != nil || f.errorCode != nil) && (f.message != nil || f.errorMsg != nil)
}

// holdsMessages reports whether a member of the top-level object is a value with a list of
// messages, as in VMware's {"type": …, "value": {"messages": [{"id": …, "default_message": …}]}}.
func holdsMessages(plain, value []byte) bool {
	if string(plain) == "value" {
		for name, list := range members(value) {
			if string(name) == "messages" {
				return isError(name, list)
			}
		}
	}
	return false
}

// echoes reports whether a member with this plain name is usually an echo of the request or
// of a part of it. Nothing within such a member is a message.
func echoes(plain []byte) bool {
	switch string(plain) {
	case "request", "req", "response", "resp", "res", "config", "context", "ctx", "env", "environment", "session",
		"header", "headers", "rawheaders", "cookie", "cookies", "setcookie",
		"auth", "authorization", "authentication", "proxyauthorization", "identity", "credential", "credentials",
		"body", "rawbody", "data", "payload", "form", "formdata", "query", "querystring", "variables",
		"input", "inputs", "param", "params", "parameter", "parameters", "arg", "args", "argument", "arguments",
		"target", "value", "values", "rejectedvalue", "invalidvalue", "attemptedvalue", "actual", "received", "original",
		"sql", "stack", "stacktrace", "trace":
		return true
	}
	return false
}

// isField reports whether an echo's plain name is that of a field instead, because the value
// looks like the field's errors: {"errors": {"data": ["is not valid"]}}.
func isField(plain, value []byte) bool {
	switch string(plain) {
	case "data", "value", "body", "query", "input", "target", "request", "auth":
		first := firstElement(value)
		return len(first) > 0 && first[0] == '"'
	}
	return false
}

// isLocation reports whether a plain name is that of a part of the request whose fields may
// have errors: {"errors": {"query": {"page": ["is not a number"]}}}.
func isLocation(plain, value []byte) bool {
	switch string(plain) {
	case "query", "querystring":
		return len(value) > 0 && value[0] == '{'
	}
	return false
}

// has reports whether an object has a member with this plain name.
func has(object []byte, want string) bool {
	for name := range members(object) {
		var room [20]byte
		if string(plainName(room[:0], name)) == want {
			return true
		}
	}
	return false
}

// isSecret reports whether a plain name is that of a password, a token or the like, rather
// than that of an error.
func isSecret(plain []byte) bool {
	for _, part := range [...]string{"passw", "passphrase", "passcode", "pwd", "secret", "token", "cookie", "credential", "signature", "authorization", "authentication"} {
		if bytes.Contains(plain, []byte(part)) {
			return !namesError(plain)
		}
	}
	return bytes.HasSuffix(plain, []byte("auth")) || bytes.HasSuffix(plain, []byte("key")) || bytes.HasSuffix(plain, []byte("pass"))
}

// decodeInner decodes a value if it is an object or an array.
func decodeInner(value []byte, status, depth int, at place) (d details) {
	if len(value) > 0 && (value[0] == '{' || value[0] == '[') {
		d = decode(value, status, depth, at)
	}
	return d
}

// decodeArray decodes the first of an array's elements that has a message.
func decodeArray(array []byte, status, depth int, at place) (d details) {
	n := 0
	for element := range elements(array) {
		if n++; n > maxElements {
			break
		}
		inner := at
		switch element[0] {
		case '"':
			if at < list {
				continue
			}
		case '{':
			inner = min(at, within)
			if at == texts {
				inner = lists
			}
		case '[':
		default:
			continue
		}
		if depth >= maxDepth && element[0] != '"' {
			continue
		}
		if d.take(decode(element, status, depth+1, inner)) {
			break
		}
	}
	return d
}

// decodeString decodes a JSON string, which may contain JSON.
func decodeString(raw []byte, status, depth int, at place) details {
	inside := text(raw)
	if trimmed := trimSpace(inside); len(trimmed) > 0 && (trimmed[0] == '[' || trimmed[0] == '"') && isWhole(trimmed) && depth < maxDepth {
		return decode(trimmed, status, depth+1, at)
	}
	if at >= list {
		return details{message: inside}
	}
	if bytes.IndexByte(inside, ' ') < 0 { // a name rather than a message
		return details{}
	}
	return details{message: plainText("text/plain", inside)}
}

// fields holds the relevant members of an object, as raw JSON.
type fields struct {
	errorCode, errorMsg, code, message, detail, title, requestID []byte

	err, errs, errorDescription, explanation []byte

	description []byte // at the top level, counts only next to a title or a code: a resource may have a description, too
	named       []byte // likewise; the first value that is not an object, under a name for which namesMessage is true

	awsType    []byte // "__type", which names the error
	innerError []byte // Microsoft's {"error": {"innerError": {"request-id": …}}}
	more       []byte // IBM's "moreInformation", which counts like a description, but only if no other message says more

	sentence []byte // the last value that is not an object, under another name that ends in "error" or "fault"
	object   []byte // the last object under any other name, unless it echoes the request
	objects  int    // the number of such objects
	others   int    // the number of other values, under other names
}

func parseFields(object []byte) (f fields) {
	for name, value := range members(object) {
		exact := false
		switch string(name) {
		case "error_code", "error_msg", "code", "message", "detail", "title", "request_id", "error", "errors", "error_description":
			exact = true
		}
		var room [20]byte // longer than any known name
		plain := plainName(room[:0], name)
		if string(plain) == "innererror" {
			f.innerError = value
		}
		field := f.field(plain)
		if field == &f.description {
			f.others++
		}
		switch {
		case field != nil:
			if !says(*field) || exact && says(value) {
				*field = value
			}
		case string(name) == "__type":
			f.awsType = value
		case string(plain) == "moreinformation":
			f.more = value
			f.others++
		case len(value) > 0 && value[0] == '{' && (!echoes(plain) || string(plain) == "response"): // {"Response": {"Error": {…}}}
			f.object = value
			f.objects++
		default:
			f.others++
			plain = plainName(room[:0], end(name, len(room)))
			switch {
			case bytes.HasSuffix(plain, []byte("error")), bytes.HasSuffix(plain, []byte("fault")):
				f.sentence = value // {"NeutronError": "no such network"}
			case namesMessage(plain) && !says(f.named):
				f.named = value
			}
		}
	}
	return f
}

// field returns the field that stores members with this plain name, or nil if there is no
// such field.
func (f *fields) field(plain []byte) *[]byte {
	switch string(plain) {
	case "errorcode", "errcode", "scimtype":
		return &f.errorCode
	case "errormsg", "errormessage", "errormessages", "errmsg", "errmessage", "externalmessage":
		return &f.errorMsg
	case "code", "resultcode", "returncode", "retcode":
		return &f.code
	case "message", "msg", "defaultmessage", "faultstring":
		return &f.message
	case "detail", "details":
		return &f.detail
	case "title", "httpmessage":
		return &f.title
	case "requestid", "traceid":
		return &f.requestID
	case "error":
		return &f.err
	case "errors":
		return &f.errs
	case "errordescription", "errordesc", "errordetail", "errordetails", "errorsummary", "errorinfo", "errinfo":
		return &f.errorDescription
	case "description", "desc", "info":
		return &f.description
	case "explanation", "reason":
		return &f.explanation
	}
	return nil
}

// namesMessage reports whether a plain name is that of a less usual message, as in
// {"retCode": "A.1", "retMsg": "no such user"}. Other names, such as "original_message", may
// be those of texts in the request.
func namesMessage(plain []byte) bool {
	kind, ok := bytes.CutSuffix(plain, []byte("message"))
	if !ok {
		kind, ok = bytes.CutSuffix(plain, []byte("msg"))
	}
	switch string(kind) {
	case "ret", "rtn", "return", "result", "resp", "response", "status", "user", "developer", "detail", "exception", "localized", "internal":
		return ok
	}
	return false
}

// plainName appends a name to room, in lower case and without separators. It drops the
// part that does not fit into room.
func plainName(room, name []byte) []byte {
	for _, c := range name {
		if c != '_' && c != '-' && len(room) < cap(room) {
			room = append(room, lower(c))
		}
	}
	return room
}

// end returns the last n bytes of a name, or all of it if it is shorter.
func end(name []byte, n int) []byte { return name[max(len(name)-n, 0):] }

// says reports whether a value conveys anything: null, true, false and an empty string do
// not.
func says(value []byte) bool {
	return len(value) > 0 && (value[0] == '{' || value[0] == '[' || len(bare(value)) > 0)
}

// orOnly returns f, unless f has exactly one object under another name and, except for a
// request ID or an explanation, no known field. In that case, it returns the fields of
// that object if the object looks like an error.
func orOnly(f fields) fields {
	for _, raw := range [...][]byte{f.errorCode, f.errorMsg, f.code, f.message, f.detail, f.title, f.err, f.errs, f.errorDescription} {
		if raw != nil {
			return f
		}
	}
	if f.objects != 1 {
		return f
	}
	only := parseFields(f.object)
	tells := only.message != nil || only.errorMsg != nil || only.err != nil || only.errs != nil
	if !tells && (f.others > 0 || only.code == nil && only.errorCode == nil && only.explanation == nil) {
		return f // the object may be the requested resource and not an error
	}
	if only.requestID == nil {
		only.requestID = f.requestID
	}
	if !tells && only.errorCode == nil && only.title == nil { // {"user": {"code": "7", "description": "…"}}
		only.description, only.named = nil, nil
	}
	return only
}

// namesStatus reports whether a code merely names a status: it begins with the number of
// the given status (but not with a longer code, such as 404.1 or 404-1), or is only the
// number or reason phrase of any status (see isStatus).
func namesStatus(c []byte, status int) bool {
	var room [20]byte
	rest, ok := bytes.CutPrefix(c, strconv.AppendInt(room[:0], int64(status), 10))
	return ok && (len(rest) == 0 || !inWord(rest[0]) && rest[0] != '.' && rest[0] != '-') || isStatus(c)
}

// isStatus reports whether c is the number or the reason phrase of any status, or both, as
// in "404", "404.0", "Not Found" or "HTTP 404 Not Found". All numbers from 100 to 599 count
// as statuses: the IAM service's own numbers have four digits.
func isStatus(c []byte) bool {
	c = bytes.TrimRight(c, ".!")
	number := c
	if len(c) > 4 && bytes.EqualFold(c[:4], []byte("HTTP")) {
		number = bytes.TrimLeft(c[4:], " _-")
	}
	if len(number) >= 3 && '1' <= number[0] && number[0] <= '5' && isDigit(number[1]) && isDigit(number[2]) {
		rest := number[3:]
		if len(rest) == 0 || rest[0] == '.' && len(bytes.TrimRight(rest[1:], "0")) == 0 {
			return true
		}
		if !inWord(rest[0]) {
			c = bytes.TrimLeft(rest, " :_-")
		}
	}
	return isPhrase(c)
}

// saysLittle reports whether a message only names a status, only says that something is
// wrong, or only says where to find more, as Keycloak's error_description does.
func saysLittle(message []byte) bool {
	var room [128]byte // enough for the longest phrase
	message = shown(room[:0], message)
	return len(message) == 0 || isStatus(message) || isGeneric(message) || len(message) > 8 && bytes.EqualFold(message[:8], []byte("for more"))
}

// shown does what visible does, in room, unless the message does not fit.
func shown(room, message []byte) []byte {
	if len(message) <= cap(room) {
		return appendVisible(room, message)
	}
	return bytes.TrimSpace(message)
}

// isGeneric reports whether a message is a sentence that frameworks put before the errors of
// each field, such as "Validation Failed".
func isGeneric(message []byte) bool {
	var room [48]byte // longer than any sentence below
	letters := room[:0]
	for _, b := range message {
		switch b = lower(b); {
		case 'a' <= b && b <= 'z' && len(letters) < len(room):
			letters = append(letters, b)
		case b != ' ' && b != '-' && b != '_' && b != '\'' && b != '.' && b != '!':
			return false
		}
	}
	switch string(letters) {
	case "oneormorevalidationerrorsoccurred", "constraintviolation", "constraintviolations", "thegivendatawasinvalid", "thegivendataisinvalid",
		"validationfailed", "validationerror", "validationerrors", "validationfailure", "validationexception",
		"requestvalidationfailed", "requestvalidationerror", "inputvalidationfailed", "inputvalidationerror", "schemavalidationfailed", "schemavalidationerror",
		"providedobjectdoesnotmatchschema", "yourrequestparametersdidntvalidate",
		"invalidrequest", "invalidinput", "invalidparameter", "invalidparameters", "error", "anerroroccurred", "anerrorhasoccurred":
		return true
	}
	return false
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isPhrase reports whether c is the reason phrase of any status, in any spelling ("Not
// Found", "NotFound", "not_found"), or says as little as one, such as "None".
func isPhrase(c []byte) bool {
	var room [64]byte // longer than any phrase
	letters := room[:0]
	for _, b := range c {
		switch b = lower(b); {
		case 'a' <= b && b <= 'z' && len(letters) < len(room):
			letters = append(letters, b)
		case b != ' ' && b != '-' && b != '_' && b != '\'':
			return false // the usual case
		}
	}
	return phrases()[string(letters)]
}

// phrases returns the phrases that isPhrase recognizes, as lower-case letters only.
var phrases = sync.OnceValue(makePhrases)

func makePhrases() map[string]bool {
	known := map[string]bool{}
	// One Replacer for all phrases: each occupies several KiB.
	letters := strings.NewReplacer(" ", "", "-", "", "'", "")
	add := func(phrase string) { known[strings.ToLower(letters.Replace(phrase))] = true }
	for status := 100; status < 600; status++ {
		add(http.StatusText(status))
	}
	for _, phrase := range [...]string{"ServerTimeout", "None", "PayloadTooLarge", "ContentTooLarge", "URITooLong", "RequestURITooLarge", "UnprocessableContent", "RangeNotSatisfiable"} {
		add(phrase)
	}
	delete(known, "")
	return known
}

// plainText returns the body, trimmed, if it is a short, readable text and its Content-Type
// is text/plain. It also accepts text/html, because some services declare plain text as
// HTML. For any other body, it returns nil.
func plainText(contentType string, body []byte) []byte {
	contentType, _, _ = strings.Cut(contentType, ";")
	contentType = strings.TrimSpace(contentType)
	html := strings.EqualFold(contentType, "text/html")
	if !html && !strings.EqualFold(contentType, "text/plain") {
		return nil
	}
	body = bytes.TrimSpace(body)
	if len(body) == 0 || len(body) > 512 || body[0] == '<' || body[0] == '{' || (body[0] == '"' || body[0] == '[') && (isWhole(body) || isJSON(body)) {
		return nil
	}
	for i := 1; i < utf8.UTFMax && i <= len(body); i++ { // drop a character that was cut off
		if last := body[len(body)-i:]; utf8.RuneStart(last[0]) {
			if !utf8.FullRune(last) {
				body = body[:len(body)-i]
			}
			break
		}
	}
	words := false
	for i := 0; i < len(body); {
		r, size := utf8.DecodeRune(body[i:])
		switch {
		case r == utf8.RuneError && size == 1, !unicode.IsPrint(r) && !unicode.IsSpace(r):
			return nil
		case r == '<' && i+1 < len(body) && (body[i+1] == '/' || body[i+1] == '!' || body[i+1] == '?' || html && unicode.IsLetter(rune(body[i+1]))),
			r == '&' && html:
			return nil
		}
		words = words || unicode.IsLetter(r)
		i += size
	}
	if !words || bytes.Equal(body, []byte("null")) || bytes.Equal(body, []byte("true")) || bytes.Equal(body, []byte("false")) {
		return nil
	}
	return body
}
