package neterr_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/internal/neterr"
)

func op(op string, err error) error { return &net.OpError{Op: op, Net: "tcp", Err: err} }

func TestErrorsOfRequestsWithoutAResponseAreClassified(t *testing.T) {
	refused := os.NewSyscallError("connect", syscall.ECONNREFUSED)
	reset := os.NewSyscallError("read", syscall.ECONNRESET)
	for name, tt := range map[string]struct {
		err                          error
		dial, hopeless, ofConnection bool
		class                        string
	}{
		"connection refused":                         {op("dial", refused), true, false, true, "refused"},
		"a refused connection to a proxy":            {&url.Error{Op: "Get", Err: op("proxyconnect", op("dial", refused))}, true, false, true, "refused"},
		"a reset while dialing":                      {op("dial", reset), false, false, true, "reset"},
		"a reset while reading":                      {op("read", reset), false, false, true, "reset"},
		"a timeout while dialing":                    {op("dial", os.ErrDeadlineExceeded), true, false, true, "timeout"},
		"the deadline of the context":                {context.DeadlineExceeded, false, false, true, "timeout"},
		"a canceled context":                         {fmt.Errorf("get: %w", context.Canceled), false, false, false, "canceled"},
		"no such host":                               {op("dial", &net.DNSError{Err: "no such host", IsNotFound: true}), true, true, true, "other"},
		"a failing DNS server":                       {op("dial", &net.DNSError{Err: "server misbehaving", IsTemporary: true}), true, false, true, "other"},
		"an address without a port":                  {op("dial", &net.AddrError{Err: "missing port in address"}), true, true, true, "other"},
		"an unknown network":                         {op("dial", net.UnknownNetworkError("x")), true, true, true, "other"},
		"an unverified certificate":                  {&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, false, true, false, "TLS"},
		"an unknown authority":                       {x509.UnknownAuthorityError{}, false, true, false, "TLS"},
		"a certificate for another host":             {x509.HostnameError{Certificate: new(x509.Certificate), Host: "h"}, false, true, false, "TLS"},
		"an invalid certificate":                     {x509.CertificateInvalidError{Cert: new(x509.Certificate)}, false, true, false, "TLS"},
		"a server that does not speak TLS":           {tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, false, true, false, "TLS"},
		"a TLS alert":                                {op("remote error", tls.AlertError(40)), false, true, true, "TLS"},
		"an EOF":                                     {io.EOF, false, false, true, "other"},
		"an unexpected EOF from net/http":            {fmt.Errorf("http: %w", io.ErrUnexpectedEOF), false, false, false, "other"},
		"an unexpected EOF from the body":            {io.ErrUnexpectedEOF, false, false, false, "other"},
		"an error from the body":                     {errors.New("disk full"), false, false, false, "other"},
		"an error from the body, while it is copied": {op("readfrom", errors.New("disk full")), false, false, false, "other"},
		"a broken pipe while the body is copied":     {op("readfrom", syscall.EPIPE), false, false, true, "other"},
		"an idle connection closed by the server":    {errors.New("http: server closed idle connection"), false, false, true, "other"},
		"an HTTP/2 GOAWAY":                           {errors.New("http2: server sent GOAWAY"), false, false, true, "other"},
		"an invalid method":                          {errors.New(`net/http: invalid method "G T"`), false, true, true, "other"},
		"a URL without a host":                       {errors.New("http: no Host in request URL"), false, true, false, "other"},
		"HTTP on a port for HTTPS":                   {errors.New("http: server gave HTTP response to HTTPS client"), false, true, false, "other"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.dial, neterr.DialFailed(tt.err), "DialFailed")
			assert.Equal(t, tt.hopeless, neterr.Hopeless(tt.err), "Hopeless")
			assert.Equal(t, tt.ofConnection, neterr.OfConnection(tt.err), "OfConnection")
			assert.Equal(t, tt.class, neterr.Class(tt.err), "Class")
		})
	}
}

func TestABodyIsSendableIfItHasTheAnnouncedLength(t *testing.T) {
	for name, tt := range map[string]struct {
		body   io.Reader
		length int64
		want   bool
	}{
		"a body with the announced length":                  {strings.NewReader("text"), 4, true},
		"a body of unknown length":                          {strings.NewReader("text"), -1, true},
		"a body shorter than announced":                     {strings.NewReader("text"), 5, false},
		"a body longer than announced":                      {strings.NewReader("text"), 3, false},
		"an empty body":                                     {strings.NewReader(""), 0, true},
		"a body that cannot be read":                        {iotest.ErrReader(errors.New("disk full")), 4, false},
		"a body that ends too early, but only after 64 KiB": {strings.NewReader(strings.Repeat("x", 1<<20)), 2 << 20, true},
	} {
		assert.Equal(t, tt.want, neterr.Sendable(tt.body, tt.length), name)
	}
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
