package iamhttp

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/iamhttp/iamhttp/internal/neterr"
)

// LogFailures returns an OnFailure function that logs every failure to l, or to
// slog.Default if l is nil. A failure that will be retried is logged at Info as "IAM
// request failed, will be retried", with the attribute wait. A final failure is logged as
// "IAM request failed": at Info if the caller has canceled the request, at Warn if the
// response is a 4xx or Stop is StopGate, and otherwise at Error. The group err contains
// code, title, service_code, request_id, method, url, retry_after, limit, attempts and
// stop, as far as they are known. If there was no response, it contains class (canceled,
// timeout, refused, reset, TLS, gate, other) and type (the Go type of the innermost error
// or, for gate, *iamhttp.NotSentError) instead of the first four.
//
// No secrets are logged: nothing else from the header or body, no user info or query from
// the URL, no text from Base's errors, which may contain any of these, and no message from
// the service, which may quote the request.
func LogFailures(l *slog.Logger) func(context.Context, Failure) {
	return func(ctx context.Context, f Failure) {
		logger := l
		if logger == nil {
			logger = slog.Default()
		}
		level, text, attrs := logLevel(ctx, f), "IAM request failed", make([]slog.Attr, 0, 2)
		if f.Retry {
			text = "IAM request failed, will be retried"
			attrs = append(attrs, slog.Duration("wait", f.Wait))
		}
		if !logger.Enabled(ctx, level) {
			return
		}
		logger.LogAttrs(ctx, level, text, append(attrs, slog.GroupAttrs("err", logged(ctx, f)...))...)
	}
}

func logLevel(ctx context.Context, f Failure) slog.Level {
	e, answered := f.Status()
	switch {
	case f.Retry, f.Stop == StopCanceled && neterr.ClassOfEnded(ctx, f.Err) == "canceled":
		return slog.LevelInfo
	case answered && 400 <= e.Code && e.Code < 500, f.Stop == StopGate:
		return slog.LevelWarn
	}
	return slog.LevelError
}

// logged returns the attributes of a failure that are safe to log.
func logged(ctx context.Context, f Failure) []slog.Attr {
	if e, ok := f.Status(); ok {
		return slices.DeleteFunc(e.LogValue().Group(), func(a slog.Attr) bool { return a.Key == "message" })
	}
	class, kind := neterr.Class(f.Err), neterr.Innermost(f.Err)
	if f.Stop == StopCanceled {
		class = neterr.ClassOfEnded(ctx, f.Err)
	}
	if notSent := find[*NotSentError](f.Err); notSent != nil {
		class, kind = "gate", notSent
	}
	attrs := append(make([]slog.Attr, 0, 7),
		slog.String("class", class),
		slog.String("type", fmt.Sprintf("%T", kind)),
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
