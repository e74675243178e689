package iamsdk

import "github.com/iamhttp/iamhttp"

// Options lists the behavior of an SDK that cannot be switched off, so that [Install] can
// work around it. Use the function of this package for your SDK, such as
// [GopherTelekomCloud]. The zero value is for an SDK without such behavior.
type Options struct {
	// EndlessLogin says that the SDK logs in again after each 401, without end. Install
	// then ends a call with a *[iamhttp.StatusError] at its second 401, if a login has
	// succeeded in between. The login may be another caller's. This requires that the SDK
	// sends the same request again in the same goroutine, as all of these SDKs do. If you
	// set AllowReauth to false and renew the token yourself, a call may end this way at
	// its first 401, if an identical call before it got a 401.
	EndlessLogin bool

	// LoginHangs says that a login never returns if it is refused with a 401 while a
	// request is waiting for it: the SDK starts another login, or waits for a lock that
	// it already holds. Install then ends the call with a *[iamhttp.StatusError] at such
	// a 401.
	//
	// Install cannot see whether a request is waiting. It assumes that none is waiting
	// until a request that has a token, or that follows a login, gets a 401. From then
	// on it treats each login as one that a request is waiting for, even if AllowReauth
	// is false. A login with an access key begins with other requests. They count as
	// well: they have no token, and the same goroutine got a 401 before them.
	LoginHangs bool

	// Resends lists the statuses after which the SDK sends any request once more,
	// even a POST, after 500 ms and in the same goroutine. If the request must not be
	// sent twice, nothing is sent: the SDK gets the first response again, from memory,
	// with at most 64 KiB of its body. A request that may be a different one is sent:
	// one whose body is a stream, which cannot be compared, or one with a token that
	// was renewed in between.
	Resends []iamhttp.Code

	// ResendsUnanswered says that the RoundTripper of the client sends a request
	// again if there was no response, whatever the method, and without its body.
	// Install limits these resends to requests without a body that may be sent twice (GET,
	// HEAD, PUT, DELETE and the like). If the Transport has RetryConnectionErrors,
	// Install prevents all such resends. Install finds the RoundTripper below the
	// client's own in an exported field, such as Rt; if there is no such field, nothing
	// changes.
	ResendsUnanswered bool

	// ClosesConnections says that the SDK sets Close in each request, so that each one
	// opens a new connection. Install unsets Close. As in any client that reuses
	// connections, a POST, PUT or DELETE then fails if the service closes the connection
	// just as the request is sent.
	ClosesConnections bool
}

// GopherTelekomCloud returns the Options for gophertelekomcloud, as of November 2026.
// After a 401, ProviderClient.Request calls itself without limit, under a lock that a
// refused login needs as well. It sends a request once more 500 ms after a 502 or 504. It
// sets Close in each request. Switch off its own retries of a 429. Set both fields for
// that, because the SDK would otherwise set them while other goroutines read them:
//
//	provider.MaxBackoffRetries = new(int)
//	provider.BackoffRetryTimeout = new(time.Duration)
//
// Leave RetryCount and RetryTimeout of each request unset. If you log in with a TokenID,
// set AllowReauth to false. Otherwise the SDK waits for its own lock at the first 401,
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
// terraform-provider-opentelekomcloud, as of November 2026. They are those of
// [GopherTelekomCloud] plus ResendsUnanswered, because the provider's RoundTripper sends
// unanswered requests again. Set the two fields that GopherTelekomCloud names as well.
func ProviderOpenTelekomCloud() Options {
	o := GopherTelekomCloud()
	o.ResendsUnanswered = true
	return o
}

// GolangSDK returns the Options for github.com/chnsz/golangsdk, as of November 2026. A
// refused login waits for a lock, and the request that waits for the login holds that
// lock. Leave its RetryBackoffFunc nil.
func GolangSDK() Options {
	return Options{LoginHangs: true}
}

// ProviderHuaweiCloud returns the Options for the client of
// terraform-provider-huaweicloud, as of November 2026. They are those of [GolangSDK]
// plus ResendsUnanswered, because the provider's RoundTripper sends unanswered requests
// again. Set RetryBackoffFunc to nil.
func ProviderHuaweiCloud() Options {
	o := GolangSDK()
	o.ResendsUnanswered = true
	return o
}

// Gophercloud returns the Options for gophercloud, v1.14.1 and v2.15.0. They are
// empty: gophercloud logs in again at most once per call, with a separate client, and
// retries nothing unless RetryFunc or RetryBackoffFunc says so. Leave RetryBackoffFunc
// nil.
func Gophercloud() Options { return Options{} }
