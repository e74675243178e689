// Package aksk signs requests to Open Telekom Cloud and Huawei Cloud with an access key
// (AK/SK; SDK-HMAC-SHA256 or V11-HMAC-SHA256), so that each attempt has a fresh signature.
//
// A signature is valid for 15 minutes, and the SDKs sign once per call, above the
// RoundTripper. If a wait, before a retry or at a gate, outlasted the signature, the
// service would return 401. So an iamhttp.Transport fails a call that would have to wait
// that long. To let the call wait, put a [Transport] below the iamhttp.Transport:
//
//	signer := &aksk.Transport{Credentials: func(*http.Request) (aksk.Credentials, error) {
//		return aksk.Credentials{AccessKey: ak, SecretKey: sk}, nil
//	}}
//	client := &http.Client{
//		Transport: &iamhttp.Transport{Base: signer, PassThrough: true},
//		Timeout:   time.Hour, // without a deadline, no wait may be longer than 2 minutes
//	}
//
// If your client does not sign its requests itself, set SignUnsigned too. The package
// depends only on the standard library and on internal packages of this module.
package aksk
