package neterr_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/internal/neterr"
)

func op(op string, err error) error { return &net.OpError{Op: op, Net: "tcp", Err: err} }

func TestErrorsOfRequestsWithoutAResponseAreClassified(t *testing.T) {
	refused := os.NewSyscallError("connect", syscall.ECONNREFUSED)
	reset := os.NewSyscallError("read", syscall.ECONNRESET)
	for name, tt := range map[string]struct {
		err            error
		dial, hopeless bool
		class          string
	}{
		"a refused connection":                               {op("dial", refused), true, false, "refused"},
		"a refused connection to a proxy":                    {op("proxyconnect", op("dial", refused)), true, false, "refused"},
		"a refused connection after a redirect":              {&url.Error{Op: "Get", Err: op("dial", refused)}, false, false, "refused"},
		"a reset while dialing":                              {op("dial", reset), false, false, "reset"},
		"a reset while reading":                              {op("read", reset), false, false, "reset"},
		"a timeout while dialing":                            {op("dial", os.ErrDeadlineExceeded), true, false, "timeout"},
		"refused connections to both hosts of a failover":    {errors.Join(op("dial", refused), fmt.Errorf("host B: %w", op("dial", refused))), true, false, "refused"},
		"a refused connection after another host's EOF":      {errors.Join(io.EOF, op("dial", refused)), false, false, "refused"},
		"a refused connection after an HTTP/3 timeout":       {fmt.Errorf("%w, then %w", context.DeadlineExceeded, op("dial", refused)), false, false, "timeout"},
		"a refused connection, then a lost connection":       {errors.Join(op("dial", refused), errors.New("http2: client connection lost")), false, false, "refused"},
		"no errors, joined":                                  {joined{}, false, false, "other"},
		"an error that wraps nothing":                        {&retrieve{}, false, false, "other"},
		"a refused connection to a SOCKS proxy":              {op("socks connect", op("dial", refused)), true, false, "refused"},
		"a refused connection while reading":                 {op("read", op("dial", refused)), false, false, "refused"},
		"a context whose deadline has passed":                {context.DeadlineExceeded, false, false, "timeout"},
		"a canceled context":                                 {fmt.Errorf("get: %w", context.Canceled), false, false, "canceled"},
		"no such host":                                       {op("dial", &net.DNSError{Err: "no such host", IsNotFound: true}), true, true, "other"},
		"a failing DNS server":                               {op("dial", &net.DNSError{Err: "server misbehaving", IsTemporary: true}), true, false, "other"},
		"an address without a port":                          {op("dial", &net.AddrError{Err: "missing port in address"}), true, true, "other"},
		"an address whose zone does not exist":               {op("dial", os.NewSyscallError("connect", syscall.EINVAL)), true, true, "other"},
		"an unknown network":                                 {op("dial", net.UnknownNetworkError("x")), true, true, "other"},
		"an IPv6 address without IPv6":                       {op("dial", os.NewSyscallError("socket", syscall.EAFNOSUPPORT)), true, true, "other"},
		"a Unix socket that does not exist":                  {op("dial", os.NewSyscallError("connect", syscall.ENOENT)), true, true, "other"},
		"a Unix socket of another user":                      {op("dial", os.NewSyscallError("connect", syscall.EACCES)), true, true, "other"},
		"a network that cannot be reached":                   {op("dial", os.NewSyscallError("connect", syscall.ENETUNREACH)), true, false, "other"},
		"too many open files":                                {op("dial", os.NewSyscallError("socket", syscall.EMFILE)), true, false, "other"},
		"a dialer that returns nothing":                      {errors.New("net/http: Transport.DialContext hook returned (nil, nil)"), false, true, "other"},
		"an invalid proxy address":                           {errors.New(`invalid proxy address "x y"`), false, true, "other"},
		"a proxy address that cannot be parsed":              {parseError("http://[::1"), false, true, "other"},
		"an address that cannot be parsed, in a client":      {&url.Error{Op: "Get", Err: fmt.Errorf("proxy: %w", parseError("http://a b"))}, false, true, "other"},
		"HTTP_PROXY in a CGI program":                        {errors.New("refusing to use HTTP_PROXY value in CGI environment; see golang.org/s/cgihttpproxy"), false, true, "other"},
		"protocols that contradict each other":               {errors.New("http: when using HTTP3, Transport.Protocols must contain only HTTP3"), false, true, "other"},
		"HTTP/2 without TLS, which is not enabled":           {errors.New("http2: unencrypted HTTP/2 not enabled"), false, true, "other"},
		"a proxy that wants a password":                      {errors.New("Proxy Authentication Required"), false, true, "other"},
		"a proxy that refuses the host":                      {errors.New("Forbidden"), false, true, "other"},
		"a proxy that cannot reach the host":                 {errors.New("Bad Gateway"), false, false, "other"},
		"a proxy that throttles":                             {errors.New("Too Many Requests"), false, false, "other"},
		"a SOCKS proxy that rejects the password":            {op("socks connect", errors.New("username/password authentication failed")), true, true, "other"},
		"a SOCKS proxy that does not accept host names":      {op("socks connect", errors.New("unknown error address type not supported")), true, true, "other"},
		"a SOCKS proxy that cannot reach the host":           {op("socks connect", errors.New("unknown error host unreachable")), true, false, "other"},
		"a SOCKS proxy that fails":                           {op("socks connect", errors.New("unknown error general SOCKS server failure")), true, false, "other"},
		"a SOCKS proxy's password that is too long":          {op("socks connect", errors.New("invalid username/password")), true, true, "other"},
		"an HTTP proxy instead of a SOCKS proxy":             {op("socks connect", errors.New("unexpected protocol version 72")), true, true, "other"},
		"a certificate that cannot be verified":              {&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, false, true, "TLS"},
		"an unknown authority":                               {x509.UnknownAuthorityError{}, false, true, "TLS"},
		"a certificate for another host":                     {x509.HostnameError{Certificate: new(x509.Certificate), Host: "h"}, false, true, "TLS"},
		"an invalid certificate":                             {x509.CertificateInvalidError{Cert: new(x509.Certificate)}, false, true, "TLS"},
		"a certificate with an unhandled critical extension": {x509.UnhandledCriticalExtension{}, false, true, "other"},
		"a server that does not speak TLS":                   {tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, false, true, "TLS"},
		"a TLS handshake failure":                            {op("remote error", tls.AlertError(40)), false, true, "TLS"},
		"a TLS configuration that allows no version":         {errors.New("tls: no supported versions satisfy MinVersion and MaxVersion"), false, true, "other"},
		"a TLS handshake failure, as text":                   {errors.New("remote error: tls: handshake failure"), false, true, "other"},
		"our own TLS alert, as text":                         {errors.New("local error: tls: unexpected message"), false, true, "other"},
		"a TLS server that fails, as text":                   {errors.New("remote error: tls: internal error"), false, false, "other"},
		"no such host, as text":                              {errors.New("dial tcp: lookup h.invalid: no such host"), false, true, "other"},
		"a protocol that another transport handles":          {http.ErrSkipAltProtocol, false, true, "other"},
		"a TLS record that was damaged":                      {op("local error", errors.New("tls: bad record MAC")), false, false, "other"},
		"a TLS server that fails":                            {op("remote error", errors.New("tls: internal error")), false, false, "other"},
		"the text of a TLS handshake timeout":                {errors.New("net/http: TLS handshake timeout"), false, false, "other"},
		"a token request that was refused":                   {&retrieve{Response: &http.Response{StatusCode: 401}}, false, true, "other"},
		"a token request that was refused, wrapped":          {fmt.Errorf("a: %w", errors.Join(io.EOF, &retrieve{Response: &http.Response{StatusCode: 429}})), false, true, "other"},
		"a token request that got a 503":                     {&retrieve{Response: &http.Response{StatusCode: 503}}, false, false, "other"},
		"a token request that got no response":               {&retrieve{Err: io.EOF}, false, false, "other"},
		"an EOF":                                             {io.EOF, false, false, "other"},
		"a write after a reset":                              {op("write", os.NewSyscallError("write", syscall.EPIPE)), false, false, "reset"},
		"an unexpected EOF":                                  {broken("unexpected EOF"), false, false, "other"},
		"an idle connection closed by the server":            {errors.New("http: server closed idle connection"), false, false, "other"},
		"an HTTP/2 GOAWAY":                                   {errors.New("http2: server sent GOAWAY"), false, false, "other"},
		"an invalid method":                                  {errors.New(`net/http: invalid method "G T"`), false, true, "other"},
		"an invalid Host":                                    {errors.New("http2: invalid Host header"), false, true, "other"},
		"an invalid trailer":                                 {errors.New(`invalid Trailer key "Content-Length"`), false, true, "other"},
		"a URL without a host":                               {errors.New("http: no Host in request URL"), false, true, "other"},
		"a URL with a control character":                     {errors.New("net/http: can't write control character in Request.URL"), false, true, "other"},
		"a header that is too long for the server":           {errors.New("http2: request header list larger than peer's advertised limit"), false, true, "other"},
		"HTTP on a port for HTTPS":                           {errors.New("http: server gave HTTP response to HTTPS client"), false, true, "other"},
		"HTTP/1.1 on a port for HTTP/2":                      {errors.New("http2: failed reading the frame payload: http2: frame too large, note that the frame header looked like an HTTP/1.1 header"), false, true, "other"},
		"a server that requires HTTP/1.1":                    {errors.New("stream error: stream ID 1; HTTP_1_1_REQUIRED; received from peer"), false, true, "other"},
		"a server that requires better TLS":                  {errors.New(`http2: server sent GOAWAY and closed the connection; LastStreamID=0, ErrCode=INADEQUATE_SECURITY, debug=""`), false, true, "other"},
		"an HTTP/2 stream that the server refuses":           {errors.New("stream error: stream ID 1; REFUSED_STREAM; received from peer"), false, false, "other"},
		"an HTTP/2 error":                                    {errors.New("connection error: PROTOCOL_ERROR"), false, false, "other"},
		"a response in another protocol":                     {broken(`malformed HTTP response "SSH-2.0-OpenSSH_9"`), false, true, "other"},
		"a status line that breaks off":                      {broken(`malformed HTTP response "HTT"`), false, false, "other"},
		"a status line that breaks off before the code":      {broken(`malformed HTTP response "HTTP/1.1"`), false, false, "other"},
		"a status code that is not a number":                 {broken(`malformed HTTP status code "abc"`), false, true, "other"},
		"a status code that breaks off":                      {broken(`malformed HTTP status code "20"`), false, false, "other"},
		"a malformed HTTP version":                           {broken(`malformed HTTP version "HTTP/x"`), false, true, "other"},
		"a header line without a colon":                      {broken(`malformed MIME header: missing colon: "no colon here"`), false, true, "other"},
		"a header line without a colon, before Go 1.26":      {broken("malformed MIME header line: no colon here"), false, true, "other"},
		"a header line that breaks off":                      {broken(`malformed MIME header: missing colon: "Content-Le"`), false, false, "other"},
		"a header line that breaks off, before Go 1.26":      {broken("malformed MIME header line: Content-Le"), false, false, "other"},
		"a header line with an invalid name":                 {broken(`malformed MIME header line: "A(B): c"`), false, true, "other"},
		"a header line with an invalid value":                {broken(`malformed MIME header line: "A: b\x00c"`), false, true, "other"},
		"a header line that breaks off in a line end":        {broken(`malformed MIME header line: "Server: a b\r"`), false, false, "other"},
		"a header that begins with a space":                  {broken(`malformed MIME header initial line: " A:b"`), false, true, "other"},
		"an invalid Content-Length":                          {broken(`bad Content-Length "-5"`), false, true, "other"},
		"two values of Content-Length":                       {broken(`http: message cannot contain multiple Content-Length headers; got ["5" "6"]`), false, true, "other"},
		"an unknown transfer encoding":                       {broken(`unsupported transfer encoding: "foo"`), false, true, "other"},
		"an invalid trailer in the response":                 {broken(`bad trailer key "Content-Length"`), false, true, "other"},
		"a response header that is too long":                 {broken("net/http: server response headers exceeded 100 bytes; aborted"), false, true, "other"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.dial, neterr.DialFailed(tt.err), "DialFailed")
			assert.Equal(t, tt.hopeless, neterr.Hopeless(tt.err), "Hopeless")
			assert.Equal(t, tt.class, neterr.Class(tt.err), "Class")
		})
	}
}

