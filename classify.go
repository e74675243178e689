package iamhttp

import (
	"cmp"
	"iter"
	"net/http"
	"slices"
	"strconv"
)

// A Code is an HTTP status code with the meaning that the IAM API gives it.
//
// It implements error, as [syscall.Errno] does: errors.Is(err, iamhttp.ErrNotFound) tests
// for one code, and errors.As with a *Code extracts the code. Any int is a valid Code
// (see [Classify]); zero means no status.
type Code int

// The failures that the IAM API documents. The other documented codes have no constants,
// because they are not failures.
const (
	ErrBadRequest                   Code = http.StatusBadRequest                   // 400, should not be retried without modifications
	ErrUnauthorized                 Code = http.StatusUnauthorized                 // 401
	ErrPaymentRequired              Code = http.StatusPaymentRequired              // 402
	ErrForbidden                    Code = http.StatusForbidden                    // 403, should not be retried without modifications
	ErrNotFound                     Code = http.StatusNotFound                     // 404, should not be retried without modifications
	ErrMethodNotAllowed             Code = http.StatusMethodNotAllowed             // 405, should not be retried without modifications
	ErrNotAcceptable                Code = http.StatusNotAcceptable                // 406
	ErrProxyAuthRequired            Code = http.StatusProxyAuthRequired            // 407
	ErrRequestTimeout               Code = http.StatusRequestTimeout               // 408, may be retried at any later time
	ErrConflict                     Code = http.StatusConflict                     // 409
	ErrGone                         Code = http.StatusGone                         // 410
	ErrLengthRequired               Code = http.StatusLengthRequired               // 411
	ErrPreconditionFailed           Code = http.StatusPreconditionFailed           // 412
	ErrRequestEntityTooLarge        Code = http.StatusRequestEntityTooLarge        // 413, temporary if it carries Retry-After
	ErrRequestURITooLong            Code = http.StatusRequestURITooLong            // 414
	ErrUnsupportedMediaType         Code = http.StatusUnsupportedMediaType         // 415
	ErrRequestedRangeNotSatisfiable Code = http.StatusRequestedRangeNotSatisfiable // 416
	ErrExpectationFailed            Code = http.StatusExpectationFailed            // 417
	ErrUnprocessableEntity          Code = http.StatusUnprocessableEntity          // 422
	ErrTooManyRequests              Code = http.StatusTooManyRequests              // 429, to be retried after Retry-After
	ErrInternalServerError          Code = http.StatusInternalServerError          // 500
	ErrNotImplemented               Code = http.StatusNotImplemented               // 501
	ErrBadGateway                   Code = http.StatusBadGateway                   // 502
	ErrServiceUnavailable           Code = http.StatusServiceUnavailable           // 503, should not be retried without modifications
	ErrGatewayTimeout               Code = http.StatusGatewayTimeout               // 504
	ErrHTTPVersionNotSupported      Code = http.StatusHTTPVersionNotSupported      // 505
)

// Error returns the code's number and its title from [Classify], such as "404 NotFound",
// or the number alone if there is no title.
func (c Code) Error() string {
	n := strconv.Itoa(int(c))
	if title := Classify(int(c)).Title; title != "" {
		return n + " " + title
	}
	return n
}

// Semantics is what the IAM API documents about a status code.
type Semantics struct {
	Code        Code
	Title       string    // verbatim from the documentation: "NotFound", "Request Time-out"; [http.StatusText] if undocumented
	Description string    // the documented meaning, or the meaning of the code's class if undocumented
	Retry       RetryRule // what the documentation says about retrying the request
	Documented  bool      // false: the code is not in the table, and is described by its class (RFC 9110 §15)
}

// A RetryRule is what the documentation says about sending a request again.
type RetryRule uint8

// The retry rules, with the codes that they apply to.
const (
	RetryUnstated    RetryRule = iota // the documentation does not mention a retry, so by default there is none
	RetryDiscouraged                  // should not be retried without modifications: 400, 403, 404, 405 and 503
	RetryAnytime                      // may be retried at any later time: 408
	RetryAfterDelay                   // should be retried after Retry-After: 429
	RetryIfTemporary                  // may be retried if the response carries Retry-After: 413
)

// String describes the rule in a few words.
func (r RetryRule) String() string {
	texts := [...]string{
		RetryUnstated:    "unstated",
		RetryDiscouraged: "not without modifications",
		RetryAnytime:     "at any later time",
		RetryAfterDelay:  "after Retry-After",
		RetryIfTemporary: "if Retry-After is present",
	}
	if int(r) < len(texts) {
		return texts[r]
	}
	return "RetryRule(" + strconv.Itoa(int(r)) + ")"
}

