package iamsdk_test

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/iamsdk"
	"github.com/iamhttp/iamhttp/iamtest"
)

// A telekomClient has the fields of gophertelekomcloud's ProviderClient that matter here,
// and a huaweiClient has those of golangsdk's.
type (
	telekomClient struct {
		HTTPClient          http.Client
		MaxBackoffRetries   *int
		BackoffRetryTimeout *time.Duration
	}
	huaweiClient struct {
		HTTPClient       http.Client
		RetryBackoffFunc func(retries uint) error
	}
)

// shared is one gate for all of an account's clients.
var shared = new(gate.Adaptive)

func Example() {
	var service iamtest.Server
	service.On("/v3/groups/{id}", iamtest.Keystone(404, "Could not find group."))
	sdk := kinds[0].newStandIn(&service) // behaves like gophertelekomcloud

	sdk.HTTPClient.Timeout = time.Minute // for each call, waits included
	iamsdk.Install(&sdk.HTTPClient, nil, iamsdk.GopherTelekomCloud())
	_, err := sdk.Request("GET", "/groups/g", "")
	err = iamsdk.Wrap(err)

	var own default404 // the SDK's error can still be found
	fmt.Println(errors.As(err, &own), errors.Is(err, iamhttp.ErrNotFound))
	var e *iamhttp.StatusError
	if errors.As(err, &e) {
		fmt.Println(e.Message, e.Attempts, e.Stop)
	}
	// Output:
	// true true
	// Could not find group. 1 not retryable
}

// Install a Transport in each client, and share one gate. Without a shared gate, when one
// client gets a 429, the others keep sending.
func ExampleInstall_manyClients() {
	shared := new(gate.Adaptive) // one for all of an account's clients
	install := func(client *http.Client) {
		client.Timeout = time.Minute // for each call, waits included
		iamsdk.Install(client, &iamhttp.Transport{Gate: shared}, iamsdk.GopherTelekomCloud())
	}
	isNotFound := func(err error) bool {
		return errors.Is(iamsdk.Wrap(err), iamhttp.ErrNotFound)
	}
	for range 3 {
		install(&new(telekomClient).HTTPClient)
	}
	err := unexpected{URL: "https://iam.example/v3/users/u", Method: "GET", Actual: 404}
	// Without Wrap, the SDK's error does not hold the typed error.
	fmt.Println(errors.Is(err, iamhttp.ErrNotFound), isNotFound(err))
	// Output: false true
}

// Set MaxBackoffRetries and BackoffRetryTimeout. Otherwise, gophertelekomcloud sets them
// itself, possibly while other goroutines are reading them, and retries on a 429 on top of
// the Transport's retries.
func ExampleInstall() {
	provider := new(telekomClient)

	provider.HTTPClient.Timeout = time.Minute // for each call, waits included
	iamsdk.Install(&provider.HTTPClient, &iamhttp.Transport{Gate: shared}, iamsdk.GopherTelekomCloud())
	provider.MaxBackoffRetries = new(int)
	provider.BackoffRetryTimeout = new(time.Duration)
}

func ExampleWrap() {
	err := iamsdk.Wrap(unexpected{URL: "https://iam.example/v3/users", Method: "GET", Actual: 403})
	fmt.Println(errors.Is(err, iamhttp.ErrForbidden))
	// Output: true
}

func ExampleOptions() {
	// These Options are for a fork of gophercloud that logs in again without limit and
	// reuses connections.
	o := iamsdk.Options{EndlessLogin: true}
	iamsdk.Install(&http.Client{Timeout: time.Minute}, nil, o)
}

func ExampleGopherTelekomCloud() {
	o := iamsdk.GopherTelekomCloud()
	fmt.Println(o.Resends)
	// Output: [502 Bad Gateway 504 ServerTimeout]
}

func ExampleProviderOpenTelekomCloud() {
	client := new(telekomClient)

	client.HTTPClient.Timeout = 10 * time.Minute
	client.MaxBackoffRetries = new(int)
	client.BackoffRetryTimeout = new(time.Duration)
	iamsdk.Install(&client.HTTPClient, &iamhttp.Transport{Gate: shared}, iamsdk.ProviderOpenTelekomCloud())
}

func ExampleGolangSDK() {
	client := new(huaweiClient)

	client.HTTPClient.Timeout = time.Minute
	client.RetryBackoffFunc = nil
	iamsdk.Install(&client.HTTPClient, &iamhttp.Transport{Gate: shared}, iamsdk.GolangSDK())
}

func ExampleProviderHuaweiCloud() {
	client := new(huaweiClient)

	client.HTTPClient.Timeout = 10 * time.Minute
	client.RetryBackoffFunc = nil
	iamsdk.Install(&client.HTTPClient, &iamhttp.Transport{Gate: shared}, iamsdk.ProviderHuaweiCloud())
}

func ExampleGophercloud() {
	client := &http.Client{Timeout: time.Minute} // &provider.HTTPClient
	iamsdk.Install(client, nil, iamsdk.Gophercloud())
}

// The OBS SDK needs no workarounds, only an http.Client with a Transport.
func Example_obs() {
	own := &http.Client{
		Transport: &iamhttp.Transport{Gate: shared, PassThrough: true},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // the SDK follows redirects itself
		},
	}
	// obs.New(accessKey, secretKey, endpoint, obs.WithHttpClient(own), obs.WithMaxRetryCount(0))

	own.CloseIdleConnections()
}
