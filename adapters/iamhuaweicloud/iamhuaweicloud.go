// Package iamhuaweicloud puts an [iamhttp.Transport] below a client of
// huaweicloud-sdk-go-v3, and adds the typed error to the errors that the SDK
// returns:
//
//	t := &iamhttp.Transport{OnFailure: iamhttp.LogFailures(nil)}
//	hc, err := iamhuaweicloud.Configure(iam.IamClientBuilder(), nil, t, credentials).
//		WithEndpoint(endpoint).SafeBuild()
//	…
//	_, err = iam.NewIamClient(hc).KeystoneShowUser(request)
//	if errors.Is(err, iamhttp.ErrNotFound) { … }
//
// The SDK still receives plain responses. errors.As finds its own error as before, and an
// Invoker still retries what its checker asks for.
package iamhuaweicloud

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/config"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/request"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/response"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/sdkerr"

	"github.com/iamhttp/iamhttp"
)

// Configure sets up a builder for the clients of any service, so that they send their
// requests through t and an [ErrorHandler] makes their errors. Configure sets
// t.PassThrough and returns the builder. It calls WithHttpConfig, with a copy of c, and
// WithErrorHandler, so you need not call either. If c is nil, the SDK's default is used,
// whose Timeout is two minutes. The SDK makes requests without a context, so this Timeout
// is the only time limit of a call, waits included.
//
// If t is nil, Configure uses a Transport with the default settings. If t.Base is nil, it
// becomes what the SDK would have used: the HttpTransport or RoundTripper of c, or else
// an http.Transport with the DialContext, HttpProxy and IgnoreSSLVerification of c. (The
// SDK ignores these three if it has a RoundTripper.) One t may serve several builders,
// which then share its connections. Configure the builders one after the other and use
// the same c for all, because the first call sets Base.
//
// If the credential is an access key (AK/SK, basic or global), pass it as well. Configure
// then calls WithCredential, and an [aksk.Transport] below t signs each attempt, so that
// signatures do not expire during waits. It uses the keys that the credential has when
// you call Configure. If t serves several builders, pass a credential to the first of
// them. For keys that rotate, set t.Base to an aksk.Transport of your own. A credential
// that the SDK obtains itself, for example from a machine's metadata, may change at any
// time, so its attempts are not signed again.
func Configure(b *core.HcHttpClientBuilder, c *config.HttpConfig, t *iamhttp.Transport, credential ...auth.ICredential) *core.HcHttpClientBuilder {
	if c == nil {
		c = config.DefaultHttpConfig()
	}
	if t == nil {
		t = new(iamhttp.Transport)
	}
	if !t.PassThrough { // do not write it again: an earlier client may be using t
		t.PassThrough = true
	}
	own := *c
	if own.RoundTripper == http.RoundTripper(t) {
		own.RoundTripper = nil // a Transport cannot be its own Base
	}
	if t.Base == nil {
		t.Base = base(&own)
	}
	for _, each := range credential {
		b.WithCredential(each)
		signWith(t, each)
	}
	own.HttpTransport = nil // the SDK would prefer it to the RoundTripper
	own.RoundTripper = t
	return b.WithHttpConfig(&own).WithErrorHandler(ErrorHandler{})
}

// base returns the RoundTripper that the SDK would have made from c.
func base(c *config.HttpConfig) http.RoundTripper {
	if c.HttpTransport != nil {
		return c.HttpTransport
	}
	if c.RoundTripper != nil {
		return c.RoundTripper
	}
	t := &http.Transport{
		DialContext:            c.DialContext,
		TLSClientConfig:        &tls.Config{InsecureSkipVerify: c.IgnoreSSLVerification},
		OnProxyConnectResponse: iamhttp.CheckProxyConnect,
	}
	if c.HttpProxy != nil {
		// The SDK also ignores an invalid address.
		if u, err := url.Parse(c.HttpProxy.GetProxyUrl()); err == nil {
			t.Proxy = http.ProxyURL(u)
		}
	}
	return t
}

// An ErrorHandler makes the errors of a client of the SDK. Such an error joins Inner's
// error and the *[iamhttp.StatusError] of the same response. errors.As finds both. The
// text is that of the typed error, with the service's message instead of the raw body
// that the SDK prints. If iamhttp does not know the form of the body, the typed error
// takes its code and message from Inner's error.
//
// [Configure] sets it. You can also set it yourself, with the WithErrorHandler method of
// a builder or a client. It has no state and is safe for concurrent use.
//
// The Attempts field of the typed error says how often a Transport below sent the
// request. Its Stop field is unset, because a response does not carry that value; use
// OnFailure to get it.
//
// The SDK calls the handler for responses only. If there is no response, the error is the
// Transport's, inside a *url.Error: a *[iamhttp.NotSentError] if the gate refused the
// request, a *StatusError with StopGate or StopCanceled if the wait for a retry ended
// early, or otherwise Base's error.
//
// The error that the handler returns is a wrapper, because a ServiceResponseError cannot
// hold another error. errors.As sees through it; a type assertion,
// err.(*sdkerr.ServiceResponseError), does not. If your program has such assertions, keep
// the SDK's own handler, and call [Wrap] where you need the typed error:
//
//	iamhuaweicloud.Configure(b, c, t).WithErrorHandler(sdkerr.DefaultErrorHandler{})
type ErrorHandler struct {
	// Inner decides which responses are failures, and makes the SDK's error for them.
	// If nil, it is sdkerr.DefaultErrorHandler. Set it for a service with a handler
	// of its own, such as CCE.
	Inner sdkerr.ErrorHandler
}

