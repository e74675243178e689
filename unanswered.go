package iamhttp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/hashicorp/go-retryablehttp"
)

// mayRetryUnanswered applies RetryConnectionErrors to a request that received no
// answer. The judgement is that of go-retryablehttp, after what it takes for a
// matter of luck and cannot get better.
func (t *Transport) mayRetryUnanswered(req *http.Request, err error) bool {
	if !t.RetryConnectionErrors || !idempotent(req) && !dialFailed(err) || hopeless(err) {
		return false
	}
	ok, _ := retryablehttp.ErrorPropagatedRetryPolicy(req.Context(), nil, &url.Error{
		Op:  req.Method,
		URL: redact(req.URL),
		Err: err,
	})
	return ok
}

// dialFailed reports whether there was no connection, so that nothing was sent. One
// that was reset has stood.
func dialFailed(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect") && !errors.Is(err, syscall.ECONNRESET)
}

// hopeless reports whether an error would come again with each attempt: the
// request, the address or the certificate is wrong, or a Transport below has
// decided already.
func hopeless(err error) bool {
	var dns *net.DNSError
	if err == errNoAnswer || errors.As(err, new(*StatusError)) || errors.As(err, new(*NotSentError)) ||
		errors.As(err, new(*tls.CertificateVerificationError)) || errors.As(err, new(x509.UnknownAuthorityError)) ||
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

// hopelessTexts are in errors of net/http and crypto/tls that have no type.
var hopelessTexts = []string{
	"http: nil Request.URL",
	"http: nil Request.Header",
	"http: no Host in request URL",
	"net/http: invalid ", // method, header field, trailer
	"http: invalid ",
	"http: Request.ContentLength=", // without a body
	"http: ContentLength=",         // with a body of another length
	"http: server gave HTTP response to HTTPS client",
	"malformed HTTP response", // of a server that speaks TLS, or something else
	"malformed HTTP version",
	"remote error: tls: ",
	"tls: handshake failure",
	"tls: server selected unsupported protocol version",
	"unknown port",
}

// ofConnection reports whether an error is one of a connection. Any other may be
// that of the Read of the request's body, which net/http returns as it is.
func ofConnection(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "readfrom" { // a connection copies from the body
		err = op.Err
	}
	if err == io.ErrUnexpectedEOF { // net/http wraps its own
		return false
	}
	if errors.Is(err, io.EOF) || errors.As(err, new(net.Error)) || errors.As(err, new(syscall.Errno)) {
		return true
	}
	text := err.Error()
	return strings.Contains(text, "connection") || strings.Contains(text, "http2: ") || strings.Contains(text, "net/http: ")
}

// sendable reports whether a body can be read to its end, as far as its beginning
// tells.
func sendable(body io.Reader, length int64) bool {
	n, err := io.CopyN(io.Discard, body, 64<<10)
	return err == nil || err == io.EOF && (length <= 0 || n == length)
}
