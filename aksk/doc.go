// Package aksk signs requests to Open Telekom Cloud and Huawei Cloud with an access key
// (AK/SK, SDK-HMAC-SHA256). Each attempt gets a new signature.
//
// A signature is valid for 15 minutes, and the SDKs sign once per call, above the
// RoundTripper. A retry after a long wait, or an attempt that has waited at a gate, may
// therefore arrive with an expired signature and get a 401. Put a [Transport] below the
// iamhttp.Transport, so that each attempt has a fresh signature:
//
//	signer := &aksk.Transport{Credentials: func(*http.Request) (aksk.Credentials, error) {
//		return aksk.Credentials{AccessKey: ak, SecretKey: sk}, nil
//	}}
//	client := &http.Client{Transport: &iamhttp.Transport{Base: signer, PassThrough: true}}
//
// If your client does not sign its requests itself, set SignUnsigned too. The package has
// no dependencies outside the standard library.
package aksk
