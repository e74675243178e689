// Package iamotel reports to OpenTelemetry what an [iamhttp.Transport] does: a span
// for each attempt, following the semantic conventions for HTTP; an event for each
// wait and for the end of a failed call; and metrics of retries, waits, stop reasons
// and pauses at the gate.
//
//	var tel iamotel.Telemetry // uses the global providers
//	t := &iamhttp.Transport{
//		Base:      tel.Spans(nil),
//		OnFailure: tel.OnFailure,
//		Gate:      tel.Gate(new(gate.Adaptive)), // if you use one
//	}
//
// The three settings are independent: leave out any that you do not need. Without Spans
// (or Resends), retries are not counted. To also log failures, combine the two OnFailure
// functions with [iamhttp.Tee]:
//
//	OnFailure: iamhttp.Tee(iamhttp.LogFailures(nil), tel.OnFailure),
//
// # With otelhttp
//
// If otelhttp is below the Transport, otelhttp creates each attempt's span. In that case,
// put [Telemetry.Resends] below otelhttp, and leave out Spans. Resends adds the resend
// count, which otelhttp does not know.
//
//	Base: otelhttp.NewTransport(tel.Resends(nil)),
//
// If otelhttp is above the Transport, as in otelhttp.NewTransport(t), otelhttp creates
// one span for the whole call, including waits. The events are added to that span, and
// the spans that Spans creates are its children. Without PassThrough, otelhttp mistakes
// the typed error for a broken connection and uses the error's text, which includes the
// service's message, as the span's status description. With PassThrough, otelhttp
// usually receives a response.
//
// # Spans
//
// A span can have these attributes, from version 1.43 of the conventions:
// http.request.method (and http.request.method_original), server.address,
// server.port, url.full, http.response.status_code, network.protocol.version,
// http.request.resend_count from the first retry on, and error.type. The span ends
// when the response header arrives or the attempt fails.
//
// url.full does not contain user info, query or fragment. No text from headers, bodies,
// panics or the service's messages is recorded.
//
// In spans, events and metrics, error.type has one of these values:
//
//   - the status code of a failing response, such as "429"
//   - "gate", if the gate refused the first attempt: nothing was sent, so there is no
//     http.response.status_code. If the gate refuses a retry, only the gate pause has
//     "gate"; the stop event and metric have the error.type of the previous attempt
//   - "canceled", if the caller canceled the request
//   - "timeout", if the context's deadline passed or the connection timed out
//   - "_OTHER", if the RoundTripper that Spans wraps panicked
//   - for any other error, usually its Go type, such as "*net.OpError"
//
// # Events
//
// Events are added to the span in the request's context:
//
//   - iamhttp.wait: the attempt failed and is to be retried after iamhttp.wait.duration
//     seconds, or later if a gate makes it wait; http.request.resend_count is the
//     retry's resend count
//   - iamhttp.stop: the call failed; iamhttp.stop.reason is the text of an
//     [iamhttp.StopReason]
//   - iamhttp.gate.pause: the request waited at the gate for at least a millisecond;
//     iamhttp.gate.pause.duration is the wait in seconds; error.type is set if the gate
//     refused the request, or if the context ended while the request waited
//
// The wait and stop events always have error.type, and these attributes if they are
// known:
//
//   - http.response.status_code, if there was a response
//   - iamhttp.reason, the text of [iamhttp.StatusError.Reason], such as "throttled"
//   - iamhttp.retry_after, the time in seconds that the service or the gate asks the
//     client to wait
//   - iamhttp.limit.requests, iamhttp.limit.window and iamhttp.limit.reset, the rate
//     limit that the service stated: the number of requests in a window, the window
//     length in seconds, and the seconds until the current window ends or requests are
//     accepted again
//
// # Metrics
//
//   - iamhttp.client.retries counts the retries that were sent, by
//     http.request.method and server.address
//   - iamhttp.client.wait.duration is a histogram of the iamhttp.wait.duration in wait
//     events, in seconds, by error.type, http.response.status_code and server.address
//   - iamhttp.client.stops counts each failed call once, by iamhttp.stop.reason,
//     error.type, http.response.status_code and server.address
//   - iamhttp.gate.pause.duration is a histogram of the time that each attempt
//     waited at the gate, in seconds; error.type is set if the gate refused the
//     attempt, or if the context ended while the attempt waited
package iamotel
