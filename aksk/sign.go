package aksk

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/iamhttp/iamhttp/internal/signature"
)

// Sign signs a request with an access key and the given time. It sets the headers
// X-Sdk-Date and Authorization. It also sets X-Security-Token for temporary credentials,
// and removes it for permanent ones. Call Sign if you write your own client; a
// [Transport] calls it for each attempt that needs a new signature.
//
// A request that is already signed is signed again in the same form and, apart from
// X-Security-Token, over the same headers. An unsigned request is signed in the form that
// huaweicloud-sdk-go-v3 uses for Huawei Cloud, over Host and all headers except
// Content-Type, headers with an underscore in their names, hop-by-hop headers, Cookie, and
// other headers that net/http may change. Of several User-Agent values, only the first is
// signed, because net/http sends only that one. If you then change the request, sign it
// again.
//
// Sign reads the body once, from GetBody, and does not keep it. If the request has an
// X-Sdk-Content-Sha256 header, with a value such as UNSIGNED-PAYLOAD, Sign uses that
// value instead of the body's hash, and does not read the body. Sign fails, for example,
// if the access key or the secret key is empty, if the request has another kind of
// Authorization header, or if the request has a body but neither GetBody nor an
// X-Sdk-Content-Sha256 header. If Sign returns an error, the request is unchanged. Errors
// never contain the credentials.
func Sign(req *http.Request, c Credentials, at time.Time) error {
	a, err := signable(req)
	if err != nil {
		return err
	}
	if err := c.usable(); err != nil {
		return err
	}
	payload, err := payloadOf(req, a)
	if err != nil {
		return err
	}
	if req.Header == nil {
		req.Header = http.Header{}
	}
	set(req, &a, c, at)
	replace(req.Header, "Authorization", a.sign(req, c, payload))
	return nil
}

// signable returns the authorization in a request's header, or the zero value if there is
// none. It returns an error if the request cannot be signed, whatever the credentials are.
func signable(req *http.Request) (authorization, error) {
	a, again := of(req.Header)
	switch {
	case len(signature.Values(req.Header, "Authorization")) > 0 && !again:
		return a, errOtherAuthorization
	case req.URL == nil || req.URL.Opaque != "":
		return a, errors.New("aksk: the request has no URL, or one that cannot be signed")
	case !isASCII(signature.Host(req)):
		return a, errors.New("aksk: the host name is not ASCII: write it in Punycode")
	}
	return a, nil
}

var (
	errOtherAuthorization = errors.New("aksk: the request has an Authorization header of another kind")
	errBodyOnce           = errors.New("aksk: the body can be read only once: provide GetBody, or set the X-Sdk-Content-Sha256 header to UNSIGNED-PAYLOAD")
)

// set updates the request's signature headers, except Authorization, and changes a to
// match.
func set(req *http.Request, a *authorization, c Credentials, at time.Time) {
	replace(req.Header, "X-Sdk-Date", at.UTC().Format(signature.Layout))
	if c.SecurityToken != "" {
		replace(req.Header, "X-Security-Token", c.SecurityToken)
	} else {
		signature.Delete(req.Header, "X-Security-Token")
	}
	switch {
	case a.form == 0:
		a.form, a.names = plain, defaultNames(req.Header)
	case a.signs("x-security-token") != (c.SecurityToken != ""):
		names := slices.DeleteFunc(strings.Split(a.names, ";"), func(n string) bool { return n == "x-security-token" })
		if c.SecurityToken != "" {
			names = append(names, "x-security-token")
			slices.Sort(names)
		}
		a.names = strings.Join(names, ";")
	}
	a.accessKey = c.AccessKey
}

// replace sets a header, and removes it under all other capitalizations of its name.
func replace(h http.Header, name, value string) {
	signature.Delete(h, name)
	h[name] = []string{value}
}