func TestAlertOfARealTLSPeerHasTheClassTLS(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	go func() {
		defer server.Close()
		_ = tls.Server(server, &tls.Config{MinVersion: tls.VersionTLS13}).Handshake()
	}()
	err := tls.Client(client, &tls.Config{MaxVersion: tls.VersionTLS12, ServerName: "h"}).Handshake()
	assert.EqualError(t, err, "remote error: tls: protocol version not supported")
	assert.Equal(t, "TLS", neterr.Class(&url.Error{Op: "Get", Err: err}))
	assert.True(t, neterr.Hopeless(err))
	assert.Equal(t, "other", neterr.Class(nil))
}

func TestATimeoutIsDistinguishedFromACancellation(t *testing.T) {
	cause := errors.New("the caller's own")
	canceled, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	late, stop := context.WithTimeoutCause(t.Context(), 0, cause)
	defer stop()
	for name, tt := range map[string]struct {
		ctx  context.Context
		err  error
		want string
	}{
		"the context was canceled, with a cause":          {canceled, cause, "canceled"},
		"the context's deadline has passed, with a cause": {late, cause, "timeout"},
		"http.Client's Timeout has passed":                {late, errors.New("net/http: request canceled"), "timeout"},
		"Request.Cancel was closed":                       {t.Context(), errors.New("net/http: request canceled"), "canceled"},
		"the error is DeadlineExceeded":                   {t.Context(), context.DeadlineExceeded, "timeout"},
	} {
		assert.Equal(t, tt.want, neterr.ClassOfEnded(tt.ctx, tt.err), name)
	}
}

