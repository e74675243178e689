// Package iamotel tells OpenTelemetry what an [iamhttp.Transport] does: a span
// for each send, by the semantic conventions for HTTP, an event for each wait,
// and metrics of repeats, waits, stop reasons and pauses at the gate.
//
//	var tel iamotel.Telemetry // the global providers
//	t := &iamhttp.Transport{
//		Base:      tel.Spans(nil),
//		OnFailure: tel.OnFailure,
//		Gate:      tel.Gate(new(iamhttp.AdaptiveGate)), // if there is one
//	}
//
// Each of the three stands alone: leave out what is not wanted.
//
// # With otelhttp
//
// Below the Transport, otelhttp makes the spans of the sends itself. Put
// [Telemetry.Resends] below it in place of Spans: it adds to those what
// otelhttp cannot know.
//
//	Base: otelhttp.NewTransport(tel.Resends(nil)),
//
// Above the Transport, as in otelhttp.NewTransport(t), it makes one span of the
// whole call, waits included; those of Spans are its children, and the events
// are its own. It then takes the typed error for an error without an answer,
// and its text, with the service's message, for the description of the span:
// PassThrough gives it a response.
//
// # What is recorded
//
// A span has the attributes that the conventions ask for, of version 1.43:
// http.request.method (and method_original), server.address, server.port,
// url.full, http.response.status_code, network.protocol.version,
// http.request.resend_count from the first repeat on, and error.type: the code
// of a 4xx or 5xx; "canceled" or "timeout" if the context of the request or the
// connection ended so; otherwise the type of the error in Go. It ends when the
// header of the answer has arrived. url.full has no user info, no query and no
// fragment; headers, bodies and messages are in none of it.
//
// Events are added to the span of the context that the request was made with:
//
//   - iamhttp.wait: http.response.status_code, iamhttp.reason (what the
//     service's own code says, "throttled" say, if known),
//     iamhttp.wait.duration and iamhttp.retry_after in seconds, and
//     http.request.resend_count of the repeat it is for
//   - iamhttp.stop: http.response.status_code, iamhttp.reason and
//     iamhttp.stop.reason, the text of an [iamhttp.StopReason]
//   - iamhttp.gate.pause: iamhttp.gate.pause.duration in seconds, if it was a
//     millisecond at least
//
// Metrics:
//
//   - iamhttp.client.repeats: a counter of requests that were sent again, with
//     http.request.method and server.address
//   - iamhttp.client.wait.duration: a histogram of the waits decided, in
//     seconds, with http.response.status_code and server.address
//   - iamhttp.client.stops: a counter of final failures, with
//     iamhttp.stop.reason, http.response.status_code and server.address
//   - iamhttp.gate.pause.duration: a histogram of what every send spent at the
//     gate, in seconds, with error.type if it was not let out
package iamotel

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/url"
	"strconv"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/iamhttp/iamhttp"
)

const scope = "github.com/iamhttp/iamhttp/otel"

// A Telemetry records what Transports do. The zero value is ready to use. One
// serves any number of Transports, concurrently; do not copy or change it after
// first use.
type Telemetry struct {
	// TracerProvider makes the spans. If nil, it is the global one.
	TracerProvider trace.TracerProvider

	// MeterProvider makes the metrics. If nil, it is the global one.
	MeterProvider metric.MeterProvider

	// Propagators write the context of a span into the header of its request.
	// If nil, they are the global ones, which by default write nothing.
	Propagators propagation.TextMapPropagator

	once    sync.Once
	tracer  trace.Tracer
	repeats metric.Int64Counter
	waits   metric.Float64Histogram
	stops   metric.Int64Counter
	pauses  metric.Float64Histogram
}

const (
	reasonKey        = attribute.Key("iamhttp.reason")
	retryAfterKey    = attribute.Key("iamhttp.retry_after")
	stopReasonKey    = attribute.Key("iamhttp.stop.reason")
	waitDurationKey  = attribute.Key("iamhttp.wait.duration")
	pauseDurationKey = attribute.Key("iamhttp.gate.pause.duration")
)