var errNoResponse = errors.New("iamhttp: the SDK passed no response to its error handler")

// HandleError implements sdkerr.ErrorHandler. The SDK calls it for every response. A
// response with a status from 100 to 399 goes to Inner untouched. HandleError reads the
// body of any other response, and puts it back for Inner.
func (h ErrorHandler) HandleError(req *request.DefaultHttpRequest, resp *response.DefaultHttpResponse) error {
	if resp == nil || resp.Response == nil {
		return errNoResponse // the SDK would take nil for a success
	}
	inner := h.Inner
	if inner == nil {
		inner = sdkerr.DefaultErrorHandler{}
	}
	if code := resp.GetStatusCode(); 100 <= code && code < 400 {
		return inner.HandleError(req, resp)
	}
	status := statusError(resp.Response) // before Inner closes the body
	err := inner.HandleError(req, resp)
	adopt(status, serviceError(err))
	return join(err, status)
}

// statusError returns the typed error of a response that is a failure. The body can be
// read from its start afterwards.
func statusError(resp *http.Response) *iamhttp.StatusError {
	r, attempts := *resp, 0
	if r.Request != nil {
		ctx := r.Request.Context()
		attempts = iamhttp.ResendCount(ctx) + 1
		// A handler around this one may have read the body with the SDK's GetBody,
		// which closes it. The context has then ended, but the bytes that GetBody put
		// back can still be read. A body from the network still ends with the Timeout.
		r.Request = r.Request.WithContext(context.WithoutCancel(ctx))
	}
	var status *iamhttp.StatusError
	errors.As(iamhttp.CheckResponse(&r), &status)
	status.Attempts = attempts
	resp.Body = r.Body
	return status
}

// Wrap adds the *[iamhttp.StatusError] of the response to an error of the SDK, as an
// [ErrorHandler] does. Use it for errors that no ErrorHandler has seen: those made by
// the SDK's own handler, and those of the requests with which the SDK gets
// credentials or, in SafeBuild, looks up the domain of a region. (If looking up a
// project fails, the SDK keeps only the text of the error; Wrap returns it unchanged.)
//
// Wrap returns these unchanged: nil, an error without a response, an error for a response
// that was not a failure, and an error that already holds a *StatusError or a
// *[iamhttp.NotSentError]. The typed error is made from what a ServiceResponseError
// keeps. It has no Method, URL, Attempts or Stop. From the header, it has only the
// request id.
func Wrap(err error) error {
	if errors.As(err, new(*iamhttp.NotSentError)) {
		return err // the request was not sent, whatever else err holds
	}
	sr := serviceError(err)
	if sr == nil || sr.StatusCode < 400 {
		// The SDK also makes a ServiceResponseError with status 200 for a success that it
		// cannot decode, and one with status 0 for a response that broke off.
		return err
	}
	var header http.Header
	if sr.RequestId != "" {
		header = http.Header{"X-Request-Id": {sr.RequestId}}
	}
	var body []byte // usually unknown
	if sr.ErrorCode == "" {
		body = []byte(sr.ErrorMessage) // where the SDK keeps a body that it did not understand
	}
	status := iamhttp.NewStatusError(sr.StatusCode, header, body)
	adopt(status, sr)
	return join(err, status)
}

// adopt takes the code and the message from the SDK's error if only the SDK has found
// them. Some services have their own body formats, such as {"badRequest": {"code": …,
// "message": …}}, or CCE's errorCode and errorMessage.
func adopt(status *iamhttp.StatusError, sr *sdkerr.ServiceResponseError) {
	if sr == nil || sr.ErrorCode == "" || status.Message != "" {
		return
	}
	// NewStatusError makes the texts of a body safe to print.
	body, err := json.Marshal(map[string]string{"error_code": sr.ErrorCode, "error_msg": sr.ErrorMessage})
	if err != nil {
		return // never: strings can be marshaled
	}
	said := iamhttp.NewStatusError(int(status.Code), nil, body)
	status.ServiceCode, status.Message = said.ServiceCode, said.Message
}

// serviceError returns the SDK's error in err, or nil if there is none.
func serviceError(err error) *sdkerr.ServiceResponseError {
	var p *sdkerr.ServiceResponseError
	if errors.As(err, &p) {
		return p
	}
	var v sdkerr.ServiceResponseError
	if errors.As(err, &v) {
		return &v
	}
	return nil
}

// join joins err with status, unless err is nil or holds a StatusError already.
func join(err error, status *iamhttp.StatusError) error {
	if errors.As(err, new(*iamhttp.StatusError)) || err == nil {
		return err
	}
	return &wrapped{err, status}
}

// wrapped joins an error of the SDK with the typed error.
type wrapped struct {
	err    error
	status *iamhttp.StatusError
}

// Error returns the text of err, with the SDK's JSON replaced by the text of status. If
// the text does not contain the JSON, the text of status is appended.
func (w *wrapped) Error() string {
	own, status := "", w.status.Error()
	if sr := serviceError(w.err); sr != nil {
		own = sr.Error()
	} else if p, ok := w.err.(*sdkerr.ServiceResponseError); ok && p == nil {
		return status // a handler returned a nil pointer, whose Error would panic
	}
	text := w.err.Error()
	if own == "" || !strings.Contains(text, own) {
		return text + ": " + status
	}
	return strings.Replace(text, own, status, 1)
}

func (w *wrapped) Unwrap() []error { return []error{w.err, w.status} }
