// Package iamhuaweicloud puts an [iamhttp.Transport] below a client of
// huaweicloud-sdk-go-v3 and the typed error into what the SDK returns:
//
//	hc, err := iamhuaweicloud.Configure(iam.IamClientBuilder(), nil, nil).
//		WithEndpoint(endpoint).WithCredential(credentials).SafeBuild()
//	…
//	_, err = iam.NewIamClient(hc).KeystoneShowUser(request)
//	if errors.Is(err, iamhttp.ErrNotFound) { … }
//
// The SDK goes on seeing responses: its own error is found as before by
// errors.As, and an Invoker repeats what its checker asks for.
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
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/config"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/request"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/response"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/sdkerr"

	"github.com/iamhttp/iamhttp"
)

// Configure wires the builder of any service and returns it: requests go
// through t, which is set to PassThrough, and errors come from an
// [ErrorHandler]. It calls WithHttpConfig, with a copy of c, and
// WithErrorHandler; the caller need not call either. If c is nil, it is the
// SDK's default, with its Timeout of two minutes. The SDK makes requests
// without a context, so that this Timeout is all that bounds a call, its waits
// included.
//
// If t is nil, a Transport with its defaults is used. If t.Base is nil, it
// becomes what the SDK would have used: the HttpTransport or RoundTripper of
// c, or else an http.Transport with its DialContext, HttpProxy and
// IgnoreSSLVerification, which the SDK does not look at once it is given a
// RoundTripper. One t may serve several builders, which then share its
// connections; configure one after the other, and keep to the same c, as Base
// is set by the first.
func Configure(b *core.HcHttpClientBuilder, c *config.HttpConfig, t *iamhttp.Transport) *core.HcHttpClientBuilder {
	if c == nil {
		c = config.DefaultHttpConfig()
	}
	if t == nil {
		t = new(iamhttp.Transport)
	}
	if !t.PassThrough { // not written again: an earlier client may be at work
		t.PassThrough = true
	}
	own := *c
	if own.RoundTripper == http.RoundTripper(t) {
		own.RoundTripper = nil // it cannot be its own Base
	}
	if t.Base == nil {
		t.Base = base(&own)
	}
	own.HttpTransport = nil // would win over the RoundTripper
	own.RoundTripper = t
	return b.WithHttpConfig(&own).WithErrorHandler(ErrorHandler{})
}

// base is the RoundTripper that the SDK would make of c.
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
		// An address that is none is ignored there, too.
		if u, err := url.Parse(c.HttpProxy.GetProxyUrl()); err == nil {
			t.Proxy = http.ProxyURL(u)
		}
	}
	return t
}

// An ErrorHandler makes the errors of a client of the SDK: Inner's, and beside
// it the *iamhttp.StatusError of the same answer. errors.As finds both. The text
// is that of the typed error: the service's message, where the SDK prints the
// raw body. Code and message are those that Inner has found, if iamhttp does
// not know the form of the body.
//
// It goes into WithErrorHandler of a builder or of a client, and
// [Configure] puts it there. It has no state and is safe for concurrent use.
//
// Attempts of the typed error is how often a Transport below sent the request.
// Stop is unset, as a response does not carry it: OnFailure is told.
//
// The error is a wrapper, because a ServiceResponseError has no place for
// another error. errors.As sees through it; a type assertion,
// err.(*sdkerr.ServiceResponseError), does not. A program that has such
// assertions keeps the SDK's own handler and calls [Wrap] where it wants more:
//
//	iamhuaweicloud.Configure(b, c, t).WithErrorHandler(sdkerr.DefaultErrorHandler{})
type ErrorHandler struct {
	// Inner decides which answers are failures and makes the SDK's error of
	// them. If nil, it is sdkerr.DefaultErrorHandler; a service that has its
	// own, as CCE does, keeps it here.
	Inner sdkerr.ErrorHandler
}

var errNoResponse = errors.New("iam: the SDK has neither response nor error")

// HandleError implements sdkerr.ErrorHandler. It is called by the SDK for every
// response and leaves one from 100 to 399 to Inner, untouched. What it reads
// of another, it puts back for Inner.
func (h ErrorHandler) HandleError(req *request.DefaultHttpRequest, resp *response.DefaultHttpResponse) error {
	if resp == nil || resp.Response == nil {
		return errNoResponse // nil would make a success of it
	}
	inner := h.Inner
	if inner == nil {
		inner = sdkerr.DefaultErrorHandler{}
	}
	if code := resp.GetStatusCode(); 100 <= code && code < 400 {
		return inner.HandleError(req, resp)
	}
	status := statusError(resp.Response) // before Inner, which closes the body
	err := inner.HandleError(req, resp)
	adopt(status, serviceError(err))
	return join(err, status)
}

