// Package aksk signs requests to Open Telekom Cloud and Huawei Cloud with an access
// key (AK/SK, SDK-HMAC-SHA256), each attempt anew.
//
// A signature is good for 15 minutes, and the SDKs sign above the RoundTripper, once
// a call. A retry after long waits, or an attempt that has waited at a gate, then
// arrives with a signature that is too old, and ends in a 401. Put a [Transport] below
// the iamhttp.Transport, and every attempt is as fresh as its sending:
//
//	signer := &aksk.Transport{Credentials: func(*http.Request) (aksk.Credentials, error) {
//		return aksk.Credentials{AccessKey: ak, SecretKey: sk}, nil
//	}}
//	client := &http.Client{Transport: &iamhttp.Transport{Base: signer, PassThrough: true}}
//
// In a client of your own that does not sign, set SignUnsigned too. It needs nothing
// but the standard library.
package aksk
