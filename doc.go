// Package iamhttp provides an [http.RoundTripper] that implements the retry and error
// semantics of the IAM API (OpenStack Keystone, Open Telekom Cloud, Huawei Cloud). By
// default, it retries only after 408 and 429, for which the API's table allows it. A failing
// response that is not retried becomes a typed error.
//
// In your own client, put the Transport outermost and handle errors:
//
//	client := &http.Client{Transport: &iamhttp.Transport{}, Timeout: time.Minute}
//	_, err := client.Get(endpoint + "/v3/users/" + id)
//	if errors.Is(err, iamhttp.ErrNotFound) { … }
//
// Inside an SDK that reads status codes itself, set PassThrough: the retries are the
// same, but the SDK still receives plain responses. Switch off the SDK's own retries. To
// get the typed error outside the SDK, use a [Recorder].
//
// When to use what:
//
//   - your own client: the zero [Transport], and errors.Is with a [Code], or with a
//     [Reason] where the status code is misleading;
//   - a library that reads status codes: PassThrough, and [WithRecorder] around
//     its calls; a go-retryablehttp client: [Transport.ConfigureRetryable];
//   - a response from another client, or parts of one: [CheckResponse], [NewStatusError];
//   - other settings for one call: [WithExpected], [WithMaxAttempts], [WithMaxWait];
//   - many concurrent calls to one account: one gate.Adaptive for all of them, so
//     that they all back off when one of them is throttled;
//   - signing with an access key (AK/SK): package aksk, below the Transport;
//   - logs: OnFailure with [LogFailures]; traces and metrics: module iamotel;
//   - tests: packages iamtest, roundtriptest and gatetest.
//
// [StatusError.Stop] says why the request was not sent again.
//
// # Compatibility
//
// From version 1.0.0 on, the module follows semantic versioning. Until then, a minor
// version may change the API; CHANGELOG.md says how. Any version may change the text of
// errors, String methods and log records (but not that of a StopReason or a Reason, which
// metrics use), the exact waits within the documented bounds, which failures have a Reason,
// how quickly a gate finds its pace, and internal packages.
// It may also add fields, so name the fields in struct literals. Use all modules at the
// same version.
package iamhttp
