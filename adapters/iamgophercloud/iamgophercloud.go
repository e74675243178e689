// Package iamgophercloud connects an [iamhttp.Transport] to a gophercloud v2 client,
// and adds the typed error to the errors that gophercloud returns:
//
//	p, err := openstack.NewClient(authURL)
//	…
//	iamgophercloud.Configure(p, nil)
//	err = openstack.Authenticate(ctx, p, options)
//	if errors.Is(err, iamhttp.ErrUnauthorized) { … }
//
// Gophercloud handles status codes as before: it logs in again after a 401, and
// tokens.Validate, for example, returns false for a 404. errors.As still finds
// gophercloud's own errors.
//
// For gophercloud v1 and the SDKs that derive from it, use package
// [github.com/iamhttp/iamhttp/iamsdk]. Package iamgophercloud is built on iamsdk.
package iamgophercloud

import (
	"context"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/iamsdk"
)

// Configure makes p send its requests through t, sets t.PassThrough, and passes most of
// p's errors through [Wrap]. It also switches off gophercloud's own back-off for 429 and
// 498, whose retries would multiply t's. Call Configure once, before
// openstack.Authenticate, so that it also applies to logging in.
//
// If t is nil, Configure uses a Transport with the default settings. If t.Base is nil,
// Configure sets it to the RoundTripper that p already has. Several clients may share t
// if they have the same RoundTripper (or none), because t keeps the first client's
// RoundTripper. If p has a RetryFunc, that function is still called first, and any error
// that it returns is passed to Wrap. It must not retry what t retries, such as a 429,
// because the retries would multiply. If p is nil, Configure does nothing.
func Configure(p *gophercloud.ProviderClient, t *iamhttp.Transport) {
	if p == nil {
		return
	}
	iamsdk.Install(&p.HTTPClient, t, iamsdk.Gophercloud())
	p.RetryBackoffFunc = nil
	retry := p.RetryFunc
	p.RetryFunc = func(ctx context.Context, method, url string, options *gophercloud.RequestOpts, err error, failCount uint) error {
		if retry != nil {
			if err = retry(ctx, method, url, options, err, failCount); err == nil {
				return nil // gophercloud then sends the request again
			}
		}
		return Wrap(err)
	}
}

// Wrap adds the typed error to a gophercloud error: the *[iamhttp.StatusError] of the
// response that caused the error, with the number of attempts and the reason for
// stopping. See [iamsdk.Wrap] for details.
//
// Configure makes gophercloud call Wrap for most errors. Configure cannot do so if
// gophercloud fails to log in again, because gophercloud then returns a
// *gophercloud.ErrUnableToReauthenticate without calling RetryFunc. Pass that error to
// Wrap yourself. In that case, the typed error comes from the login: a *StatusError or,
// if the gate refused the login, a *[iamhttp.NotSentError]. If the login got no response,
// the typed error is the *StatusError of the 401 that led to the login.
func Wrap(err error) error { return iamsdk.Wrap(err) }
