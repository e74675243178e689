// Package iamsdk puts an [iamhttp.Transport] into an SDK of the gophercloud family, and
// adds iamhttp's typed error to the errors that the SDK returns:
//
//	provider.HTTPClient.Timeout = time.Minute // for each call, waits included
//	iamsdk.Install(&provider.HTTPClient, nil, iamsdk.GopherTelekomCloud())
//	provider.MaxBackoffRetries = new(int) // no retries by the SDK itself
//	provider.BackoffRetryTimeout = new(time.Duration)
//	err := openstack.Authenticate(provider, options)
//	…
//	err = iamsdk.Wrap(groups.Delete(client, id).ExtractErr())
//	if errors.Is(err, iamhttp.ErrNotFound) { … }
//
// The package imports no SDK. It knows only the shape of the SDKs' errors and the
// behaviors that [Options] describes, so it works with gophercloud v1 and v2,
// gophertelekomcloud, golangsdk, the Terraform providers built on them, and forks of all
// of these.
//
// As with PassThrough alone, the SDK receives plain responses and returns its own errors,
// so code that handles them keeps working. In two cases, a 401 ends the call with an error
// from iamhttp instead, because the call might otherwise never return: see EndlessLogin
// and LoginHangs in [Options]. With a Gate, a call also ends with an error from iamhttp, a
// *[iamhttp.NotSentError], if the gate refuses its request. http.Client puts each of these
// errors in a *url.Error.
package iamsdk

import (
	"cmp"
	"errors"
	"net/http"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/internal/bounded"
	"github.com/iamhttp/iamhttp/internal/chain"
	"github.com/iamhttp/iamhttp/internal/inside1"
)

// Install makes client send its requests through t, sets t.PassThrough, and works around
// the SDK behaviors that o describes. Call it after you set the client's RoundTripper and
// before you log in; the client must not be in use, because Install sets its Transport. If
// client is nil, Install does nothing.
//
// If t is nil, Install uses a new Transport with the default settings. If the client's
// RoundTripper passes its requests to t, it stays above t. Otherwise, if t.Base is nil,
// Install sets it to the client's RoundTripper, such as one that signs each attempt; but
// if you pass a t and that RoundTripper is itself a Transport, t replaces it and takes
// over its Base. If t.Base is set, the client's RoundTripper is no longer used. Give each
// client its own Transport, but give all Transports the same Gate. Clients may share a
// Transport only if they have the same Options and the same RoundTripper (or none).
//
// Do not let two of the SDK's clients share one http.Client or its RoundTripper if one needs
// the other to log in. The workarounds would mistake the other client's calls for parts of the
// login, and would end the login when one of these calls gets a 401.
//
// If you call Install again for the same client, t replaces the earlier Transport (if t
// is nil, the earlier one stays), and the Options of every call apply. For this to work, a
// RoundTripper that you have put around the earlier one must reveal it, through an
// exported field or a method named WrappedRoundTripper or Unwrap. If the client's
// RoundTripper passes its requests to t in a way that Install cannot see, the requests
// usually fail with an error.
//
// Whatever the Options, the Transport does not retry a login whose response says that the
// account is locked.
//
// A successful call makes a few more small allocations than it would with t alone, for
// [Wrap] and the workarounds.
func Install(client *http.Client, t *iamhttp.Transport, o Options) {
	if client == nil {
		return
	}
	below := client.Transport
	for rt := range inside1.All(below) {
		if s, ok := rt.(*session); ok { // set by an earlier call to Install
			o = o.with(s.o)
			t = cmp.Or(t, s.t)
		}
	}
	switch above := below.(type) {
	case *session:
		below = above.base
		if t == above.t || !above.isDirect() {
			below = above.sends
		}
	case *iamhttp.Transport: // replaced by t, because otherwise both might ask the same gate
		if t != nil && above != nil && above != t {
			below = above.Base
		}
	}
	if t == nil {
		t = new(iamhttp.Transport)
	}
	// Write the fields of t only if they differ, because another client may already be
	// using t.
	if !t.PassThrough {
		t.PassThrough = true
	}
	s := &session{t: t, sends: t, o: o}
	switch {
	case inside1.LeadsTo(below, t):
		s.sends = below
	case t.Base == nil && below != nil && below != t:
		t.Base = inside1.Guard(below)
	}
	if o.ResendsUnanswered {
		protect(t, inside1.Most, map[http.RoundTripper]bool{})
	}
	s.base = t.Base
	client.Transport = s
}

