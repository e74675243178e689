// Package iamgophercloud connects an [iamhttp.Transport] to a gophercloud v2 client,
// and adds the typed error to the errors that gophercloud returns:
//
//	p, err := openstack.NewClient(authURL)
//	…
//	iamgophercloud.Configure(p, nil)
//	err = openstack.Authenticate(ctx, p, options)
//	if errors.Is(err, iamhttp.ErrUnauthorized) { … }
//
// Gophercloud still handles status codes as before: it logs in again after a 401, and
// tokens.Validate, for example, still returns false for a 404. errors.As finds
// gophercloud's own errors as before.
//
// For gophercloud v1 and the SDKs that derive from it, use package
// [github.com/iamhttp/iamhttp/iamsdk]. This package is built on it.
package iamgophercloud

import (
	"context"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/iamsdk"
)

// Configure makes p send its requests through t, and sets t.PassThrough. It switches off
// gophercloud's own back-off for 429 and 498, because gophercloud's retries would
// multiply with those of t. It passes errors through [Wrap]. Call it once, before
// openstack.Authenticate, so that it covers logging in too.
//
// If t is nil, Configure uses a Transport with the default settings. If t.Base is nil, it
// becomes the RoundTripper that p had. Several clients may share t if they have no
// RoundTripper of their own, or all the same one, because t keeps the RoundTripper of the
// first. If p has a RetryFunc, it is still called first. If it returns an error, Wrap
// gets that error.
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
// Configure makes gophercloud call Wrap for most errors. It cannot do so if logging in
// again has failed: gophercloud then returns a *gophercloud.ErrUnableToReauthenticate
// without calling RetryFunc. Pass that error to Wrap yourself. The typed error is then
// the login's: a *StatusError or, if the gate refused the login, a
// *[iamhttp.NotSentError]. If the login got no response, the typed error is the
// *StatusError of the 401 before it.
func Wrap(err error) error { return iamsdk.Wrap(err) }
