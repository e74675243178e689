package aksk

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/iamhttp/iamhttp/internal/answer"
	"github.com/iamhttp/iamhttp/internal/bounded"
	"github.com/iamhttp/iamhttp/internal/resend"
	"github.com/iamhttp/iamhttp/internal/signature"
)

// A Transport is an [http.RoundTripper] that signs the attempts of an iamhttp.Transport
// above it. It re-signs a request that an SDK has signed, in the same form and (apart from
// X-Security-Token) over the same headers, if the signature has another access key, if its
// time is missing, invalid or off by more than a minute, if the request is a retry, or if
// the request follows a redirect. Otherwise, a signed request is sent unchanged. The
// Transport modifies a copy of the request, never the caller's request, and does not
// buffer request bodies.
//
// The Transport never signs a request that carries only a token, has another kind of
// Authorization, or follows a redirect to another host or scheme. If the body can be read
// only once, and the request has no X-Sdk-Content-Sha256 header, a signed request keeps its
// signature.
//
// For signed requests, the Transport reads the Date header of about one response per
// second, and of every 401, to learn how far the host's clock is ahead of this machine's,
// and signs accordingly. If a 401 reports that the signature's time is wrong, and the Date
// header confirms this, the Transport signs the request again and, unless its body can be
// read only once, sends it once more. (A 401 for a HEAD cannot report it; there, a Date
// that differs from the signature's time by more than 15 minutes is enough.) If the Date
// agrees with the refused signature, the Date comes from another clock, such as a proxy's;
// the new signature then has the time of this machine's clock. A second send is safe for
// any method, because a 401 means that the request was not carried out (RFC 9110 §15.5.2).
// The iamhttp.Transport above sees both sends as one attempt: they count once in
// StatusError.Attempts, and OnFailure is not called for the first 401.
//
// The zero value signs nothing. A Transport is safe for concurrent use; do not copy or
// change it after its first use.
type Transport struct {
	// Base sends each attempt. If nil, the Transport uses http.DefaultTransport as it was
	// when the program started.
	Base http.RoundTripper

	// Credentials returns the credentials to sign a request with. For a request that is
	// signed or to be signed, it is called for each attempt, and also when an attempt
	// fails or reaches a gate, possibly from many goroutines at once. The Transport does
	// not keep the keys, so you can rotate them. A request that was signed with a
	// different access key is signed again. If several accounts share the Transport, use
	// [AccessKey] to find the account that a request belongs to. Return the zero
	// Credentials to leave the request unchanged. If Credentials returns an error, the
	// request is not sent, and RoundTrip returns an error that wraps it; if the request was
	// to be sent once more after a 401, RoundTrip returns the 401. If Credentials is nil,
	// nothing is signed.
	Credentials func(*http.Request) (Credentials, error)

	// SignUnsigned makes the Transport also sign requests that have neither an
	// Authorization nor an X-Auth-Token header. If the body of such a request can be read
	// only once, and the request has no X-Sdk-Content-Sha256 header, RoundTrip returns an
	// error. See [Sign] for the headers that are signed.
	SignUnsigned bool

	clocks clocks
}

// originalDefault is http.DefaultTransport as it was when the program started. The
// program may replace http.DefaultTransport later, even with a chain of RoundTrippers
// that contains a Transport of this package, which must not call itself.
var originalDefault = http.DefaultTransport

const tolerance = time.Minute // a signature is replaced if its time is off by more than this

// RoundTrip sends a request, with a new signature if it needs one.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	accessKey := AccessKey(req)
	if t.Credentials == nil || req.URL == nil || accessKey == "" && !t.first(req) || req.Response != nil && leavesHost(req) {
		return t.base().RoundTrip(req)
	}
	keys, err := t.Credentials(req)
	sent := time.Now() // taken after fetching the keys, which may take a while
	skew := t.clocks.skew(req.URL.Host)
	current := req
	if err != nil {
		err = fmt.Errorf("aksk: get credentials: %w", err)
	} else {
		current, err = t.fresh(req, accessKey, keys, sent.Add(skew))
	}
	if err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	resp, err := t.base().RoundTrip(current)
	if err != nil || resp == nil {
		return resp, err
	}
	refused := resp.StatusCode == http.StatusUnauthorized
	if !refused && !t.clocks.due(sent) {
		return resp, nil
	}
	signed, ok := signature.Time(current.Header)
	if !ok {
		return resp, nil
	}
	ahead := signed.Sub(sent) // how far the signature's time is ahead of this machine's clock
	if refused {
		if right, wrong := rightSkew(req, resp, skew, sent, ahead); wrong {
			return t.correct(req, resp, right)
		}
	}
	t.clocks.learn(req.URL.Host, skew, resp.Header, sent, ahead)
	return bounded.Own(resp), nil
}

// rightSkew returns the skew to sign with if a 401 is due to the signature's time, and
// reports whether it is, or may be. skew is the skew known so far, and ahead is how far the
// signature's time is ahead of this machine's clock. If the Date agrees with the signature,
// it cannot come from the clock that refused the signature, so this machine's clock is used.
func rightSkew(req *http.Request, resp *http.Response, skew time.Duration, sent time.Time, ahead time.Duration) (right time.Duration, wrong bool) {
	right = estimate(skew, resp.Header, sent)
	if (right - ahead).Abs() <= tolerance {
		right = 0
	}
	off := (right - ahead).Abs()
	if req.Method == http.MethodHead { // a 401 for a HEAD has no body that could state the reason
		return right, off > signature.Life
	}
	return right, off > tolerance && saysClockSkew(req, resp)
}

