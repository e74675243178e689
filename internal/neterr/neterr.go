// Package neterr classifies the errors of requests that received no response.
package neterr

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"time"
)

// DialFailed reports whether err shows that no connection could be made, so that nothing
// was sent. If errors are joined, as a failover joins those of several hosts, each of them
// must show this. A reset does not count, because only an existing connection can be reset.
// An error inside a *url.Error does not count either: it comes from an http.Client, which
// may have sent the request and then failed to follow a redirect.
func DialFailed(err error) bool { return Unsent(err, nil) }

// Unsent is DialFailed, except that refusal, a proxy's refusal to connect, also shows that
// nothing was sent.
func Unsent(err, refusal error) bool {
	return unopened(err, refusal) && !errors.Is(err, syscall.ECONNRESET) && !errors.As(err, new(*url.Error))
}

func unopened(err, refusal error) bool {
	if refusal != nil && err == refusal {
		return true
	}
	switch e := err.(type) {
	case *net.OpError: // its own Op counts, not what it wraps, because a Read may open a new connection
		return e.Op == "dial" || e.Op == "proxyconnect" || e.Op == "socks connect"
	case interface{ Unwrap() error }:
		return unopened(e.Unwrap(), refusal)
	case interface{ Unwrap() []error }:
		return len(e.Unwrap()) > 0 && !slices.ContainsFunc(e.Unwrap(), func(e error) bool { return !unopened(e, refusal) })
	}
	return false
}

func dialFailed(err error) bool { return unopened(err, nil) }

// Hopeless reports whether further attempts can be expected to fail with the same error,
// because the request, the address, the configuration, the certificate or the response is
// wrong. When in doubt, it returns false.
func Hopeless(err error) bool {
	var dns *net.DNSError
	if isTLS(err) || badURL(err) || answered(err) || errors.As(err, new(*net.AddrError)) || errors.As(err, new(net.UnknownNetworkError)) ||
		errors.As(err, &dns) && dns.IsNotFound ||
		errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || // for example, of a Unix socket
		dialFailed(err) && (errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EAFNOSUPPORT)) {
		return true
	}
	inner := Innermost(err).Error()
	if localVerdict(inner) || refusedByProxy(inner) {
		return true
	}
	text := err.Error()
	for _, part := range hopelessTexts {
		if strings.Contains(text, part) {
			return true
		}
	}
	return malformed(text)
}

// answered reports whether err holds a response that is not a 5xx. A RoundTripper below got
// it to a request of its own, usually for a token, and was refused, as happens to an
// oauth2.Transport. Sending the request again would send the same credentials again.
func answered(err error) bool {
	if err == nil {
		return false
	}
	if v := reflect.Indirect(reflect.ValueOf(err)); v.Kind() == reflect.Struct {
		for i := range v.NumField() {
			if f := v.Field(i); f.Type() == reflect.TypeFor[*http.Response]() && !f.IsNil() {
				return f.Elem().FieldByName("StatusCode").Int() < 500
			}
		}
	}
	switch u := err.(type) {
	case interface{ Unwrap() error }:
		return answered(u.Unwrap())
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(u.Unwrap(), answered)
	}
	return false
}

// badURL reports whether a URL could not be parsed, such as a proxy's.
func badURL(err error) bool {
	var u *url.Error
	for errors.As(err, &u) {
		if u.Op == "parse" {
			return true
		}
		err = u.Err
	}
	return false
}

func isTLS(err error) bool {
	return errors.As(err, new(*tls.CertificateVerificationError)) || errors.As(err, new(x509.UnknownAuthorityError)) ||
		errors.As(err, new(x509.HostnameError)) || errors.As(err, new(x509.CertificateInvalidError)) ||
		errors.As(err, new(tls.RecordHeaderError)) || errors.As(err, new(tls.AlertError))
}

// isAlert reports whether err is an alert with which a TLS peer ended the connection. Over TCP,
// an alert has a type that crypto/tls does not export.
func isAlert(err error) bool {
	return err != nil && reflect.TypeOf(err).PkgPath() == "crypto/tls"
}

// localVerdict reports whether text is an error of crypto/tls or crypto/x509 that would
// occur again. Errors of a connection that breaks or is closed, or of a peer that fails
// internally, might not.
func localVerdict(text string) bool {
	if strings.HasPrefix(text, "x509: ") {
		return true
	}
	text = strings.TrimPrefix(strings.TrimPrefix(text, "remote error: "), "local error: ") // of an alert whose type was lost
	if !strings.HasPrefix(text, "tls: ") {
		return false
	}
	for _, part := range []string{"bad record MAC", "close", "shutdown", "timed out", "internal error", "user canceled"} {
		if strings.Contains(text, part) {
			return false
		}
	}
	return true
}

// refusedByProxy reports whether text is the error with which net/http returns a proxy's
// final refusal of CONNECT: the status text, without a type of its own.
func refusedByProxy(text string) bool {
	for code := 400; code < 500; code++ {
		if text == http.StatusText(code) && text != "" {
			return code != http.StatusRequestTimeout && code != http.StatusTooManyRequests
		}
	}
	return text == http.StatusText(http.StatusNotImplemented)
}

