package iamotel

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/iamhttp/iamhttp/gate"
)

const pauseDurationKey = attribute.Key("iamhttp.gate.pause.duration")

// Gate returns a Gate that wraps g and records how long requests wait at g. If g is
// nil, Gate returns nil. Set the result as the Gate of a Transport, and keep g to call
// its other methods, such as Stats.
func (t *Telemetry) Gate(g gate.Gate) gate.Gate {
	if g == nil {
		return nil
	}
	return &measuredGate{g, t}
}

type measuredGate struct {
	gate.Gate
	telemetry *Telemetry
}

// shortPause is the shortest pause that is recorded as an event. Passing an open gate
// usually takes less time, and an event each time would only clutter the span.
const shortPause = time.Millisecond

func (g *measuredGate) Wait(ctx context.Context, r gate.Request) (gate.Ticket, error) {
	start := time.Now()
	ticket, err := g.Gate.Wait(ctx, r)
	pause := time.Since(start)
	var attrs []attribute.KeyValue
	if err != nil {
		attrs = append(attrs, refusalType(err))
	}
	g.telemetry.ready().pauses.Record(ctx, pause.Seconds(), metric.WithAttributes(attrs...))
	if pause >= shortPause {
		trace.SpanFromContext(ctx).AddEvent("iamhttp.gate.pause",
			trace.WithAttributes(append(attrs, pauseDurationKey.Float64(pause.Seconds()))...))
	}
	return ticket, err
}