// correct sends a request once more, signed with another skew, and records this skew if it
// was right. It returns resp, the 401 for the first send, if the request cannot be signed or
// sent again.
func (t *Transport) correct(req *http.Request, resp *http.Response, skew time.Duration) (*http.Response, error) {
	head := req.Method == http.MethodHead
	again, ok := t.again(req, time.Now().Add(skew))
	if !ok {
		if !head {
			t.clocks.set(req.URL.Host, skew)
		}
		return bounded.Own(resp), nil
	}
	// By now, the whole body has almost always been read, so the connection can be
	// reused.
	bounded.Close(resp)
	resp, err := t.base().RoundTrip(again)
	switch refused := err == nil && resp != nil && resp.StatusCode == http.StatusUnauthorized; {
	case err != nil, resp == nil, refused && head: // nothing is known about the clock
	case refused && saysClockSkew(again, resp):
		t.clocks.set(req.URL.Host, 0) // neither the old skew nor the new one is right
	default:
		t.clocks.set(req.URL.Host, skew)
	}
	return bounded.Own(resp), err
}

// first reports whether a request is unsigned and should be signed.
func (t *Transport) first(req *http.Request) bool {
	return t.SignUnsigned && len(signature.Values(req.Header, "Authorization")) == 0 && len(signature.Values(req.Header, "X-Auth-Token")) == 0
}

// fresh returns the request itself if its signature can be used or if c is zero.
// Otherwise, it returns the result of sign.
func (t *Transport) fresh(req *http.Request, accessKey string, c Credentials, at time.Time) (*http.Request, error) {
	if accessKey != "" && accessKey == c.AccessKey && req.Response == nil && resend.Of(req.Context()).Count == 0 {
		signed, ok := signature.Date(req.Header)
		if age := at.Unix() - signed; ok && -tolerance/time.Second <= time.Duration(age) && time.Duration(age) <= tolerance/time.Second {
			return req, nil
		}
	}
	if c == (Credentials{}) {
		return req, nil
	}
	return sign(req, c, at)
}

// sign returns a copy of the request with a new signature; at is the time of that
// signature. If Sign fails, but c is usable, the context has not ended, and the request
// already has a signature, sign returns the request itself.
func sign(req *http.Request, c Credentials, at time.Time) (*http.Request, error) {
	if err := c.usable(); err != nil {
		return nil, err
	}
	signed := req.WithContext(req.Context())
	signed.Header = req.Header.Clone()
	err := Sign(signed, c, at)
	switch {
	case err == nil:
		return signed, nil
	case req.Context().Err() != nil:
		return nil, context.Cause(req.Context())
	case AccessKey(req) != "":
		return req, nil
	}
	return nil, err
}

// again returns a newly signed copy of a request that is to be sent once more; at is the
// time of the new signature. If the request cannot be signed or sent again, again returns
// false.
func (t *Transport) again(req *http.Request, at time.Time) (again *http.Request, ok bool) {
	c, err := t.Credentials(req)
	if err != nil || c == (Credentials{}) {
		return nil, false
	}
	again, err = sign(req, c, at)
	if err != nil || again == req {
		return nil, false
	}
	if req.Body == nil || req.Body == http.NoBody {
		return again, true
	}
	if req.GetBody == nil { // a header replaces the body's hash, so the request can be signed, but its body cannot be sent again
		return nil, false
	}
	again.Body, err = req.GetBody()
	return again, err == nil && again.Body != nil
}

// saysClockSkew reports whether a 401 states that the signature's time is wrong. It reads
// the beginning of the body, and then puts back the part that it has read.
func saysClockSkew(req *http.Request, resp *http.Response) bool {
	data, _ := bounded.Peek(req.Context(), resp, bounded.Time(req.Context()))
	d := answer.Decode(resp.Header, data, resp.StatusCode)
	return answer.ReasonOf(resp.StatusCode, answer.Label(d.Code), answer.OneLine(d.Message)) == answer.ClockSkew
}

// leavesHost reports whether a request follows, or may follow, a redirect to another host
// or scheme. Such a request must be given neither a signature nor a security token.
func leavesHost(req *http.Request) bool {
	for r := req; r.Response != nil; {
		r = r.Response.Request // nil if Base has not set Response.Request; in that case, the origin is unknown
		if r == nil || r.URL == nil || r.URL.Host != req.URL.Host || r.URL.Scheme != req.URL.Scheme {
			return true
		}
	}
	return false
}

func (t *Transport) base() http.RoundTripper {
	if t.Base != nil {
		return t.Base
	}
	return originalDefault
}

// CloseIdleConnections closes the idle connections of Base, if Base has a method for
// that.
func (t *Transport) CloseIdleConnections() {
	if c, ok := t.base().(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// WrappedRoundTripper returns the RoundTripper below, by Kubernetes convention.
func (t *Transport) WrappedRoundTripper() http.RoundTripper { return t.base() }

// SignsEachAttempt reports whether the Transport keeps the signature of a signed request
// valid in each attempt, provided that the request can be signed again. If it does, an
// iamhttp.Transport above allows such a request to wait for longer than a signature is
// valid. If you write your own RoundTripper that signs each attempt, give it this method
// too.
func (t *Transport) SignsEachAttempt(req *http.Request) bool {
	if t.Credentials == nil || AccessKey(req) == "" || req.Response != nil && leavesHost(req) {
		return false
	}
	if _, err := signable(req); err != nil {
		return false
	}
	c, err := t.Credentials(req)
	return err == nil && c.usable() == nil
}