// ready makes the instruments, once they are needed: a global provider is set
// up late in many programs.
func (t *Telemetry) ready() *Telemetry {
	t.once.Do(func() {
		tracers := cmp.Or(t.TracerProvider, otel.GetTracerProvider())
		meters := cmp.Or(t.MeterProvider, otel.GetMeterProvider())
		t.tracer = tracers.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL))
		m := meters.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL))
		var errs [4]error
		t.repeats, errs[0] = m.Int64Counter("iamhttp.client.repeats",
			metric.WithUnit("{request}"), metric.WithDescription("Requests that were sent again."))
		t.waits, errs[1] = m.Float64Histogram("iamhttp.client.wait.duration", seconds,
			metric.WithUnit("s"), metric.WithDescription("Waits before a request is sent again."))
		t.stops, errs[2] = m.Int64Counter("iamhttp.client.stops",
			metric.WithUnit("{request}"), metric.WithDescription("Final failures, by the reason for not sending again."))
		t.pauses, errs[3] = m.Float64Histogram("iamhttp.gate.pause.duration", seconds,
			metric.WithUnit("s"), metric.WithDescription("Time that sends spend at the gate."))
		if err := errors.Join(errs[:]...); err != nil {
			otel.Handle(err)
		}
	})
	return t
}

// seconds are buckets from what costs nothing to the longest wait by default.
var seconds = metric.WithExplicitBucketBoundaries(0, 0.01, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120)

// OnFailure records the wait before a repeat, or the reason why there is none.
// It is for the field of that name of a Transport.
func (t *Telemetry) OnFailure(ctx context.Context, err *iamhttp.StatusError, wait time.Duration) {
	t.ready()
	status := semconv.HTTPResponseStatusCode(int(err.Code))
	event := []attribute.KeyValue{status}
	if r := err.Reason(); r != iamhttp.ReasonUnknown {
		event = append(event, reasonKey.String(r.Error()))
	}
	server := semconv.ServerAddress("")
	if u, parseErr := url.Parse(err.URL); parseErr == nil {
		server = semconv.ServerAddress(u.Hostname())
	}
	span := trace.SpanFromContext(ctx)
	if err.Stop != iamhttp.StopUnset {
		stop := stopReasonKey.String(err.Stop.String())
		span.AddEvent("iamhttp.stop", trace.WithAttributes(append(event, stop)...))
		t.stops.Add(ctx, 1, metric.WithAttributes(stop, status, server))
		return
	}
	event = append(event, waitDurationKey.Float64(wait.Seconds()), semconv.HTTPRequestResendCount(err.Attempts))
	if err.RetryAfter > 0 {
		event = append(event, retryAfterKey.Float64(err.RetryAfter.Seconds()))
	}
	span.AddEvent("iamhttp.wait", trace.WithAttributes(event...))
	t.waits.Record(ctx, wait.Seconds(), metric.WithAttributes(status, server))
}

// Gate returns g with its pauses recorded, nil for nil. It is for the field of
// that name of a Transport.
func (t *Telemetry) Gate(g iamhttp.Gate) iamhttp.Gate {
	if g == nil {
		return nil
	}
	return &gate{g, t}
}

type gate struct {
	iamhttp.Gate
	telemetry *Telemetry
}

// An open gate takes less than that, and would fill the spans with events.
const shortPause = time.Millisecond

func (g *gate) Wait(ctx context.Context, key string, resend int) (iamhttp.Ticket, error) {
	start := time.Now()
	ticket, err := g.Gate.Wait(ctx, key, resend)
	pause := time.Since(start)
	var attrs []attribute.KeyValue
	if err != nil {
		attrs = append(attrs, errorType(err))
	}
	g.telemetry.ready().pauses.Record(ctx, pause.Seconds(), metric.WithAttributes(attrs...))
	if pause >= shortPause {
		trace.SpanFromContext(ctx).AddEvent("iamhttp.gate.pause",
			trace.WithAttributes(append(attrs, pauseDurationKey.Float64(pause.Seconds()))...))
	}
	return ticket, err
}

// errorType is the class of an error, of which there must be few.
func errorType(err error) attribute.KeyValue {
	if e, ok := errors.AsType[*iamhttp.StatusError](err); ok {
		return semconv.ErrorTypeKey.String(strconv.Itoa(int(e.Code)))
	}
	timeout, ok := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, context.Canceled):
		return semconv.ErrorTypeKey.String("canceled")
	case errors.Is(err, context.DeadlineExceeded), ok && timeout.Timeout():
		return semconv.ErrorTypeKey.String("timeout")
	}
	return semconv.ErrorType(err)
}