// A session is the RoundTripper that Install sets in a client: a Transport with the
// workarounds that the Options call for.
type session struct {
	t       *iamhttp.Transport
	sends   http.RoundTripper // t, or the client's RoundTripper if it leads to t
	base    http.RoundTripper // t.Base as this Install left it; a later Install may change t.Base
	o       Options
	logins  logins
	resends resends
}

var errNoAnswer = errors.New("iamsdk: the client's RoundTripper returned neither response nor error")

func (s *session) RoundTrip(req *http.Request) (*http.Response, error) {
	if above, ok := req.Context().Value(sendingKey{}).(*sending); ok && above.sends(req) {
		return s.pass(above, req)
	}
	if resp := s.resends.answer(req); resp != nil {
		return resp, nil
	}
	ctx, rec := iamhttp.WithRecorder(req.Context())
	own := newSending(ctx, req)
	if !s.isDirect() {
		own.awaits = s.t
	}
	if s.o.ClosesConnections {
		own.request.Close = false
	}
	hadNone := s.logins.hasNone.Load()
	if logsIn(origin(req)) {
		own.login = rec
		defer s.logins.begin()()
	}
	resp, err := s.sends.RoundTrip(&own.request)
	if resp == nil && err == nil {
		err = errNoAnswer
	}
	failure := answerIn(err, req)
	switch {
	case failure != nil:
		resp = responseOf(failure, &own.request)
	case err != nil:
		s.logins.ends(req, nil, err, hadNone, s.o)
		return nil, err
	default:
		failure = failureOf(resp, rec)
	}
	if failure == nil {
		s.logins.ends(req, resp, nil, hadNone, s.o)
		return resp, nil
	}
	recent.add(req, failure, &s.logins)
	if s.logins.ends(req, resp, failure, hadNone, s.o) {
		bounded.Close(resp)
		return nil, failure
	}
	s.resends.keep(s.o.Resends, req, failure)
	return bounded.Own(resp), nil
}

// isDirect reports whether the session passes its requests directly to a Transport.
func (s *session) isDirect() bool {
	_, direct := s.sends.(*iamhttp.Transport)
	return direct
}

// pass passes on a request that the session of a later Install is already sending. It
// bypasses the session's Transport unless the later Install was for the same Transport,
// because several Transports might all ask the same gate.
func (s *session) pass(above *sending, req *http.Request) (*http.Response, error) {
	switch {
	case !s.isDirect(), s.t == above.awaits:
		return s.sends.RoundTrip(req)
	case s.base == nil && chain.Marks(req, s) > 0:
		return chain.Original.RoundTrip(req) // the session is a part of http.DefaultTransport
	case s.base == nil:
		return chain.RoundTrip(http.DefaultTransport, req, s)
	}
	return s.base.RoundTrip(req)
}

// answerIn returns the failure if err stands for a failing response to req that the SDK
// must get as a response, and otherwise nil. There are two such cases: a Transport further
// down returned an error because it does not have PassThrough set, or the Transport
// stopped waiting to retry a login because the account is locked.
func answerIn(err error, req *http.Request) *iamhttp.StatusError {
	e, ok := err.(*iamhttp.StatusError) // not errors.As, because a wrapped StatusError may belong to another request
	switch {
	case !ok || e == nil || req.URL == nil:
		return nil
	case errors.Is(e.Cause, errLocked):
		own := *e
		own.Stop, own.Cause = iamhttp.StopNotRetryable, nil
		return &own
	case e.Cause == nil && e.Method == cmp.Or(req.Method, http.MethodGet) && e.URL == redact(req.URL.String()):
		return e
	}
	return nil
}

// failureOf returns the failure that a response reports, or nil if the response is a
// success.
func failureOf(resp *http.Response, rec *iamhttp.Recorder) *iamhttp.StatusError {
	if e, ok := rec.Last(); ok {
		return e
	}
	// The Transport may expect a status that the SDK treats as a failure.
	if err := iamhttp.CheckResponse(resp); err != nil {
		var e *iamhttp.StatusError
		_ = errors.As(err, &e)
		e.Attempts = 1
		if resp.Request != nil {
			e.Attempts += iamhttp.ResendCount(resp.Request.Context())
		}
		return e
	}
	return nil
}

// CloseIdleConnections closes the Transport's idle connections.
func (s *session) CloseIdleConnections() { s.t.CloseIdleConnections() }

// WrappedRoundTripper returns the Transport, by Kubernetes convention.
func (s *session) WrappedRoundTripper() http.RoundTripper { return s.t }
