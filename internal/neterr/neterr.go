// Package neterr classifies the errors of requests that received no response.
package neterr

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
)

// DialFailed reports whether no connection could be made, so that nothing was sent. A
// reset does not count, because a connection that is reset had been made.
func DialFailed(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect") && !errors.Is(err, syscall.ECONNRESET)
}

// Hopeless reports whether every further attempt would fail with the same error, because
// the request, the address or the certificate is wrong.
func Hopeless(err error) bool {
	var dns *net.DNSError
	if errors.As(err, new(*tls.CertificateVerificationError)) || errors.As(err, new(x509.UnknownAuthorityError)) ||
		errors.As(err, new(x509.HostnameError)) || errors.As(err, new(x509.CertificateInvalidError)) ||
		errors.As(err, new(tls.RecordHeaderError)) || errors.As(err, new(tls.AlertError)) ||
		errors.As(err, new(*net.AddrError)) || errors.As(err, new(net.UnknownNetworkError)) ||
		errors.As(err, &dns) && dns.IsNotFound {
		return true
	}
	text := err.Error()
	for _, part := range hopelessTexts {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}

// hopelessTexts lists texts that occur in errors of net/http and crypto/tls that have no
// type of their own.
var hopelessTexts = []string{
	"http: nil Request.URL",
	"http: nil Request.Header",
	"http: no Host in request URL",
	"net/http: invalid ", // followed by method, header field or trailer
	"http: invalid ",
	"http: Request.ContentLength=", // the request has a ContentLength but no body
	"http: ContentLength=",         // the body's length differs from ContentLength
	"http: server gave HTTP response to HTTPS client",
	"malformed HTTP response", // from a server that speaks another protocol, such as TLS
	"malformed HTTP version",
	"remote error: tls: ",
	"tls: handshake failure",
	"tls: server selected unsupported protocol version",
	"unknown port",
}

// OfConnection reports whether an error comes from a connection. Any other error may come
// from reading the request body, because net/http returns the errors of a body unchanged.
func OfConnection(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "readfrom" { // from a connection to which the body is copied
		err = op.Err
	}
	if err == io.ErrUnexpectedEOF { // from the body, because net/http wraps its own io.ErrUnexpectedEOF
		return false
	}
	if errors.Is(err, io.EOF) || errors.As(err, new(net.Error)) || errors.As(err, new(syscall.Errno)) {
		return true
	}
	text := err.Error()
	return strings.Contains(text, "connection") || strings.Contains(text, "http2: ") || strings.Contains(text, "net/http: ")
}

// Sendable reports whether a body can probably be read to its end. It reads only the
// first 64 KiB.
func Sendable(body io.Reader, length int64) bool {
	n, err := io.CopyN(io.Discard, body, 64<<10)
	return err == nil || err == io.EOF && (length <= 0 || n == length)
}

// Class returns a word for the kind of an error, for use in logs.
func Class(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET):
		return "reset"
	case errors.As(err, new(*tls.CertificateVerificationError)), errors.As(err, new(x509.UnknownAuthorityError)),
		errors.As(err, new(x509.HostnameError)), errors.As(err, new(x509.CertificateInvalidError)),
		errors.As(err, new(tls.RecordHeaderError)), errors.As(err, new(tls.AlertError)):
		return "TLS"
	}
	return "other"
}

// Innermost returns the error at the end of the chain that err wraps, because the type of
// that error reveals the most. If several errors are joined, Innermost follows the first.
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
