package iamotel

import (
	"context"
	"net/url"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
)

const (
	limitWindow     = attribute.Key("iamhttp.limit.window")
	limitRequests   = attribute.Key("iamhttp.limit.requests")
	limitReset      = attribute.Key("iamhttp.limit.reset")
	reasonKey       = attribute.Key("iamhttp.reason")
	retryAfterKey   = attribute.Key("iamhttp.retry_after")
	stopReasonKey   = attribute.Key("iamhttp.stop.reason")
	waitDurationKey = attribute.Key("iamhttp.wait.duration")
)

// OnFailure records the wait before a retry, or the reason why a call failed. Set this
// method as the OnFailure of a Transport, either directly or through [iamhttp.Tee].
func (t *Telemetry) OnFailure(ctx context.Context, f iamhttp.Failure) {
	t.ready()
	class := append(make([]attribute.KeyValue, 0, 4), errorType(ctx, f.Err))
	event := make([]attribute.KeyValue, 0, 10)
	if e, answered := f.Status(); answered {
		class = append(class, semconv.HTTPResponseStatusCode(int(e.Code)))
		if r := e.Reason(); r != iamhttp.ReasonUnknown {
			event = append(event, reasonKey.String(r.Error()))
		}
		event = append(event, limit(e.Limit)...)
	} else if f.Stop == iamhttp.StopCanceled && class[0] != timedOut {
		class[0] = canceled // also if Request.Cancel was closed, which ctx does not show
	}
	if d, ok := iamhttp.RetryAfter(f.Err); ok {
		event = append(event, retryAfterKey.Float64(d.Seconds()))
	}
	event = append(event, class...)
	class = append(class, host(f))
	span := trace.SpanFromContext(ctx)
	if f.Retry {
		event = append(event, waitDurationKey.Float64(f.Wait.Seconds()), semconv.HTTPRequestResendCount(f.Attempt))
		span.AddEvent("iamhttp.wait", trace.WithAttributes(event...))
		t.waits.Record(ctx, f.Wait.Seconds(), metric.WithAttributes(class...))
		return
	}
	stop := stopReasonKey.String(f.Stop.String())
	span.AddEvent("iamhttp.stop", trace.WithAttributes(append(event, stop)...))
	t.stops.Add(ctx, 1, metric.WithAttributes(append(class, stop)...))
}

// limit returns the attributes for the rate limit that the service stated. The name of
// the policy is left out, because it is free text from the service.
func limit(l gate.Limit) []attribute.KeyValue {
	var attrs []attribute.KeyValue
	if l.Requests > 0 {
		attrs = append(attrs, limitRequests.Int(l.Requests))
	}
	if l.Per > 0 {
		attrs = append(attrs, limitWindow.Float64(l.Per.Seconds()))
	}
	if l.Reset > 0 {
		attrs = append(attrs, limitReset.Float64(l.Reset.Seconds()))
	}
	return attrs
}

// host returns the attribute server.address.
func host(f iamhttp.Failure) attribute.KeyValue {
	u, err := url.Parse(f.URL)
	if err != nil {
		return semconv.ServerAddress("")
	}
	return semconv.ServerAddress(u.Hostname())
}