// malformed reports whether text says that a line of the response is malformed. It returns
// false if the line may be the beginning of a correct one, because a line looks malformed
// too if the connection breaks within it. A header line with a colon does so only if it ends
// in a carriage return; otherwise its name, or a byte of its value, is invalid whatever
// follows.
func malformed(text string) bool {
	if _, line, found := strings.Cut(text, `malformed HTTP response "`); found {
		line = strings.TrimSuffix(line, `"`)
		for _, version := range []string{"HTTP/1.0", "HTTP/1.1"} {
			if strings.HasPrefix(version, line) {
				return false
			}
		}
		return true
	}
	if _, code, found := strings.Cut(text, `malformed HTTP status code "`); found {
		code = strings.TrimSuffix(code, `"`)
		return len(code) > 2 || strings.Trim(code, "0123456789") != ""
	}
	if _, line, found := strings.Cut(text, "malformed MIME header"); found {
		_, line, _ = strings.Cut(line, ": ")
		line = strings.TrimPrefix(line, "missing colon: ")
		return strings.ContainsAny(line, " :") && !strings.HasSuffix(line, `\r"`) // field names contain no spaces
	}
	return false
}

// hopelessTexts lists parts of the texts of errors that no type distinguishes. They come
// from net/http and the packages that it uses.
var hopelessTexts = []string{
	// About the request:
	"http: nil Request.URL",
	"http: nil Request.Header",
	"http: no Host in request URL",
	"http: invalid ", // followed, for example, by method, header field or trailer
	"http2: invalid ",
	"invalid Trailer key ",
	"invalid Upgrade request header",
	"invalid Transfer-Encoding request header",
	"invalid Connection request header",
	"can't write control character in Request.URL",
	"http: Request.RequestURI can't be set",
	"http: Request.ContentLength=", // the request has a ContentLength but no body
	"http: ContentLength=",         // the body's length differs from ContentLength
	"http2: request body larger than specified content length",
	"http2: request header list larger than peer's advertised limit",
	// About the configuration:
	"invalid proxy ", // from http.ProxyFromEnvironment, as is the next one
	"refusing to use HTTP_PROXY value in CGI environment",
	"returned (nil, nil)",
	"unknown port",
	"no such host", // usually a *net.DNSError, which Hopeless knows by its type
	"http: Transport does not support ",
	"skip alternate protocol", // http.ErrSkipAltProtocol
	"Transport.Protocols",     // before Go 1.27, there is no such error
	"http2: unsupported scheme",
	"http2: unencrypted HTTP/2 not enabled",
	"http2: unexpected ALPN protocol",
	"http2: could not negotiate protocol",
	"no acceptable authentication methods", // from a SOCKS proxy, as are the next six
	"username/password authentication failed",
	"connection not allowed by ruleset",
	"unknown error address type not supported",
	"unknown error command not supported",
	"invalid username/password", // too long, or the user's name is empty
	"FQDN too long",
	// About the server, or a SOCKS proxy: it speaks another protocol.
	"http: server gave HTTP response to HTTPS client",
	"frame header looked like an HTTP/1.1 header",
	"HTTP_1_1_REQUIRED",
	"INADEQUATE_SECURITY",
	"unexpected protocol version ",
	// About the response, after its header or a complete part of it has arrived:
	"malformed HTTP version",
	"bad Content-Length ",
	"invalid empty Content-Length",
	"message cannot contain multiple Content-Length headers",
	"bad trailer key ",
	"unsupported transfer encoding",
	"too many transfer encodings",
	"server response headers exceeded ",
	"http2: response header list larger than advertised limit",
	"malformed response from server: ", // from HTTP/2
}

// Class returns a word that describes the kind of error, for use in logs.
func Class(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE): // EPIPE: a reset that a later write meets
		return "reset"
	case isTLS(err), isAlert(Innermost(err)):
		return "TLS"
	}
	return "other"
}

// ClassOfEnded returns the Class of an error with which a request ended because its
// caller stopped waiting: "timeout" or "canceled". ctx is the request's context. The
// error alone does not always show which: for a context that has ended, net/http returns
// the context's cause, and for a closed Request.Cancel, which http.Client uses for its
// Timeout, an error of its own.
func ClassOfEnded(ctx context.Context, err error) string {
	deadline, limited := ctx.Deadline()
	switch class := Class(err); {
	case class == "timeout", limited && !time.Now().Before(deadline):
		return "timeout"
	}
	return "canceled"
}

// HasNil reports whether err is a nil pointer, or wraps one whose methods panic.
func HasNil(err error) (has bool) {
	if isNil(err) {
		return true
	}
	defer func() {
		if recover() != nil {
			has = true
		}
	}()
	callNil(err)
	return false
}

func isNil(err error) bool {
	v := reflect.ValueOf(err)
	return v.Kind() == reflect.Pointer && v.IsNil()
}

// callNil calls the methods of the nil pointers that err wraps.
func callNil(err error) {
	if isNil(err) {
		_ = err.Error()
	}
	switch w := err.(type) {
	case interface{ Unwrap() error }:
		callNil(w.Unwrap())
	case interface{ Unwrap() []error }:
		for _, e := range w.Unwrap() {
			callNil(e)
		}
	}
}

// Innermost returns the last error in err's chain, because its type reveals the most. If
// several errors are joined, Innermost follows the first.
func Innermost(err error) error {
	for {
		inner := errors.Unwrap(err)
		if joined, ok := err.(interface{ Unwrap() []error }); ok && len(joined.Unwrap()) > 0 {
			inner = joined.Unwrap()[0]
		}
		if inner == nil {
			return err
		}
		err = inner
	}
}
