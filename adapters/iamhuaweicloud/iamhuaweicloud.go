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
// The SDK still receives plain responses. errors.As still finds the SDK's own error, and
// an Invoker still retries each call that its checker tells it to retry.
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
	"github.com/iamhttp/iamhttp/internal/inside1"
)

// Configure sets up b, a client builder for any service, so that its clients send their
// requests through t and get their errors from an [ErrorHandler]. It sets t.PassThrough
// and returns b. Configure calls WithErrorHandler and, with a copy of c, WithHttpConfig;
// do not call WithHttpConfig after that, because it would remove t. If c is nil, Configure
// uses the SDK's default config, which has a Timeout of two minutes. The SDK makes its
// requests without a context, so the Timeout is a call's only deadline; it covers retries
// and waits.
//
// If t is nil, Configure uses a Transport with the default settings. If t.Base is nil,
// Configure sets it to the RoundTripper that the SDK would have used: the HttpTransport
// or RoundTripper of c or, if c has neither, an http.Transport with the DialContext,
// HttpProxy and IgnoreSSLVerification of c. (If c has either, the SDK ignores these three
// settings.) If the RoundTripper of c passes its requests to t, it stays above t; if
// Configure cannot see that, because neither an exported field nor a method named
// WrappedRoundTripper or Unwrap reveals t, the requests fail with an error. Several builders
// may use the same t, and then share its connections. Configure the builders one after the
// other and use the same c for all of them, because the first call sets Base.
//
// If your credential is an access key (AK/SK, basic or global), pass it to Configure too.
// Configure then calls WithCredential, and an [aksk.Transport] below t makes sure that
// each attempt has a fresh signature, so that no signature expires during a wait. The
// aksk.Transport uses the keys that the credential has when you call Configure. If
// several builders use the same t, pass a credential in the first call. If the keys
// rotate, set t.Base to your own aksk.Transport instead. A credential that the SDK
// obtains itself, for example from a machine's metadata, may change at any time, so
// requests with such a credential are not signed again.
func Configure(b *core.HcHttpClientBuilder, c *config.HttpConfig, t *iamhttp.Transport, credential ...auth.ICredential) *core.HcHttpClientBuilder {
	if c == nil {
		c = config.DefaultHttpConfig()
	}
	if t == nil {
		t = new(iamhttp.Transport)
	}
	if !t.PassThrough { // do not write the field again, because an earlier client may be using t
		t.PassThrough = true
	}
	own, above := *c, http.RoundTripper(t)
	switch leads := inside1.LeadsTo(own.RoundTripper, t); {
	case leads && own.HttpTransport == nil:
		above, own.RoundTripper = own.RoundTripper, nil
	case leads, own.RoundTripper == above:
		own.RoundTripper = nil // a Transport cannot be its own Base
	}
	if t.Base == nil {
		t.Base = inside1.Guard(base(&own))
	}
	for _, each := range credential {
		b.WithCredential(each)
		signWith(t, each)
	}
	own.HttpTransport = nil // because the SDK would prefer the HttpTransport to the RoundTripper
	own.RoundTripper = above
	return b.WithHttpConfig(&own).WithErrorHandler(ErrorHandler{})
}

// base returns the RoundTripper that the SDK would have used for c.
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
		// Like the SDK, ignore an invalid address.
		if u, err := url.Parse(c.HttpProxy.GetProxyUrl()); err == nil {
			t.Proxy = http.ProxyURL(u)
		}
	}
	return t
}

// An ErrorHandler creates the errors that an SDK client returns for failing responses.
// Each of these errors joins Inner's error and the *[iamhttp.StatusError] of the same
// response, so errors.As finds both. The text is that of Inner's error, but the typed
// error's text replaces the SDK's JSON or, if there is none, is appended. If iamhttp
// finds no message in the body, the typed error takes its service code and message from
// Inner's error, if that has a service code.
//
// [Configure] installs an ErrorHandler. You can also install one yourself, with the
// WithErrorHandler method of a builder or a client. An ErrorHandler is safe for
// concurrent use if Inner is.
//
// The typed error's Attempts field is the number of times that a Transport below sent the
// request. The Stop field is unset, because a response does not carry the stop reason;
// use OnFailure to get the reason.
//
// The SDK calls the handler for responses only. If there is no response, the SDK returns
// the Transport's error inside a *url.Error: a *[iamhttp.NotSentError] if the gate
// refused the first attempt; a *StatusError if the gate refused a retry after a failing
// response, or if a proxy refused to connect; otherwise usually Base's error. If the SDK
// has tried several endpoints, or if the Timeout has expired, only the text of these
// errors is left.
//
// The error that the handler returns is a wrapper, because a ServiceResponseError cannot
// hold another error. errors.As finds the ServiceResponseError inside the wrapper; the
// type assertion err.(*sdkerr.ServiceResponseError) does not. If your program has such
// assertions, keep the SDK's own handler, and call [Wrap] where you need the typed error:
//
//	iamhuaweicloud.Configure(b, c, t).WithErrorHandler(sdkerr.DefaultErrorHandler{})
type ErrorHandler struct {
	// Inner decides which responses are failures, and creates the SDK's error for them.
	// If nil, sdkerr.DefaultErrorHandler is used. Set Inner for a service that has its own
	// handler, such as CCE.
	Inner sdkerr.ErrorHandler
}