// statusError returns the typed form of a failing answer, whose body can be
// read from its start afterwards.
func statusError(resp *http.Response) *iamhttp.StatusError {
	r, attempts := *resp, 0
	if r.Request != nil {
		ctx := r.Request.Context()
		attempts = iamhttp.ResendCount(ctx) + 1
		// The context is over if a handler around this one has read the body
		// by the SDK's GetBody, which closes it; what that puts back can still
		// be read. A body from the network ends with the Timeout either way.
		r.Request = r.Request.WithContext(context.WithoutCancel(ctx))
	}
	status, _ := errors.AsType[*iamhttp.StatusError](iamhttp.CheckResponse(&r))
	status.Attempts = attempts
	resp.Body = r.Body
	return status
}

// Wrap adds to an error of the SDK the *iamhttp.StatusError of the answer
// behind it, as an [ErrorHandler] does. It is for errors that no handler has
// seen: with the SDK's own handler, and always those of the requests with
// which the SDK gets credentials for itself or, in SafeBuild, looks up the
// domain of a region. (The look-up of a project leaves nothing but a text;
// that error is returned as it is.)
//
// An error without an answer, one of an answer that was no failure, one that
// holds a *StatusError already, and nil are returned as they are. The typed
// error is made of what a ServiceResponseError keeps: it has no Method, URL,
// Attempts and Stop, and of the header the request id only.
func Wrap(err error) error {
	sr := serviceError(err)
	if sr == nil || sr.StatusCode < 400 {
		// A success that could not be understood is a ServiceResponseError of
		// 200, an answer that broke off one of 0.
		return err
	}
	var header http.Header
	if sr.RequestId != "" {
		header = http.Header{"X-Request-Id": {sr.RequestId}}
	}
	var body []byte // not known, as a rule
	if sr.ErrorCode == "" {
		body = []byte(sr.ErrorMessage) // which is how the SDK keeps one that it did not understand
	}
	status := iamhttp.NewStatusError(sr.StatusCode, header, body)
	adopt(status, sr)
	return join(err, status)
}

// adopt takes over the code and the message that only the SDK has found. Some
// services have forms of their own, {"badRequest": {"code": …, "message": …}}
// say, or CCE's errorCode and errorMessage.
func adopt(status *iamhttp.StatusError, sr *sdkerr.ServiceResponseError) {
	if sr == nil || sr.ErrorCode == "" || status.Message != "" {
		return
	}
	// By way of a body, so that they are made fit to be printed.
	body, _ := json.Marshal(map[string]string{"error_code": sr.ErrorCode, "error_msg": sr.ErrorMessage})
	said := iamhttp.NewStatusError(int(status.Code), nil, body)
	status.ServiceCode, status.Message = said.ServiceCode, said.Message
}

// serviceError finds the SDK's error in err, nil if there is none.
func serviceError(err error) *sdkerr.ServiceResponseError {
	if p, ok := errors.AsType[*sdkerr.ServiceResponseError](err); ok {
		return p
	}
	if v, ok := errors.AsType[sdkerr.ServiceResponseError](err); ok {
		return &v
	}
	return nil
}

// join puts status beside err, unless there is no error or it has one already.
func join(err error, status *iamhttp.StatusError) error {
	if _, ok := errors.AsType[*iamhttp.StatusError](err); ok || err == nil {
		return err
	}
	return &wrapped{err, status}
}

// wrapped is an error of the SDK and the typed error beside it.
type wrapped struct {
	err    error
	status *iamhttp.StatusError
}

// Error is the text of err, with that of status in the place of the SDK's
// JSON, behind it if there is none.
func (w *wrapped) Error() string {
	own, status := "", w.status.Error()
	if sr := serviceError(w.err); sr != nil {
		own = sr.Error()
	} else if p, ok := w.err.(*sdkerr.ServiceResponseError); ok && p == nil {
		return status // a careless handler; Error of it would panic
	}
	text := w.err.Error()
	if own == "" || !strings.Contains(text, own) {
		return text + ": " + status
	}
	return strings.Replace(text, own, status, 1)
}

func (w *wrapped) Unwrap() []error { return []error{w.err, w.status} }
