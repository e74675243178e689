// Package iamotel records what an [iamhttp.Transport] does with OpenTelemetry: a
// span for each attempt, by the semantic conventions for HTTP; an event for each
// wait and for the end of a failed call; and metrics of retries, waits, stop
// reasons and pauses at the gate.
//
//	var tel iamotel.Telemetry // uses the global providers
//	t := &iamhttp.Transport{
//		Base:      tel.Spans(nil),
//		OnFailure: tel.OnFailure,
//		Gate:      tel.Gate(new(gate.Adaptive)), // if you use one
//	}
//
// Each of the three works without the others: leave out those that you do not want.
// To log failures as well, join both functions with [iamhttp.Tee]:
//
//	OnFailure: iamhttp.Tee(iamhttp.LogFailures(nil), tel.OnFailure),
//
// # With otelhttp
//
// Below the Transport, otelhttp makes the spans of the attempts itself. Put
// [Telemetry.Resends] below it instead of Spans. It adds the resend count, which
// otelhttp does not know.
//
//	Base: otelhttp.NewTransport(tel.Resends(nil)),
//
// Above the Transport, as in otelhttp.NewTransport(t), otelhttp makes one span for
// the whole call, waits included. The spans of Spans become its children, and the
// events are added to it. Without PassThrough, otelhttp mistakes the typed error for
// a broken connection, and uses its text, with the service's message in it, as the
// description of the span. With PassThrough it gets a response.
//
// # Spans
//
// A span has the attributes of version 1.43 of the conventions:
// http.request.method (and http.request.method_original), server.address,
// server.port, url.full, http.response.status_code, network.protocol.version,
// http.request.resend_count from the first retry on, and error.type. It ends when
// the header of the response has arrived.
//
// url.full has no user info, no query and no fragment. No header, no body and no
// message of the service is recorded anywhere.
//
// error.type is one of these, in spans, events and metrics:
//
//   - the status code of a failing response, "429" for example
//   - "gate", if the gate did not let the request out: nothing was sent, so there
//     is no http.response.status_code
//   - "canceled", if the context of the request was canceled
//   - "timeout", if its deadline passed or the connection timed out
//   - otherwise the Go type of the error, "*net.OpError" for example
//
// # Events
//
// Events are added to the span in the context of the request. A failure always
// has error.type. If it was answered, it has http.response.status_code, and
// iamhttp.reason if the service's own code says more, "throttled" for example. If
// the service or the gate named a time, it has iamhttp.retry_after, in seconds. If
// the service stated its rate limit, it has what was stated of iamhttp.limit.requests
// in iamhttp.limit.window seconds, and of iamhttp.limit.reset, the seconds until
// requests are taken again.
//
//   - iamhttp.wait: the attempt failed and will be retried, after
//     iamhttp.wait.duration, in seconds; http.request.resend_count is that of the
//     retry
//   - iamhttp.stop: the call failed; iamhttp.stop.reason is the text of an
//     [iamhttp.StopReason]
//   - iamhttp.gate.pause: the request waited at the gate, for a millisecond or
//     longer; iamhttp.gate.pause.duration is in seconds; error.type is set if the
//     gate did not let it out
//
// # Metrics
//
//   - iamhttp.client.retries counts the retries that were sent, by
//     http.request.method and server.address
//   - iamhttp.client.wait.duration is a histogram of the waits before retries, in
//     seconds, by error.type, http.response.status_code and server.address
//   - iamhttp.client.stops counts the calls that failed, each once, by
//     iamhttp.stop.reason, error.type, http.response.status_code and
//     server.address
//   - iamhttp.gate.pause.duration is a histogram of the time that each attempt
//     waited at the gate, in seconds, by error.type if it was not let out
package iamotel
