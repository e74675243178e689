package iamsdk

import "github.com/iamhttp/iamhttp"

// Options lists the behaviors of an SDK that cannot be switched off, so that [Install]
// can work around them. Use the function that this package has for your SDK, such as
// [GopherTelekomCloud]. The zero value is for an SDK without any of these behaviors.
type Options struct {
	// EndlessLogin says that the SDK logs in again after each 401, without end. Install
	// then ends a call at its second 401 with a *[iamhttp.StatusError]. A 401 to a
	// request without a token does not count, if the SDK has ever logged in: it sends
	// such requests while another call logs in.
	//
	// Install recognizes a call by the stack of its goroutine: the function of the SDK
	// that calls http.Client calls itself to send a request again, as in all these SDKs.
	EndlessLogin bool

	// LoginHangs says that a login never returns if it is refused with a 401 while a call
	// waits for it: the SDK starts another login, or waits for a lock that it already
	// holds. Install then ends the login at such a 401 with a *[iamhttp.StatusError], and
	// so the call. This holds for each request of the login, as a login with an access
	// key begins with others than the one for a token. A login that no call waits for,
	// such as the first one, gets the 401 itself. As for EndlessLogin, the stack shows
	// whether a call is waiting.
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
