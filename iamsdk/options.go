package iamsdk

import "github.com/iamhttp/iamhttp"

// Options lists the behaviors of an SDK that cannot be switched off, so that [Install]
// can work around them. Use the function that this package has for your SDK, such as
// [GopherTelekomCloud]. The zero value is for an SDK without any of these behaviors.
type Options struct {
	// EndlessLogin says that the SDK logs in again after each 401, without end. Install
	// then ends a call with a *[iamhttp.StatusError] at its second 401, if a login by
	// this or another caller has succeeded in between. This requires that the SDK sends
	// the same request again in the same goroutine, as all SDKs named in this package do.
	// If you set AllowReauth to false and renew the token yourself, a call may end this
	// way at its first 401, if an earlier, identical call got a 401 too.
	EndlessLogin bool

	// LoginHangs says that a login never returns if it is refused with a 401 while a
	// request is waiting for it: the SDK starts another login, or waits for a lock that
	// it already holds. Install then ends the call with a *[iamhttp.StatusError] at such
	// a 401.
	//
	// Install cannot see whether a request is waiting. It assumes that none is waiting
	// until a request that has a token, or that follows a login, gets a 401. From then on
	// it treats each login as one that a request is waiting for, even if AllowReauth is
	// false. A login with an access key begins with other requests. Install recognizes
	// these requests: they have no token, and the same goroutine got a 401 before them.
	LoginHangs bool

	// Resends lists the statuses after which the SDK sends any request once more, even a
	// POST, after 500 ms and in the same goroutine. If the request must not be sent
	// twice, Install prevents the second send: the SDK gets the first response again,
	// from memory, with at most 64 KiB of its body. Install still sends a request that
	// may be a different one, because its body is a stream, which cannot be compared, or
	// because its token was renewed in between.
	Resends []iamhttp.Code

	// ResendsUnanswered says that the client's RoundTripper resends a request that got no
	// response, whatever its method, and without its body. Install limits these resends
	// to requests without a body that may be sent twice (GET, HEAD, PUT, DELETE and the
	// like). If RetryConnectionErrors of the Transport is set, Install prevents these
	// resends too. To do so, Install needs an exported field of the client's RoundTripper
	// that holds the next RoundTripper, such as Rt; without such a field, Install cannot
	// prevent any resends.
	ResendsUnanswered bool

	// ClosesConnections says that the SDK sets Close in each request, so that each one
	// opens a new connection. Install clears Close. As in any client that reuses
	// connections, a POST, PUT or DELETE then fails if the service closes the connection
	// just as the request is sent.
	ClosesConnections bool
}

// GopherTelekomCloud returns the Options for gophertelekomcloud, as of November 2026.
// After a 401, ProviderClient.Request calls itself without limit, under a lock that a
// refused login needs as well. The SDK sends a request once more 500 ms after a 502 or
// 504, and sets Close in each request. Switch off its own retries of a 429. To do so, set
// both of the fields below, because the SDK would otherwise set them while other
// goroutines read them:
//
//	provider.MaxBackoffRetries = new(int)
//	provider.BackoffRetryTimeout = new(time.Duration)
//
// Leave RetryCount and RetryTimeout of each request unset. If you log in with a TokenID,
// set AllowReauth to false. Otherwise, at the first 401, the SDK waits forever for a lock
// that it holds itself, before it sends anything.
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
// refused login waits for a lock that is held by the request waiting for the login. Leave
// its RetryBackoffFunc nil.
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
