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

// A Transport is an [http.RoundTripper] that belongs below an iamhttp.Transport and
// signs its attempts. What an SDK has signed it signs again, in the same form over the
// same headers, if that signature is older than a minute, if the request is a retry,
// or if it follows a redirection. A first attempt with a fresh signature is sent as it
// is. The request is never modified, a copy of it is, and no body is buffered.
//
// It never touches a request that carries a token alone or is signed some other way,
// nor one that follows a redirection to another host. A body that can be read only
// once leaves the first signature in place.
//
// It learns from the Date of the answers, one a second and each 401, how far the clock
// of this machine is off from that of a host, and signs accordingly. If a 401 says that
// the time of the signature is off, and it was, the request is sent once more. That is
// safe for any method: a 401 says that the request was not carried out (RFC 9110
// §15.5.2).
//
// The zero value signs nothing. A Transport is safe for concurrent use; do not copy or
// change it after first use.
type Transport struct {
	// Base sends each attempt. If nil, it is http.DefaultTransport as the program
	// has found it.
	Base http.RoundTripper

	// Credentials returns what to sign a request with. It is called for each attempt,
	// by many goroutines at once, so keys may rotate; they are not kept. A request
	// that is signed with another access key is signed again: if several accounts
	// share the Transport, ask [AccessKey] which of them the request is from. Return
	// the zero Credentials to leave the request as it is. If it returns an error, the
	// request is not sent, and RoundTrip returns an error that wraps it. If nil,
	// nothing is signed.
	Credentials func(*http.Request) (Credentials, error)

	// SignUnsigned also signs requests that have neither an Authorization nor an
	// X-Auth-Token. If their body can be read only once, RoundTrip returns an error.
	SignUnsigned bool

	clocks clocks
}

// originalDefault is the default transport before a program has replaced it, perhaps by
// one that leads here.
var originalDefault = http.DefaultTransport

const tolerance = time.Minute // how far off the time of a signature may be that is sent as it is

// RoundTrip sends a request, signed anew where that is needed.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	accessKey := AccessKey(req)
	if t.Credentials == nil || req.URL == nil || accessKey == "" && !t.first(req) || req.Response != nil && leavesHost(req) {
		return t.base().RoundTrip(req)
	}
	sent := time.Now()
	skew := t.clocks.skew(req.URL.Host)
	current, err := t.fresh(req, accessKey, sent.Add(skew))
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
	if refused || t.clocks.due(sent) {
		skew = t.clocks.learn(req.URL.Host, skew, resp.Header, sent)
	}
	if !refused {
		return resp, nil
	}
	signed, ok := signature.Time(current.Header)
	off := skew - signed.Sub(sent)
	if !ok || -tolerance <= off && off <= tolerance || !saysClockSkew(req, resp) {
		return resp, nil
	}
	again, ok := t.again(req, time.Now().Add(skew))
	if !ok {
		return resp, nil
	}
	// What was read ahead is a whole body, nearly always, so the connection is free.
	resp.Body.Close()
	return t.base().RoundTrip(again)
}

// first reports whether a request is to be signed for the first time.
func (t *Transport) first(req *http.Request) bool {
	return t.SignUnsigned && len(req.Header["Authorization"]) == 0 && len(req.Header["X-Auth-Token"]) == 0
}

// fresh returns the request itself if its signature will do, or may not be replaced,
// and else a copy that is signed as of a time.
func (t *Transport) fresh(req *http.Request, accessKey string, at time.Time) (*http.Request, error) {
	c, err := t.Credentials(req)
	if err != nil {
		return nil, fmt.Errorf("aksk: no credentials: %w", err)
	}
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

// sign returns a copy of the request that is signed as of a time, or the request itself
// if its body cannot be read for that and it has a signature.
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

// again returns a copy of a request to send once more, signed as of a time, and false
// if there can be none.
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
	if req.GetBody == nil { // the header states what was signed of it
		return nil, false
	}
	again.Body, err = req.GetBody()
	return again, err == nil && again.Body != nil
}

// saysClockSkew reports whether a 401 is about the time of the signature. It reads
// the beginning of the body, and puts it back.
func saysClockSkew(req *http.Request, resp *http.Response) bool {
	data, _ := bounded.Peek(req.Context(), resp, bounded.Time(req.Context()))
	d := answer.Decode(resp.Header, data, resp.StatusCode)
	return answer.ReasonOf(resp.StatusCode, answer.Label(d.Code), answer.OneLine(d.Message)) == answer.ClockSkew
}

// leavesHost reports whether a request follows a redirection to another host, which
// must get neither a signature nor a security token.
func leavesHost(req *http.Request) bool {
	for r := req; r.Response != nil && r.Response.Request != nil; {
		r = r.Response.Request
		if r.URL == nil || r.URL.Host != req.URL.Host || r.URL.Scheme != req.URL.Scheme {
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

// CloseIdleConnections closes those of Base, if it can.
func (t *Transport) CloseIdleConnections() {
	if c, ok := t.base().(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// WrappedRoundTripper returns the RoundTripper below, by Kubernetes' convention.
func (t *Transport) WrappedRoundTripper() http.RoundTripper { return t.base() }

// SignsEachAttempt tells an iamhttp.Transport above that a signature does not age
// while it waits. It does nothing. A RoundTripper of yours that signs each attempt may
// have this method too.
func (t *Transport) SignsEachAttempt() {}
