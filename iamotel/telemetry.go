package iamotel

import (
	"cmp"
	"errors"
	"sync"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

const scope = "github.com/iamhttp/iamhttp/iamotel"

// A Telemetry records what Transports do. The zero value is ready to use. A Telemetry is
// safe for concurrent use, so several Transports can share one; do not copy or change it
// after first use. Errors of the metrics API go to OpenTelemetry's error handler.
type Telemetry struct {
	// TracerProvider creates the spans. If nil, the global provider is used.
	TracerProvider trace.TracerProvider

	// MeterProvider creates the metrics. If nil, the global provider is used.
	MeterProvider metric.MeterProvider

	// Propagators write the context of each attempt's span into the attempt's header. If
	// nil, the global propagators are used; by default, they write nothing.
	Propagators propagation.TextMapPropagator

	once    sync.Once
	tracer  trace.Tracer
	retries metric.Int64Counter
	waits   metric.Float64Histogram
	stops   metric.Int64Counter
	pauses  metric.Float64Histogram
}

// ready creates the tracer and the instruments on first use, because many programs set
// the global providers only after they have built their clients.
func (t *Telemetry) ready() *Telemetry {
	t.once.Do(func() {
		tracers := cmp.Or(t.TracerProvider, otel.GetTracerProvider())
		meters := cmp.Or(t.MeterProvider, otel.GetMeterProvider())
		t.tracer = tracers.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL))
		m := meters.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL))
		var errs [4]error
		t.retries, errs[0] = m.Int64Counter("iamhttp.client.retries",
			metric.WithUnit("{request}"), metric.WithDescription("Number of retries that were sent."))
		t.waits, errs[1] = m.Float64Histogram("iamhttp.client.wait.duration", seconds,
			metric.WithUnit("s"), metric.WithDescription("Planned duration of the waits before retries."))
		t.stops, errs[2] = m.Int64Counter("iamhttp.client.stops",
			metric.WithUnit("{request}"), metric.WithDescription("Number of calls that failed, by stop reason."))
		t.pauses, errs[3] = m.Float64Histogram("iamhttp.gate.pause.duration", seconds,
			metric.WithUnit("s"), metric.WithDescription("Time that attempts waited at the gate."))
		if err := errors.Join(errs[:]...); err != nil {
			otel.Handle(err)
		}
	})
	return t
}

// seconds sets the bucket boundaries of the histograms: from no wait to 2 minutes, the
// default MaxWait of a call without a deadline.
var seconds = metric.WithExplicitBucketBoundaries(0, 0.01, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120)