// table is the documentation's table "Status Codes", in the same order (ascending).
// Comments note differences from RFC 9110 that matter to callers. The documentation omits
// 200, and so does this table.
//
// The method mayRetry, in retry.go, applies the rules: 408 and 429 are retried, any
// other code only if AlsoRetry lists it.
var table = [...]Semantics{
	{100, "Continue", "The beginning of the request arrived and was not rejected: send the rest.", RetryUnstated, true},
	{101, "Switching Protocols", "The server agrees to continue with the protocol that the client asked for.", RetryUnstated, true},
	{201, "Created", "The request was carried out and a resource was created.", RetryUnstated, true},
	{202, "Accepted", "The request was accepted and is still being processed.", RetryUnstated, true},
	{203, "Non-Authoritative Information", "The request was carried out; the returned information may come from another source.", RetryUnstated, true},
	{204, "NoContent", "The request was carried out and there is nothing to return.", RetryUnstated, true},
	{205, "Reset Content", "The request was carried out; there is nothing to return.", RetryUnstated, true},
	{206, "Partial Content", "The requested part of the resource is returned.", RetryUnstated, true},
	{300, "Multiple Choices", "The resource exists in several forms to choose from; version discovery returns this code.", RetryUnstated, true},
	{301, "Moved Permanently", "The resource has moved to another address permanently.", RetryUnstated, true},
	{302, "Found", "The resource is at another address temporarily.", RetryUnstated, true},
	{303, "See Other", "The result must be fetched from another address.", RetryUnstated, true},
	{304, "Not Modified", "The resource has not changed, so it is not sent again.", RetryUnstated, true},
	{305, "Use Proxy", "The resource can only be reached through a proxy.", RetryUnstated, true},
	{306, "Unused", "This code is no longer used.", RetryUnstated, true},
	{400, "BadRequest", "The server could not understand the request because its syntax is wrong.", RetryDiscouraged, true},
	{401, "Unauthorized", "The credentials are missing or wrong: check user name and password, or the token.", RetryUnstated, true},
	{402, "Payment Required", "This code is reserved for future use.", RetryUnstated, true},
	{403, "Forbidden", "The server understood the request and refuses it.", RetryDiscouraged, true},
	{404, "NotFound", "The resource does not exist.", RetryDiscouraged, true},
	{405, "MethodNotAllowed", "The resource does not support this method.", RetryDiscouraged, true},
	{406, "Not Acceptable", "The server has no representation with the content characteristics that the request asks for.", RetryUnstated, true},
	{407, "Proxy Authentication Required", "Like 401, but it is the proxy that requires credentials.", RetryUnstated, true},
	{408, "Request Time-out", "The complete request did not arrive in the time that the server was prepared to wait.", RetryAnytime, true},
	{409, "Conflict", "The request conflicts with the state of the resource: what it creates already exists, or another update came first.", RetryUnstated, true},
	{410, "Gone", "The resource was deleted permanently.", RetryUnstated, true},
	{411, "Length Required", "The server requires a Content-Length.", RetryUnstated, true},
	{412, "Precondition Failed", "A precondition of the request was not met.", RetryUnstated, true},
	{413, "Request Entity Too Large", "The body is larger than the server accepts. If Retry-After is present, the condition is temporary.", RetryIfTemporary, true},
	{414, "Request-URI Too Large", "The address is longer than the server accepts.", RetryUnstated, true},
	{415, "Unsupported Media Type", "The body has a format that this resource or method does not support.", RetryUnstated, true},
	{416, "Requested range not satisfiable", "The requested range is invalid.", RetryUnstated, true},
	{417, "Expectation Failed", "The server cannot meet the expectation in the Expect header.", RetryUnstated, true},
	{422, "UnprocessableEntity", "The request is well-formed, but its content cannot be processed.", RetryUnstated, true},
	// RFC 9110 uses 503 for an overloaded server; the IAM API also uses 429.
	{429, "TooManyRequests", "The client exceeded its rate limit, or the server is over capacity: wait for Retry-After, then retry.", RetryAfterDelay, true},
	{500, "InternalServerError", "The server encountered an unexpected condition.", RetryUnstated, true},
	{501, "Not Implemented", "The server does not support the function that the request needs.", RetryUnstated, true},
	{502, "Bad Gateway", "A gateway received an invalid response from the server behind it.", RetryUnstated, true},
	// RFC 9110 §15.6.4 calls 503 temporary; the IAM API asks clients not to retry it.
	{503, "ServiceUnavailable", "The service is not available.", RetryDiscouraged, true},
	{504, "ServerTimeout", "The request was not completed in the time allowed.", RetryUnstated, true},
	{505, "HTTP Version not supported", "The server does not support the HTTP version of the request.", RetryUnstated, true},
}

// classes describes undocumented codes by their first digit.
var classes = [...]string{
	1: "An interim response that the IAM API does not document.",
	2: "A success that the IAM API does not document on its own.",
	3: "A redirection that the IAM API does not document.",
	4: "A client error that the IAM API does not document.",
	5: "A server error that the IAM API does not document.",
}

// Classify returns what the IAM API documents about a status code. A code that the
// documentation omits is described by its class, and a code outside 100 to 599 as a
// server error (RFC 9110 §15); both have [RetryUnstated].
func Classify(statusCode int) Semantics {
	code := Code(statusCode)
	i, ok := slices.BinarySearchFunc(table[:], code, func(s Semantics, c Code) int { return cmp.Compare(s.Code, c) })
	if ok {
		return table[i]
	}
	class := statusCode / 100
	if class < 1 || class > 5 {
		class = 5
	}
	return Semantics{Code: code, Title: http.StatusText(statusCode), Description: classes[class]}
}

// Codes returns an iterator over the 41 documented codes, including those that are not failures, in
// ascending order.
func Codes() iter.Seq[Code] {
	return func(yield func(Code) bool) {
		for i := range table {
			if !yield(table[i].Code) {
				return
			}
		}
	}
}
