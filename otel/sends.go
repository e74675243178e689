package iamotel

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/iamhttp/iamhttp"
)

// Spans returns a RoundTripper that makes a span for each send and counts the
// repeats. It is for the field Base of a Transport; where otelhttp stands there,
// see [Telemetry.Resends]. If base is nil, http.DefaultTransport is used.
func (t *Telemetry) Spans(base http.RoundTripper) http.RoundTripper {
	return &sender{t, cmp.Or(base, http.DefaultTransport), true}
}

// Resends returns a RoundTripper that adds http.request.resend_count to the
// span of a send that another made, otelhttp above all, and counts the repeats.
// It stands directly below that other. If base is nil, http.DefaultTransport is
// used.
func (t *Telemetry) Resends(base http.RoundTripper) http.RoundTripper {
	return &sender{t, cmp.Or(base, http.DefaultTransport), false}
}

type sender struct {
	telemetry *Telemetry
	base      http.RoundTripper
	spans     bool
}

func (s *sender) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL == nil {
		return s.base.RoundTrip(req) // and let it complain
	}
	ctx, t := req.Context(), s.telemetry.ready()
	resend := iamhttp.ResendCount(ctx)
	if resend > 0 {
		t.repeats.Add(ctx, 1, metric.WithAttributes(method(req)[0], server(req)[0]))
	}
	if !s.spans {
		if resend > 0 {
			trace.SpanFromContext(ctx).SetAttributes(semconv.HTTPRequestResendCount(resend))
		}
		return s.base.RoundTrip(req)
	}

	attrs := slices.Concat(method(req), server(req), []attribute.KeyValue{semconv.URLFull(address(req.URL))})
	if resend > 0 {
		attrs = append(attrs, semconv.HTTPRequestResendCount(resend))
	}
	ctx, span := t.tracer.Start(ctx, spanName(attrs[0]), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attrs...))
	defer span.End()
	out := req.WithContext(ctx)
	if out.Header = req.Header.Clone(); out.Header == nil {
		out.Header = http.Header{}
	}
	cmp.Or(t.Propagators, otel.GetTextMapPropagator()).Inject(ctx, propagation.HeaderCarrier(out.Header))

	resp, err := s.base.RoundTrip(out)
	switch {
	case err != nil:
		// No description: it might be the service's word.
		span.SetAttributes(errorType(err))
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

// CloseIdleConnections closes those of the base, if it can.
func (s *sender) CloseIdleConnections() {
	if c, ok := s.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

var knownMethods = []string{
	http.MethodConnect, http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodOptions,
	http.MethodPatch, http.MethodPost, http.MethodPut, http.MethodTrace,
}

// method returns http.request.method, and the original one where the
// conventions do not know it.
func method(req *http.Request) []attribute.KeyValue {
	m := cmp.Or(req.Method, http.MethodGet)
	if slices.Contains(knownMethods, m) {
		return []attribute.KeyValue{semconv.HTTPRequestMethodKey.String(m)}
	}
	return []attribute.KeyValue{semconv.HTTPRequestMethodOther, semconv.HTTPRequestMethodOriginal(m)}
}

func spanName(method attribute.KeyValue) string {
	if method == semconv.HTTPRequestMethodOther {
		return "HTTP"
	}
	return method.Value.AsString()
}

// server returns server.address and server.port.
func server(req *http.Request) []attribute.KeyValue {
	u := url.URL{Host: cmp.Or(req.Host, req.URL.Host)}
	attrs := []attribute.KeyValue{semconv.ServerAddress(u.Hostname())}
	port, err := strconv.Atoi(u.Port())
	switch {
	case err == nil:
		attrs = append(attrs, semconv.ServerPort(port))
	case req.URL.Scheme == "https":
		attrs = append(attrs, semconv.ServerPort(443))
	case req.URL.Scheme == "http":
		attrs = append(attrs, semconv.ServerPort(80))
	}
	return attrs
}

// address returns u without what may be secret, as StatusError.URL is.
func address(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}

func version(resp *http.Response) string {
	v := strconv.Itoa(resp.ProtoMajor)
	if resp.ProtoMajor < 2 {
		v += "." + strconv.Itoa(resp.ProtoMinor)
	}
	return v
}