// defaultNames returns the names of the headers to sign in an unsigned request. If the name
// of a User-Agent or an Accept-Encoding is not canonical, or the value is empty, net/http may
// also send one of its own.
func defaultNames(h http.Header) string {
	names := append(make([]string, 0, len(h)+1), "host")
	for k, values := range h {
		name := strings.ToLower(k)
		special := name == "user-agent" || name == "accept-encoding"
		own := special && (k != http.CanonicalHeaderKey(k) || len(signature.Values(h, name)) > len(values))
		empty := len(values) == 0 || special && values[0] == ""
		if !own && !empty && !unsigned(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ";")
}

// unsigned reports whether defaultNames leaves out a header of the request.
// huaweicloud-sdk-go-v3 leaves out headers whose names begin with content-type or contain
// an underscore; those in the list below may be changed or dropped by net/http or by a
// proxy, or contain the signature itself.
func unsigned(name string) bool {
	if strings.HasPrefix(name, "content-type") || strings.Contains(name, "_") {
		return true
	}
	switch name {
	case "authorization", "connection", "content-length", "cookie", "expect", "host", "keep-alive", "proxy-authorization",
		"proxy-connection", "te", "trailer", "transfer-encoding", "upgrade":
		return true
	}
	return false
}

// payloadOf returns the text that represents the body in the signature.
func payloadOf(req *http.Request, a authorization) (string, error) {
	switch stated := signature.Values(req.Header, "X-Sdk-Content-Sha256"); {
	case len(stated) > 0:
		return strings.TrimSpace(stated[0]), nil
	case a.form == scoped && queryIsPayload(req):
		sum := sha256.Sum256([]byte(req.URL.Query().Encode()))
		return hex.EncodeToString(sum[:]), nil
	case req.Body == nil || req.Body == http.NoBody:
		return emptyPayload, nil
	case req.GetBody == nil:
		return "", errBodyOnce
	}
	body, err := req.GetBody()
	if err != nil {
		return "", fmt.Errorf("aksk: GetBody: %w", err)
	}
	if body == nil {
		return "", errBodyOnce
	}
	defer body.Close()
	defer context.AfterFunc(req.Context(), func() { // because a Read may block
		defer func() { _ = recover() }() // here, a panic would end the process; above, the caller can recover
		body.Close()
	})()
	return hashOf(req.Context(), body)
}

// emptyPayload is the SHA-256 of an empty body.
const emptyPayload = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// queryIsPayload reports whether the SDKs that use the scoped form sign the request's
// query in place of its body.
func queryIsPayload(req *http.Request) bool {
	return req.Body == nil && strings.EqualFold(req.Method, http.MethodPost)
}

// A hasher hashes bodies. Hashers are pooled.
type hasher struct {
	hash.Hash
	buf [16 << 10]byte
}

var hashers = sync.Pool{New: func() any { return &hasher{Hash: sha256.New()} }}

const mostIdle = 100 // the maximum number of consecutive reads that return no data

// hashOf returns the SHA-256 of a body in hexadecimal. It returns an error if the body
// cannot be read to its end before ctx ends.
func hashOf(ctx context.Context, body io.Reader) (string, error) {
	h := hashers.Get().(*hasher)
	defer hashers.Put(h)
	h.Reset()
	for idle := 0; ; idle++ {
		n, err := body.Read(h.buf[:])
		if n > 0 {
			idle = 0
		} else if err == nil && idle == mostIdle {
			err = io.ErrNoProgress
		}
		h.Write(h.buf[:n])
		if err == nil {
			err = ctx.Err()
		}
		switch err {
		case nil:
		case io.EOF:
			sum := h.Sum(h.buf[:0])
			return string(hex.AppendEncode(h.buf[len(sum):len(sum)], sum)), nil
		default:
			return "", fmt.Errorf("aksk: reading the body to sign it: %w", err)
		}
	}
}

// sign returns the value for the Authorization header.
func (a authorization) sign(req *http.Request, c Credentials, payload string) string {
	date := req.Header["X-Sdk-Date"][0]
	canonical := sha256.Sum256(a.canonical(req, payload))
	name, who, scope, key := algorithm, "Access=", "", []byte(c.SecretKey)
	switch a.form {
	case plain:
	case scoped:
		scope = date[:8] + "/" + a.scope
		key = scopedKey(c.SecretKey, scope)
	case derived:
		name, scope = derivedAlgorithm, date[:8]+"/"+a.scope
		key = derivedKey(c, scope)
	}
	b := append(make([]byte, 0, 256), name...)
	b = append(append(b, '\n'), date...)
	if scope != "" {
		b = append(append(b, '\n'), scope...)
		who, scope = "Credential=", "/"+scope
	}
	b = mac(key, hex.AppendEncode(append(b, '\n'), canonical[:]))
	v := make([]byte, 0, 256)
	for _, part := range [...]string{name, " ", who, c.AccessKey, scope, ", SignedHeaders=", a.names, ", Signature="} {
		v = append(v, part...)
	}
	return string(hex.AppendEncode(v, b))
}

func mac(key, text []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(text)
	return h.Sum(nil)
}

// scopedKey returns the signing key for a day, a region and a service.
func scopedKey(secret, scope string) []byte {
	key := []byte("SDK" + secret)
	for part := range strings.SplitSeq(scope, "/") {
		key = mac(key, []byte(part))
	}
	return key
}

// derivedKey derives the signing key for a scope with HKDF (RFC 5869). It returns the key
// in hexadecimal.
func derivedKey(c Credentials, scope string) []byte {
	key, err := hkdf.Key(sha256.New, []byte(c.SecretKey), []byte(c.AccessKey), scope, sha256.Size)
	if err != nil {
		panic(err) // impossible, except with GODEBUG=fips140=only and a secret key shorter than 14 bytes
	}
	return hex.AppendEncode(nil, key)
}

// isASCII reports whether net/http sends the host name s as it is. net/http sends other
// host names in Punycode, which this package cannot compute.
func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII })
}
