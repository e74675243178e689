package iamsdk

import (
	"slices"

	"github.com/iamhttp/iamhttp"
)

// Options lists the behaviors of an SDK that [Install] has to work around, because they
// cannot be switched off. To get the Options for your SDK, call the function that is
// named after it, such as [GopherTelekomCloud]. The zero value is for an SDK without any
// of these behaviors.
type Options struct {
	// EndlessLogin means that the SDK logs in again after every 401, without limit. The
	// workaround ends a call on its second 401, whether for its request or for its login,
	// with a *[iamhttp.StatusError]. If the request had no token because another call was
	// logging in, the 401 does not count, up to ten times after the call's first 401.
	//
	// The workaround uses the goroutine's stack to find out which requests belong to the
	// same call. It works only if the SDK sends all requests of a call in one goroutine,
	// except those of the login, and resends in a loop or through a function that calls
	// itself. This function must be in the package that calls http.Client: a function of
	// any other package that calls itself counts as the program's, so its next request
	// belongs to a new call. If the program's code is in the SDK's package, the workaround
	// may mistake a program that calls itself for an SDK that does.
	//
	// The workaround can hardly tell an SDK that resends in a loop from a program that makes
	// the same call in a loop. After a login in the same goroutine that returned a token, it
	// assumes a resend. If there was no login at all, the requests belong to separate calls
	// if they have the same token. Otherwise, the twelfth 401 in a row ends its call.
	EndlessLogin bool

	// LoginHangs means that a login never returns if it gets a 401 while a call that got
	// a 401 is waiting for it: the SDK starts another login, or waits for a lock that it
	// already holds. The workaround turns such a 401 into a *[iamhttp.StatusError], which
	// ends the login, and thereby the call, unless the login can do without the response.
	// It does so for every request of the login, because a login with an access key sends
	// other requests before it asks for a token. In a login that runs in a separate
	// goroutine, it does so only for the token request. If no call is waiting for the
	// login, as with the first login, the SDK usually gets the 401 itself. As with
	// EndlessLogin, the workaround uses the stack to find out whether a call is waiting.
	// It may mistake a call that ended with a 401 in another goroutine for one that is
	// waiting.
	LoginHangs bool

	// Resends lists the status codes after which the SDK sends any request once more,
	// even a POST. If the request must not be sent twice (a POST or PATCH must not, except
	// to log in), the workaround does not send it again: the SDK gets the first response
	// once more, from memory, with at most 64 KiB of its body. At most 1,000 responses are
	// kept at a time, each for a minute and for one resend; without a kept response, the
	// resend is sent. The workaround recognizes a resend by the method, the URL, the body
	// (its length and first MiB, if GetBody can replay it) and, as with EndlessLogin, the
	// stack, but only if the SDK's functions call themselves: in a loop, a resend looks
	// like a new call, and is sent.
	Resends []iamhttp.Code

	// ResendsUnanswered means that the client's RoundTripper resends a request that got
	// no response, whatever its method, and without its body. The workaround limits these
	// resends to requests without a body that may be sent twice (GET, HEAD, PUT, DELETE
	// and the like). If the Transport's RetryConnectionErrors is set, the resends of
	// those requests are prevented too. The workaround works only if the client's
	// RoundTripper, or one inside it, has an exported field, such as Rt, that holds the
	// next RoundTripper; the field must not be nil, and must have an interface type. The
	// RoundTripper must pass on the request's method and path, and its context or one that
	// is derived from it.
	ResendsUnanswered bool

	// ClosesConnections means that the SDK sets Close on each request, so that every
	// request opens a new connection. The workaround clears Close. As with any client
	// that reuses connections, a POST, PUT or DELETE can then fail because the service
	// closes the connection just as the request is sent. If the SDK neither reads nor closes
	// a response's body, as gophertelekomcloud without a JSONResponse, the connection is not
	// reused, and stays open until the service closes it or the http.Client's Timeout ends.
	ClosesConnections bool
}

// with returns the Options of an SDK that has the behaviors of both o and p.
func (o Options) with(p Options) Options {
	return Options{
		EndlessLogin:      o.EndlessLogin || p.EndlessLogin,
		LoginHangs:        o.LoginHangs || p.LoginHangs,
		Resends:           slices.Concat(o.Resends, p.Resends),
		ResendsUnanswered: o.ResendsUnanswered || p.ResendsUnanswered,
		ClosesConnections: o.ClosesConnections || p.ClosesConnections,
	}
}

// GopherTelekomCloud returns the Options for gophertelekomcloud, as of November 2026.
// After every 401, ProviderClient.Request logs in, under a lock that a refused login also
// needs, and calls itself, without limit. The SDK resends a request once, 500 ms after a
// 502 or 504, and sets Close on each request. Leave RequestOpts.RetryCount and RetryTimeout
// nil: a RetryCount above its default of 1, or a RetryTimeout of about a minute or more, can
// send a POST twice. To switch off the SDK's own retries on a 429, set both of the following
// fields; if they are unset, the SDK sets them itself while other goroutines may be reading
// them:
//
//	provider.MaxBackoffRetries = new(int)
//	provider.BackoffRetryTimeout = new(time.Duration)
//
// If you log in with a TokenID, set AllowReauth to false. Otherwise, on the first 401, the
// SDK waits forever for a lock that it already holds. Install cannot prevent this
// deadlock, because the SDK starts to wait before it sends anything.
func GopherTelekomCloud() Options {
	return Options{
		EndlessLogin:      true,
		LoginHangs:        true,
		Resends:           []iamhttp.Code{iamhttp.ErrBadGateway, iamhttp.ErrGatewayTimeout},
		ClosesConnections: true,
	}
}

// ProviderOpenTelekomCloud returns the Options for the client of
// terraform-provider-opentelekomcloud, as of November 2026. These are the Options of
// [GopherTelekomCloud] plus ResendsUnanswered, because the provider's RoundTripper
// resends requests that got no response. Also set the two fields that are listed under
// GopherTelekomCloud.
func ProviderOpenTelekomCloud() Options {
	o := GopherTelekomCloud()
	o.ResendsUnanswered = true
	return o
}

// GolangSDK returns the Options for github.com/chnsz/golangsdk, as of November 2026.
// After a refused login, the SDK waits for a lock that is held by the request that needs
// the login. Leave the client's RetryBackoffFunc nil.
func GolangSDK() Options {
	return Options{LoginHangs: true}
}

// ProviderHuaweiCloud returns the Options for the client of
// terraform-provider-huaweicloud, as of November 2026. These are the Options of
// [GolangSDK] plus ResendsUnanswered, because the provider's RoundTripper resends
// requests that got no response. Set RetryBackoffFunc to nil.
func ProviderHuaweiCloud() Options {
	o := GolangSDK()
	o.ResendsUnanswered = true
	return o
}

// Gophercloud returns the Options for gophercloud, tested with v1.14.1 and v2.16.0. They
// are empty, because gophercloud logs in again at most once per call, with a separate
// client, and retries nothing unless you set RetryFunc or RetryBackoffFunc. Leave
// RetryBackoffFunc nil. A RetryFunc must not retry what the Transport retries, such as a
// 429, because the retries would multiply.
func Gophercloud() Options { return Options{} }
