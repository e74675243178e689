// Package iamgophercloud connects an [iamhttp.Transport] to a gophercloud v2 client,
// and adds the typed error to the errors that gophercloud returns:
//
//	p, err := openstack.NewClient(authURL)
//	…
//	iamgophercloud.Configure(p, nil)
//	err = openstack.Authenticate(ctx, p, options)
//	if errors.Is(err, iamhttp.ErrUnauthorized) { … }
//
// Gophercloud still handles status codes as before: it logs in again after a 401, it
// treats a 404 as a result where it is one, and errors.As finds its own errors as
// before.
//
// For gophercloud v1 and the SDKs that derive from it, use package
// [github.com/iamhttp/iamhttp/iamsdk], which this one is built on.
package iamgophercloud

import (
	"context"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/iamsdk"
)

// Configure makes p send its requests through t, which it sets to PassThrough. It
// switches off gophercloud's own back-off for 429 and 498, because both would retry
// and the numbers would multiply, and it passes errors through [Wrap]. Call it once,
// before openstack.Authenticate, so that logging in is covered too.
//
// If t is nil, a Transport with its defaults is used. If t.Base is nil, it becomes
// the RoundTripper that p had. Several clients may share one t if they have no
// RoundTripper of their own, or all the same one: t keeps that of the first. A
// RetryFunc that p has is asked first, as before; Wrap gets only an error that it
// returns.
func Configure(p *gophercloud.ProviderClient, t *iamhttp.Transport) {
	iamsdk.Install(&p.HTTPClient, t, iamsdk.Gophercloud())
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

// Wrap adds the typed error to an error of gophercloud: the *[iamhttp.StatusError] of
// the response behind it, with the number of attempts and the reason for stopping.
// See [iamsdk.Wrap] for details.
//
// Configure makes gophercloud call Wrap for most errors. It cannot do that if logging
// in again has failed: gophercloud then returns a
// *gophercloud.ErrUnableToReauthenticate without asking. Pass that error to Wrap
// yourself. The typed error is then that of the login, be it a *StatusError or, if
// the gate did not let the login out, a *[iamhttp.NotSentError]; if the login got no
// response, it is the *StatusError of the 401 before it.
func Wrap(err error) error { return iamsdk.Wrap(err) }
