package iamotel

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/iamhttp/iamhttp/internal/resend1"
)

// Spans returns a RoundTripper that creates a span for each attempt and counts
// retries. Set this RoundTripper as the Base of a Transport, unless otelhttp is below the
// Transport; in that case, use [Telemetry.Resends]. If base is nil,
// http.DefaultTransport is used. Put a RoundTripper that changes a request's host or path
// below, because a request that differs from the Transport's does not count as a retry: it
// may be one for a token.
func (t *Telemetry) Spans(base http.RoundTripper) http.RoundTripper {
	return &attemptRecorder{t, cmp.Or(base, http.DefaultTransport), true}
}

// Resends returns a RoundTripper that counts retries and adds http.request.resend_count
// to each retry's span, which another RoundTripper, such as otelhttp, has created. Put
// the RoundTripper that Resends returns directly below the one that creates the spans. If
// base is nil, http.DefaultTransport is used. As with [Telemetry.Spans], a request that
// differs from the Transport's does not count as a retry.
func (t *Telemetry) Resends(base http.RoundTripper) http.RoundTripper {
	return &attemptRecorder{t, cmp.Or(base, http.DefaultTransport), false}
}

type attemptRecorder struct {
	telemetry *Telemetry
	base      http.RoundTripper
	spans     bool
}

func (a *attemptRecorder) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL == nil {
		return a.base.RoundTrip(req) // the base reports the error
	}
	ctx, t := req.Context(), a.telemetry.ready()
	resend := resend1.Count(req)
	if resend > 0 {
		t.retries.Add(ctx, 1, metric.WithAttributes(method(req)[0], server(req)[0]))
	}
	if !a.spans {
		if resend > 0 {
			trace.SpanFromContext(ctx).SetAttributes(semconv.HTTPRequestResendCount(resend))
		}
		return a.base.RoundTrip(req)
	}

	attrs := slices.Concat(method(req), server(req), []attribute.KeyValue{semconv.URLFull(address(req.URL))})
	if resend > 0 {
		attrs = append(attrs, semconv.HTTPRequestResendCount(resend))
	}
	ctx, span := t.tracer.Start(ctx, spanName(attrs[0]), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attrs...))
	returned := false
	defer func() { // not "defer span.End()", which would record the text of a panic in the base
		if !returned {
			span.SetAttributes(semconv.ErrorTypeOther)
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}()
	out := req.WithContext(ctx)
	if out.Header = req.Header.Clone(); out.Header == nil {
		out.Header = http.Header{}
	}
	cmp.Or(t.Propagators, otel.GetTextMapPropagator()).Inject(ctx, propagation.HeaderCarrier(out.Header))

	resp, err := a.base.RoundTrip(out)
	returned = true
	switch {
	case err != nil:
		// The status has no description, because the error's text may contain the
		// service's message.
		span.SetAttributes(errorType(ctx, err))
		span.SetStatus(codes.Error, "")
	case resp != nil:
		span.SetAttributes(semconv.HTTPResponseStatusCode(resp.StatusCode))
		if resp.ProtoMajor > 0 {
			span.SetAttributes(semconv.NetworkProtocolVersion(version(resp)))
		}
		if resp.StatusCode < 100 || 400 <= resp.StatusCode {
			span.SetAttributes(semconv.ErrorTypeKey.String(strconv.Itoa(resp.StatusCode)))
			span.SetStatus(codes.Error, "")
		}
	}
	return resp, err
}

// CloseIdleConnections calls the base's method of the same name, if the base has one.
func (a *attemptRecorder) CloseIdleConnections() {
	if c, ok := a.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// WrappedRoundTripper returns the base. A Transport calls this method to find out what is
// below it, such as another Transport that already reports the failures.
func (a *attemptRecorder) WrappedRoundTripper() http.RoundTripper { return a.base }