// parseError returns url.Parse's error for an invalid address.
func parseError(address string) error {
	_, err := url.Parse(address)
	return err
}

// broken returns an error like net/http's for an HTTP/1.x response that cannot be read.
func broken(text string) error {
	return fmt.Errorf("net/http: HTTP/1.x transport connection broken: %w", errors.New(text))
}

func TestInnermostIsTheFirstErrorThatWrapsNothing(t *testing.T) {
	inner := errors.New("inner")
	for name, err := range map[string]error{
		"an error that is not wrapped":         inner,
		"an error that is wrapped twice":       fmt.Errorf("a: %w", fmt.Errorf("b: %w", inner)),
		"two joined errors":                    errors.Join(fmt.Errorf("a: %w", inner), errors.New("another")),
		"a url.Error":                          &url.Error{Op: "Get", Err: inner},
		"two errors that one fmt.Errorf wraps": fmt.Errorf("%w, %w", inner, errors.New("another")),
	} {
		assert.Same(t, inner, neterr.Innermost(err), name)
	}
	assert.Equal(t, reflect.TypeFor[syscall.Errno](), reflect.TypeOf(neterr.Innermost(op("dial", os.NewSyscallError("connect", syscall.ECONNREFUSED)))))
}

// harmless is an error that can be a nil pointer.
type harmless struct{}