var errNoResponse = errors.New("iamhttp: the SDK passed no response to its error handler")

// HandleError implements sdkerr.ErrorHandler. The SDK calls HandleError for every
// response. A response with a status from 100 to 399 is passed to Inner untouched.
// HandleError reads up to 64 KiB of the body of any other response, and puts these bytes
// back for Inner.
func (h ErrorHandler) HandleError(req *request.DefaultHttpRequest, resp *response.DefaultHttpResponse) error {
	if resp == nil || resp.Response == nil {
		return errNoResponse // the SDK would mistake nil for a success
	}
	inner := h.Inner
	if inner == nil {
		inner = sdkerr.DefaultErrorHandler{}
	}
	if code := resp.GetStatusCode(); 100 <= code && code < 400 {
		return inner.HandleError(req, resp)
	}
	status := statusError(resp.Response) // must be made before Inner closes the body
	err := inner.HandleError(req, resp)
	adopt(status, serviceError(err))
	return join(err, status)
}

// statusError returns the typed error for a failing response. It leaves the response's
// body readable from its start.
func statusError(resp *http.Response) *iamhttp.StatusError {
	r, attempts := *resp, 0
	if r.Request != nil {
		ctx := r.Request.Context()
		attempts = iamhttp.ResendCount(ctx) + 1
		// An outer handler may have read the body with the SDK's GetBody, which also
		// closes the body. In that case, the context may have ended, but the bytes that
		// GetBody put back can still be read. Reading a body from the network still ends
		// at the Timeout.
		r.Request = r.Request.WithContext(context.WithoutCancel(ctx))
	}
	var status *iamhttp.StatusError
	errors.As(iamhttp.CheckResponse(&r), &status)
	status.Attempts = attempts
	resp.Body = r.Body
	return status
}

// Wrap adds the *[iamhttp.StatusError] of the response to an SDK error, as an
// [ErrorHandler] does. Use Wrap for errors that no ErrorHandler has seen: errors from the
// SDK's own handler, and from the requests that the SDK sends to get credentials or, in
// SafeBuild, to look up the account's domain. (If the SDK fails to look up a project, or
// to get credentials in a pod, it keeps only the error's text, so Wrap returns the SDK's
// error unchanged.)
//
// Wrap returns err unchanged if it already holds a *StatusError or a
// *[iamhttp.NotSentError], or holds no ServiceResponseError with the status of a failure:
// for example, because err is nil, was not caused by a response, or was caused by a
// response that is not a failure or broke off. The typed error is made from the fields of
// a ServiceResponseError, so it has no Method, URL, Attempts or Stop, and its header
// contains at most the request ID.
func Wrap(err error) error {
	if _, notSent := as[*iamhttp.NotSentError](err); notSent {
		return err // the request was not sent, whatever else err holds
	}
	sr := serviceError(err)
	if sr == nil || sr.StatusCode <= 0 || 100 <= sr.StatusCode && sr.StatusCode < 400 {
		// The SDK also makes a ServiceResponseError for a success that it cannot decode,
		// with the status of the success, and one with status 0 for a failing response
		// that broke off.
		return err
	}
	var header http.Header
	if sr.RequestId != "" {
		header = http.Header{"X-Request-Id": {sr.RequestId}}
	}
	var body []byte // nil if unknown
	if sr.ErrorCode == "" {
		body = []byte(sr.ErrorMessage) // where the SDK puts a body that it does not understand
	}
	status := iamhttp.NewStatusError(sr.StatusCode, header, body)
	adopt(status, sr)
	return join(err, status)
}

// adopt copies the code and the message from the SDK's error if that has a code and the
// typed error has no message. This is the case in Wrap if the body is unknown, and in
// HandleError if only the SDK, which looks for them at any depth, finds them in the body.
func adopt(status *iamhttp.StatusError, sr *sdkerr.ServiceResponseError) {
	if sr == nil || sr.ErrorCode == "" || status.Message != "" {
		return
	}
	// NewStatusError makes a body's texts safe to print.
	body, err := json.Marshal(map[string]string{"error_code": sr.ErrorCode, "error_msg": sr.ErrorMessage})
	if err != nil {
		return // cannot happen, because strings can always be marshaled
	}
	said := iamhttp.NewStatusError(int(status.Code), nil, body)
	status.ServiceCode, status.Message = said.ServiceCode, said.Message
}

// serviceError returns the SDK's error in err, or nil if there is none.
func serviceError(err error) *sdkerr.ServiceResponseError {
	if p, ok := as[*sdkerr.ServiceResponseError](err); ok {
		return p
	}
	if v, ok := as[sdkerr.ServiceResponseError](err); ok {
		return &v
	}
	return nil
}

// as is errors.As, but finds nothing if a method of err panics, for example one with a
// value receiver that is called on a nil pointer.
func as[T error](err error) (target T, found bool) {
	defer func() {
		if recover() != nil {
			found = false
		}
	}()
	found = errors.As(err, &target)
	return target, found
}

// join joins err with status, unless err is nil or already holds a StatusError.
func join(err error, status *iamhttp.StatusError) error {
	if _, has := as[*iamhttp.StatusError](err); has || err == nil {
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
