// Package iamgophercloud connects an [iamhttp.Transport] to a gophercloud client,
// and adds the typed error to the errors that gophercloud returns:
//
//	p, err := openstack.NewClient(authURL)
//	…
//	iamgophercloud.Configure(p, nil)
//	err = openstack.Authenticate(ctx, p, options)
//	if errors.Is(err, iamhttp.ErrUnauthorized) { … }
//
// What gophercloud itself does with status codes stays as it is: it logs in again
// after a 401, it takes a 404 for an answer where it is one, and errors.As finds
// its own errors as before.
package iamgophercloud

import (
	"context"
	"errors"
	"net/url"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/iamhttp/iamhttp"
)

// Configure makes p send its requests through t, which it sets to PassThrough. It
// switches off gophercloud's own back-off for 429 and 498, because the retries of
// both would multiply, and it passes errors through [Wrap]. Call it once, before
// openstack.Authenticate, so that logging in is covered too.
//
// If t is nil, a Transport with its defaults is used. If t.Base is nil, it becomes
// the RoundTripper that p had. One t may serve several clients. A RetryFunc that p
// has is asked first, as before; Wrap gets only an error that it returns.
func Configure(p *gophercloud.ProviderClient, t *iamhttp.Transport) {
	if t == nil {
		t = new(iamhttp.Transport)
	}
	// Write only what is different: another client may be using t already.
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

// Wrap adds the typed error to an error of gophercloud: the
// *[iamhttp.StatusError] of the answer behind it. errors.Is and errors.As find
// both, gophercloud's first. The text stays gophercloud's. Wrap returns these as
// they are: an error without an answer, an error that holds a *StatusError or a
// *[iamhttp.NotSentError] already, and nil.
//
// The typed error is made from what gophercloud keeps of the answer, so Attempts
// and Stop are unset. A Recorder under the context of the call has both.
//
// Configure sees to it that Wrap is called for most errors. It cannot do that if
// logging in again has failed: gophercloud then returns a
// *gophercloud.ErrUnableToReauthenticate without asking. Pass that error to Wrap
// yourself, or use a Recorder. The typed error is then that of the login, be it a
// *StatusError or, if the gate did not let the login out, a *NotSentError; if the
// login got no answer, it is the *StatusError of the 401 before it.
func Wrap(err error) error {
	if err == nil || isTyped(err) {
		return err
	}
	e := typed(err)
	if e == nil {
		return err
	}
	return &wrapped{err, e}
}

func isTyped(err error) bool {
	return errors.As(err, new(*iamhttp.StatusError)) || errors.As(err, new(*iamhttp.NotSentError))
}

// typed returns the error of iamhttp that says why err came about, or nil.
func typed(err error) error {
	if isTyped(err) {
		return err
	}
	var byValue gophercloud.ErrUnexpectedResponseCode
	if errors.As(err, &byValue) {
		return fromResponse(&byValue)
	}
	var byPointer *gophercloud.ErrUnexpectedResponseCode
	if errors.As(err, &byPointer) && byPointer != nil {
		return fromResponse(byPointer)
	}
	// This error has no Unwrap method, because it holds two failures. The later
	// one says why the call failed in the end.
	var r *gophercloud.ErrUnableToReauthenticate
	var value gophercloud.ErrUnableToReauthenticate
	if errors.As(err, &value) {
		r = &value
	} else {
		errors.As(err, &r)
	}
	if r != nil {
		if e := typed(r.ErrReauth); e != nil {
			return e
		}
		return typed(r.ErrOriginal)
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

// wrapped joins an error of gophercloud with the typed error.
type wrapped struct{ err, typed error }

func (w *wrapped) Error() string { return w.err.Error() }

func (w *wrapped) Unwrap() []error { return []error{w.err, w.typed} }
