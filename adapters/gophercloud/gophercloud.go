// Package iamgophercloud puts an [iamhttp.Transport] into a gophercloud
// client and the typed error into what gophercloud returns:
//
//	p, err := openstack.NewClient(authURL)
//	…
//	iamgophercloud.Configure(p, nil)
//	err = openstack.Authenticate(ctx, p, options)
//	if errors.Is(err, iamhttp.ErrUnauthorized) { … }
//
// All that gophercloud does with status codes itself stays: it logs in again
// on a 401, takes a 404 for an answer where it is one, and its own errors are
// found as before.
package iamgophercloud

import (
	"context"
	"errors"
	"net/url"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/iamhttp/iamhttp"
)

// Configure wires p: its requests go through t, which is set to PassThrough,
// gophercloud's own back-off for 429 and 498 is switched off, so that the two
// do not multiply, and errors go through [Wrap]. Call it once, before
// openstack.Authenticate, so that logging in is covered too.
//
// If t is nil, a Transport with its defaults is used. If t.Base is nil, the
// Transport that p had becomes it. One t may serve several clients. A RetryFunc
// that p has is asked first, as before; only what it returns as an error is
// wrapped.
func Configure(p *gophercloud.ProviderClient, t *iamhttp.Transport) {
	if t == nil {
		t = new(iamhttp.Transport)
	}
	// Nothing is written that is so already: t may be at work in another client.
	if !t.PassThrough {
		t.PassThrough = true
	}
	if below := p.HTTPClient.Transport; t.Base == nil && below != nil && below != t {
		t.Base = below
	}
	p.HTTPClient.Transport = t
	p.RetryBackoffFunc = nil
	retry := p.RetryFunc
	p.RetryFunc = func(ctx context.Context, method, url string, options *gophercloud.RequestOpts, err error, failCount uint) error {
		if retry != nil {
			if err = retry(ctx, method, url, options, err, failCount); err == nil {
				return nil // send it again
			}
		}
		return Wrap(err)
	}
}

// Wrap adds to an error of gophercloud the *iamhttp.StatusError of the answer
// behind it. Both are found by errors.Is and errors.As, gophercloud's first;
// the text is gophercloud's. An error without an answer, one that holds a
// *StatusError already, and nil are returned as they are.
//
// The typed error is made of what gophercloud keeps: it has no Attempts and no
// Stop. A Recorder under the context of the call has these, too.
//
// Configure calls Wrap where gophercloud asks. It does not ask when logging in
// again has failed: wrap that error, a *gophercloud.ErrUnableToReauthenticate,
// where it arrives, or use a Recorder.
func Wrap(err error) error {
	if _, ok := errors.AsType[*iamhttp.StatusError](err); ok || err == nil {
		return err
	}
	e := statusError(err)
	if e == nil {
		return err
	}
	return &wrapped{err, e}
}

// statusError returns the typed form of the answer that err speaks of, or nil.
func statusError(err error) *iamhttp.StatusError {
	if e, ok := errors.AsType[*iamhttp.StatusError](err); ok {
		return e
	}
	if r, ok := errors.AsType[gophercloud.ErrUnexpectedResponseCode](err); ok {
		return fromResponse(&r)
	}
	if r, ok := errors.AsType[*gophercloud.ErrUnexpectedResponseCode](err); ok && r != nil {
		return fromResponse(r)
	}
	// It does not unwrap, as it holds two failures. The later one says why the
	// call failed for good.
	r, ok := errors.AsType[*gophercloud.ErrUnableToReauthenticate](err)
	if value, isValue := errors.AsType[gophercloud.ErrUnableToReauthenticate](err); isValue {
		r, ok = &value, true
	}
	if ok && r != nil {
		if e := statusError(r.ErrReauth); e != nil {
			return e
		}
		return statusError(r.ErrOriginal)
	}
	return nil
}

func fromResponse(r *gophercloud.ErrUnexpectedResponseCode) *iamhttp.StatusError {
	e := iamhttp.NewStatusError(r.Actual, r.ResponseHeader, r.Body)
	e.Method = r.Method
	if u, err := url.Parse(r.URL); err == nil {
		e.URL = (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
	}
	return e
}

// wrapped is an error of gophercloud and the typed error beside it.
type wrapped struct {
	err    error
	status *iamhttp.StatusError
}

func (w *wrapped) Error() string { return w.err.Error() }

func (w *wrapped) Unwrap() []error { return []error{w.err, w.status} }
