package iamhttp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"syscall"
)

// LogFailures returns an OnFailure that logs every failure to l, with the context
// of the request; if l is nil, to what slog.Default is at that time. Many
// Transports may use it at once.
//
// A failure that will be retried is logged at Info as "IAM request failed, will be
// retried", with the attribute wait. A final one is "IAM request failed": at Info
// if the caller has canceled the request, at Warn if the answer is a 4xx or the
// gate refused the request, else at Error. The group err has what is known of code,
// title, service_code, request_id, method, url, retry_after, attempts and stop.
// Without an answer, class (canceled, timeout, refused, reset, TLS, gate, other)
// and type, the error's Go type, stand for the first four.
//
// Nothing secret is logged: no header, body, user info or query, no text of an
// error of Base, which may hold any of them, and no message of the service, which
// may quote what was wrong with a request, such as a password.
func LogFailures(l *slog.Logger) func(context.Context, Failure) {
	return func(ctx context.Context, f Failure) {
		logger := l
		if logger == nil {
			logger = slog.Default()
		}
		level, text, attrs := logLevel(f), "IAM request failed", make([]slog.Attr, 0, 2)
		if f.Retry {
			text = "IAM request failed, will be retried"
			attrs = append(attrs, slog.Duration("wait", f.Wait))
		}
		if !logger.Enabled(ctx, level) {
			return
		}
		logger.LogAttrs(ctx, level, text, append(attrs, slog.GroupAttrs("err", logged(f)...))...)
	}
}

func logLevel(f Failure) slog.Level {
	e, answered := f.Status()
	switch {
	case f.Retry, f.Stop == StopCanceled && errors.Is(f.Err, context.Canceled):
		return slog.LevelInfo
	case answered && 400 <= e.Code && e.Code < 500, f.Stop == StopGate:
		return slog.LevelWarn
	}
	return slog.LevelError
}

// logged returns what is safe to log of a failure.
func logged(f Failure) []slog.Attr {
	if e, ok := f.Status(); ok {
		return slices.DeleteFunc(e.LogValue().Group(), func(a slog.Attr) bool { return a.Key == "message" })
	}
	attrs := append(make([]slog.Attr, 0, 7),
		slog.String("class", class(f.Err)),
		slog.String("type", fmt.Sprintf("%T", innermost(f.Err))),
		slog.String("method", f.Method),
		slog.String("url", f.URL))
	if d, ok := RetryAfter(f.Err); ok {
		attrs = append(attrs, slog.Duration("retry_after", d))
	}
	if f.Attempt > 0 {
		attrs = append(attrs, slog.Int("attempts", f.Attempt))
	}
	if f.Stop != StopUnset {
		attrs = append(attrs, slog.String("stop", f.Stop.String()))
	}
	return attrs
}

// class names the kind of an error without an answer.
func class(err error) string {
	var timeout net.Error
	switch {
	case errors.As(err, new(*NotSentError)):
		return "gate"
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

// innermost returns the error that the others are wrapped around, the first where
// they are joined: its type says most.
func innermost(err error) error {
	for {
		inner := errors.Unwrap(err)
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			if _, gate := err.(*NotSentError); !gate && len(joined.Unwrap()) > 0 {
				inner = joined.Unwrap()[0]
			}
		}
		if inner == nil {
			return err
		}
		err = inner
	}
}
