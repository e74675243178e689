package iamhttp

import (
	"context"
	"log/slog"
	"slices"
	"time"
)

// LogFailures returns an OnFailure that logs every failing answer to l, with
// the context of the request; if l is nil, to what slog.Default is then. It may
// be used by many Transports at once.
//
// An answer after which the request will be sent again is logged at Info, as
// "IAM request failed, to be repeated" with the attribute wait, a duration. One
// that is final is "IAM request failed": at Warn if it is a 4xx, the caller's
// affair, else at Error. Both have a group err, with what is known of code,
// title, service_code, request_id, method, url, retry_after, attempts and stop.
//
// Nothing secret is logged: no header, no body, no user info and no query. The
// service's message is left out too, because it may quote what was wrong with
// a request, a password say; whoever handles the error has it in Message.
func LogFailures(l *slog.Logger) func(ctx context.Context, err *StatusError, wait time.Duration) {
	return func(ctx context.Context, err *StatusError, wait time.Duration) {
		logger := l
		if logger == nil {
			logger = slog.Default()
		}
		level, text, attrs := slog.LevelError, "IAM request failed", make([]slog.Attr, 0, 2)
		switch {
		case err.Stop == StopUnset:
			level, text = slog.LevelInfo, "IAM request failed, to be repeated"
			attrs = append(attrs, slog.Duration("wait", wait))
		case 400 <= err.Code && err.Code < 500:
			level = slog.LevelWarn
		}
		if !logger.Enabled(ctx, level) {
			return
		}
		known := slices.DeleteFunc(err.LogValue().Group(), func(a slog.Attr) bool { return a.Key == "message" })
		logger.LogAttrs(ctx, level, text, append(attrs, slog.GroupAttrs("err", known...))...)
	}
}
