package iamsdk

import "github.com/iamhttp/iamhttp"

// Options lists the behavior of an SDK that cannot be switched off, so that [Install] can
// work around it. Use the function of this package for your SDK, such as
// [GopherTelekomCloud]. The zero value is for an SDK without such behavior.
type Options struct {
	// EndlessLogin says that the SDK logs in again after each 401, without end. The
	// second 401 of a call, after a login that succeeded, then ends the call with a
	// *[iamhttp.StatusError]. The login may be another caller's. The SDK has to
	// send the same request again in the same goroutine, as all of these do. If you set
	// AllowReauth to false and renew the token yourself, a call may end so at its first
	// 401, after an equal one that was answered 401.
	EndlessLogin bool

	// LoginHangs says that a login never returns if it is refused with a 401 while a
	// request is waiting for it: the SDK starts another login, or waits for a lock that
	// it holds. Such a 401 then ends the call with a *[iamhttp.StatusError]. Nothing
	// tells whether a request is waiting. The first login is left alone, and so are
	// those after it until a request that has a token, or follows a login, is answered
	// 401. From then on each login counts as one that a request is waiting for, even if
	// AllowReauth is false. A login with an access key begins with other requests. These
	// count as well: they have no token, and the same goroutine got a 401 before them.
	LoginHangs bool

	// Resends lists the statuses after which the SDK sends any request once more,
	// even a POST, after 500 ms and in the same goroutine. If a request must not be
	// sent twice, the SDK then gets the first response again, from memory, with at
	// most 64 KiB of its body, and nothing is sent. If it may be another request, it
	// is sent: if the body is a stream, which cannot be compared,
	// or the token has been renewed in between.
	Resends []iamhttp.Code

	// ResendsUnanswered says that the RoundTripper of the client sends a request
	// again if there was no response, whatever the method, and without its body.
	// Install limits this to requests without a body that may be sent twice (GET,
	// HEAD, PUT, DELETE and the like), and to none if the Transport has
	// RetryConnectionErrors. Install finds the RoundTripper below the client's own in
	// an exported field, such as Rt; if there is no such field, nothing changes.
	ResendsUnanswered bool

	// ClosesConnections says that the SDK sets Close in each request, which costs a
	// new connection each time. Install unsets it. As in any client that keeps its
	// connections, a POST, PUT or DELETE then fails if the service closes the connection
	// just as the request is sent.
	ClosesConnections bool
}

// GopherTelekomCloud returns the Options for gophertelekomcloud, as of November
// 2026: after a 401 ProviderClient.Request calls itself without counting, under a
// lock that the login needs as well if it is refused; it sends 502 and 504 once more
// after 500 ms; it sets Close. Switch its retries of a 429 off yourself, and set both
// fields, which it would otherwise set while other goroutines read them:
//
//	provider.MaxBackoffRetries = new(int)
//	provider.BackoffRetryTimeout = new(time.Duration)
//
// Leave RetryCount and RetryTimeout of a request unset. If you log in with a TokenID,
// set AllowReauth to false: the SDK would wait for its own lock at the first 401,
// before it sends anything.
func GopherTelekomCloud() Options {
	return Options{
		EndlessLogin:      true,
		LoginHangs:        true,
		Resends:           []iamhttp.Code{iamhttp.ErrBadGateway, iamhttp.ErrGatewayTimeout},
		ClosesConnections: true,
	}
}

// ProviderOpenTelekomCloud returns the Options for the client of
// terraform-provider-opentelekomcloud, as of November 2026: those of
// [GopherTelekomCloud], with a RoundTripper that sends unanswered requests again. Set
// the two fields that are named there as well.
func ProviderOpenTelekomCloud() Options {
	o := GopherTelekomCloud()
	o.ResendsUnanswered = true
	return o
}

// GolangSDK returns the Options for github.com/chnsz/golangsdk, as of November 2026:
// a refused login waits for a lock that is held by the request that waits for the
// login. Leave its RetryBackoffFunc nil.
func GolangSDK() Options {
	return Options{LoginHangs: true}
}

// ProviderHuaweiCloud returns the Options for the client of
// terraform-provider-huaweicloud, as of November 2026: those of [GolangSDK], with a
// RoundTripper that sends unanswered requests again. Set RetryBackoffFunc to nil.
func ProviderHuaweiCloud() Options {
	o := GolangSDK()
	o.ResendsUnanswered = true
	return o
}

// Gophercloud returns the Options for gophercloud, v1.14.1 and v2.15.0. They are
// empty: it logs in once for a call, with a client of its own, and retries nothing
// unless RetryFunc or RetryBackoffFunc says so. Leave RetryBackoffFunc nil.
func Gophercloud() Options { return Options{} }