func (*harmless) Error() string { return "harmless" }

func TestNilPointersInErrorsAreFound(t *testing.T) {
	var missing *url.Error
	for name, tt := range map[string]struct {
		err  error
		want bool
	}{
		"no error":                    {nil, false},
		"an error":                    {io.EOF, false},
		"a wrapped error":             {&url.Error{Err: io.EOF}, false},
		"an error that wraps nothing": {&url.Error{}, false},
		"a value":                     {syscall.ECONNRESET, false},
		"a nil pointer":               {missing, true},
		"a wrapped nil pointer":       {&url.Error{Err: missing}, true},
		"a joined nil pointer":        {errors.Join(io.EOF, fmt.Errorf("x: %w", missing)), true},
		"a harmless nil pointer":      {&url.Error{Err: (*harmless)(nil)}, false},
	} {
		assert.Equal(t, tt.want, neterr.HasNil(tt.err), name)
	}
}

// joined holds no errors.
type joined []error

func (joined) Error() string     { return "joined" }
func (j joined) Unwrap() []error { return j }

// A retrieve resembles oauth2.RetrieveError.
type retrieve struct {
	Response *http.Response
	Err      error
}

func (r *retrieve) Error() string { return "cannot fetch token" }
func (r *retrieve) Unwrap() error { return r.Err }
