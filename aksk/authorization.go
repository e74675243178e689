package aksk

import (
	"net/http"
	"strings"

	"github.com/iamhttp/iamhttp/internal/signature"
)

// A form is one of the signature formats that the SDKs use.
type form uint8

const (
	plain   form = iota + 1 // the form used by huaweicloud-sdk-go-v3, and by the signer that the API gateway offers
	scoped                  // the form used by gophertelekomcloud and golangsdk
	derived                 // the form used by huaweicloud-sdk-go-v3 for requests that a credential's DerivedPredicate accepts
)

const (
	algorithm        = "SDK-HMAC-SHA256"
	derivedAlgorithm = "V11-HMAC-SHA256"
	scopeEnd         = "/sdk_request"
)

// An authorization is a parsed Authorization header, without the signature. The header
// has one of these forms, in the order of the constants above:
//
//	SDK-HMAC-SHA256 Access=AK, SignedHeaders=host;x-sdk-date, Signature=…
//	SDK-HMAC-SHA256 Credential=AK/20261128/eu-de/iam/sdk_request, SignedHeaders=…, Signature=…
//	V11-HMAC-SHA256 Credential=AK/20261128/eu-de/iam, SignedHeaders=…, Signature=…
type authorization struct {
	form      form
	accessKey string
	scope     string // the part after the date: region, service and, in the scoped form, scopeEnd; region and service may be empty; the plain form has no scope
	names     string // names of the signed headers, in lower case, separated by semicolons
}

// parse reads an Authorization header. It returns false if the header is not a signature
// in one of these forms. parse does not allocate.
func parse(header string) (a authorization, ok bool) {
	scheme, rest, _ := strings.Cut(header, " ")
	if scheme != algorithm && scheme != derivedAlgorithm {
		return a, false
	}
	who, rest, _ := strings.Cut(rest, ",")
	names, signature, _ := strings.Cut(rest, ",")
	a.names, ok = strings.CutPrefix(strings.TrimSpace(names), "SignedHeaders=")
	if !ok || strings.ContainsFunc(a.names, notInName) || !strings.HasPrefix(strings.TrimSpace(signature), "Signature=") {
		return a, false
	}
	who = strings.TrimSpace(who)
	if key, ok := strings.CutPrefix(who, "Access="); ok {
		a.form, a.accessKey = plain, key
		return a, scheme == algorithm
	}
	credential, ok := strings.CutPrefix(who, "Credential=")
	if !ok {
		return a, false
	}
	a.accessKey, rest, _ = strings.Cut(credential, "/")
	_, a.scope, _ = strings.Cut(rest, "/")
	switch parts := strings.Count(a.scope, "/") + 1; {
	case scheme == algorithm && parts == 3 && strings.HasSuffix(a.scope, scopeEnd):
		a.form = scoped
	case scheme == derivedAlgorithm && parts == 2:
		a.form = derived
	default:
		return a, false
	}
	return a, true
}

// notInName reports whether r is a control character, a space, an upper-case letter or
// not ASCII. SDKs never write these in the list of signed headers.
func notInName(r rune) bool { return r <= ' ' || r > '~' || 'A' <= r && r <= 'Z' }

// of returns the authorization in a request's header, and reports whether it is a
// signature that can be replaced.
func of(h http.Header) (authorization, bool) {
	v := signature.Values(h, "Authorization")
	if len(v) != 1 {
		return authorization{}, false
	}
	a, ok := parse(v[0])
	return a, ok && !a.signs("authorization") // otherwise the new signature would cover the old one
}

// signs reports whether the signature covers a header.
func (a authorization) signs(name string) bool {
	for n := range strings.SplitSeq(a.names, ";") {
		if n == name {
			return true
		}
	}
	return false
}

// AccessKey returns the access key that a request is signed with, or "" if the request's
// Authorization header does not begin like an SDK-HMAC-SHA256 or V11-HMAC-SHA256 signature.
// AccessKey does not check the rest of the header. If several accounts share a Transport,
// use AccessKey to find out which account a request belongs to.
func AccessKey(req *http.Request) string {
	v := signature.Values(req.Header, "Authorization")
	if len(v) != 1 {
		return ""
	}
	end, rest := byte(','), v[0]
	rest, ok := strings.CutPrefix(rest, algorithm+" Access=")
	if !ok {
		end = '/'
		if rest, ok = strings.CutPrefix(rest, algorithm+" Credential="); !ok {
			if rest, ok = strings.CutPrefix(rest, derivedAlgorithm+" Credential="); !ok {
				return ""
			}
		}
	}
	return rest[:max(strings.IndexByte(rest, end), 0)]
}
