package iamotel_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/iamotel"
	"github.com/iamhttp/iamhttp/iamtest"
)

// printer is an exporter that prints each span's name, its resend count and error type if
// it has them, and the names of its events.
type printer struct{}

func (printer) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	for _, s := range spans {
		line := []string{s.Name()}
		for _, a := range s.Attributes() {
			if a.Key == "http.request.resend_count" || a.Key == "error.type" {
				line = append(line, fmt.Sprint(a.Key, "=", a.Value.String()))
			}
		}
		for _, e := range s.Events() {
			line = append(line, e.Name)
		}
		fmt.Println(strings.Join(line, " "))
	}
	return nil
}

func (printer) Shutdown(context.Context) error { return nil }

func quick() backoff.BackOff { return backoff.NewConstantBackOff(time.Millisecond) }

// throttledOnce returns a service whose first response is a 429.
func throttledOnce() *iamtest.Server {
	s := new(iamtest.Server)
	s.Next(iamtest.Throttled(0))
	return s
}

// get sends a request within a span created by the program.
func get(provider *sdktrace.TracerProvider, rt http.RoundTripper) {
	ctx, span := provider.Tracer("program").Start(context.Background(), "list users")
	defer span.End()
	ctx, cancel := context.WithTimeout(ctx, time.Minute) // for the whole call
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "https://iam.example/v3/users", nil)
	if err != nil {
		return
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
}

func Example() {
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(printer{}))
	tel := iamotel.Telemetry{TracerProvider: provider}
	get(provider, &iamhttp.Transport{Base: tel.Spans(throttledOnce()), OnFailure: tel.OnFailure, Backoff: quick})
	// Output:
	// GET error.type=429
	// GET http.request.resend_count=1
	// list users iamhttp.wait
}

// The zero Telemetry is ready to use.
func ExampleTelemetry() {
	var tel iamotel.Telemetry // uses the global providers
	transport := &iamhttp.Transport{
		Base:      tel.Spans(nil),
		OnFailure: tel.OnFailure,
		Gate:      tel.Gate(new(gate.Adaptive)), // if you use a gate
	}
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	fmt.Println(client.Timeout)
	// Output: 1m0s
}

func ExampleTelemetry_Spans() {
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(printer{}))
	tel := iamotel.Telemetry{TracerProvider: provider}
	t := &iamhttp.Transport{Base: tel.Spans(throttledOnce()), Backoff: quick}
	get(provider, otelhttp.NewTransport(t)) // otelhttp creates one span for the whole call
	// Output:
	// GET error.type=429
	// GET http.request.resend_count=1
	// HTTP GET
	// list users
}

func ExampleTelemetry_Resends() {
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(printer{}))
	tel := iamotel.Telemetry{TracerProvider: provider}
	t := &iamhttp.Transport{Base: otelhttp.NewTransport(tel.Resends(throttledOnce())), Backoff: quick}
	get(provider, t) // otelhttp creates one span for each attempt
	// Output:
	// HTTP GET error.type=429
	// HTTP GET http.request.resend_count=1
	// list users
}

func ExampleTelemetry_OnFailure() {
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(printer{}))
	tel, log := iamotel.Telemetry{TracerProvider: provider}, iamhttp.LogFailures(nil) // logs to the default logger
	service := new(iamtest.Server)
	get(provider, &iamhttp.Transport{Base: service, OnFailure: iamhttp.Tee(log, tel.OnFailure)}) // the request succeeds, so nothing is logged or recorded
	service.Next(iamtest.Keystone(404, "Could not find user."))
	get(provider, &iamhttp.Transport{Base: service, OnFailure: tel.OnFailure, PassThrough: true})
	// Output:
	// list users
	// list users iamhttp.stop
}

func ExampleTelemetry_Gate() {
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(printer{}))
	tel := iamotel.Telemetry{TracerProvider: provider}
	get(provider, &iamhttp.Transport{Base: new(iamtest.Server), Gate: tel.Gate(slow{new(gate.Adaptive)})})
	// Output: list users iamhttp.gate.pause
}

// slow is a gate that delays every request by 2 ms.
type slow struct{ gate.Gate }

func (s slow) Wait(ctx context.Context, r gate.Request) (gate.Ticket, error) {
	time.Sleep(2 * time.Millisecond)
	return s.Gate.Wait(ctx, r)
}
