// Package iamhttp is an [http.RoundTripper] that implements the retry and error
// semantics of the IAM API (OpenStack Keystone, Open Telekom Cloud, Huawei
// Cloud). It retries only what the API's table of status codes allows to be
// retried unchanged: 408, and 429 after Retry-After. Every other failure becomes
// a typed error.
//
// In a client of your own, put the Transport outermost and handle errors:
//
//	client := &http.Client{Transport: &iamhttp.Transport{}, Timeout: time.Minute}
//	_, err := client.Get(endpoint + "/v3/users/" + id)
//	if errors.Is(err, iamhttp.ErrNotFound) { … }
//
// Inside an SDK that reads status codes itself, set PassThrough: same retries, but
// the SDK still receives plain responses. Switch the SDK's own retries off. A
// [Recorder] gives the typed error to the caller of the SDK.
//
// When to use what:
//
//   - a client of your own: the zero [Transport], and errors.Is with a [Code], or
//     with a [Reason] where the status misleads;
//   - a library that reads status codes: PassThrough, and [WithRecorder] around
//     its calls; a go-retryablehttp client: [Transport.ConfigureRetryable];
//   - only a response, or only parts of one: [CheckResponse], [NewStatusError];
//   - one call that differs: [WithExpected], [WithMaxAttempts], [WithMaxWait];
//   - many calls of one account at a time: one gate.Adaptive for all of them, so
//     that all calls back off when one of them is throttled;
//   - signatures with an access key (AK/SK): package aksk, below the Transport;
//   - logs: OnFailure with [LogFailures]; traces and metrics: module iamotel;
//   - tests: packages iamtest, roundtriptest and gatetest.
//
// [StatusError.Stop] says why a call was not retried.
//
// # Compatibility
//
// From version 1.0.0 on the module follows semantic versioning. Before that, a
// minor version may change the API; CHANGELOG.md says how. Any version may change
// the texts of errors, String methods and log records, the exact waits within the
// documented bounds, what has a Reason, how fast a gate finds a pace, and
// internal packages. It may add fields: write struct literals with field names.
// Use the modules redisgate, iamotel and adapters in the version of this one.
package iamhttp
