package iamhttp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/iamtest"
)

// A counter wraps a Gate, which makes the decisions, and counts how many requests are
// sent and how many of them are throttled.
type counter struct {
	gate.Gate
	sent, throttled int
}

func (c *counter) Wait(ctx context.Context, r gate.Request) (gate.Ticket, error) {
	ticket, err := c.Gate.Wait(ctx, r)
	if err == nil {
		c.sent++ // no lock, because this example has only one caller
	}
	return ticket, err
}

func (c *counter) Observe(r gate.Request, t gate.Ticket, o gate.Outcome) {
	if o.Result == gate.Throttled {
		c.throttled++
	}
	c.Gate.Observe(r, t, o)
}

// Your own Gate can wrap an existing one.
func ExampleTransport_gateOfYourOwn() {
	var service iamtest.Server
	service.Next(iamtest.Throttled(0))
	counted := &counter{Gate: new(gate.Adaptive)}
	client := &http.Client{
		Transport: &iamhttp.Transport{Base: &service, Gate: counted},
		Timeout:   time.Minute,
	}
	for range 3 {
		resp, err := client.Get("https://iam.example/v3/users")
		if err != nil {
			fmt.Println(err)
			return
		}
		resp.Body.Close()
	}
	fmt.Println("sent", counted.sent, "throttled", counted.throttled)
	// Output: sent 4 throttled 1
}

// The service asks for a wait of one minute, but the timeout of each call is 30 seconds.
// With a gate, only the first of the three calls sends a request; without a gate, all
// three would. The host serves many accounts, so GateKey returns a key for the account
// whose limit the request counts against.
func ExampleTransport_gate() {
	s := &iamtest.Server{}
	s.Next(iamtest.Throttled(time.Minute))
	service := httptest.NewServer(s)
	defer service.Close()

	shared := new(gate.Adaptive) // one for all clients of the process
	client := &http.Client{
		Transport: &iamhttp.Transport{
			Gate:    shared,
			GateKey: func(r *http.Request) string { return gate.KeyByHostAndMethod(r) + " " + r.Header.Get("X-Domain-Id") },
		},
		Timeout: 30 * time.Second,
	}
	for range 3 {
		req, _ := http.NewRequest("GET", service.URL+"/v3/users", nil)
		req.Header.Set("X-Domain-Id", "d78cbac186b744899480f25bd022f468")
		_, err := client.Do(req)
		var answered *iamhttp.StatusError
		var notSent *iamhttp.NotSentError
		switch {
		case errors.As(err, &answered):
			fmt.Println("sent", answered.Attempts, "time, then:", answered.Stop)
		case errors.As(err, &notSent):
			fmt.Println("not sent:", errors.Is(err, gate.ErrDeadline))
		}
	}
	fmt.Println("requests that arrived:", len(s.Requests()))
	// Output:
	// sent 1 time, then: deadline before end of wait
	// not sent: true
	// not sent: true
	// requests that arrived: 1
}

// Two tenants share a host, and each has its own limit. Without GateKey, the gate assumes
// one limit for all writes to the host, so if one tenant's deletion is throttled, the
// other's is held back too.
func ExampleTransport_gateKey() {
	deleteUser := func(client *http.Client, tenant string) {
		req, _ := http.NewRequest("DELETE", "https://iam.example/v3/users/alice", nil)
		req.Header.Set("X-Domain-Id", tenant)
		resp, err := client.Do(req)
		if err != nil {
			fmt.Println(tenant+": throttled:", errors.Is(err, iamhttp.ErrTooManyRequests))
			return
		}
		resp.Body.Close()
		fmt.Println(tenant+":", resp.Status)
	}
	perTenant := func(r *http.Request) string { return gate.KeyByHostAndMethod(r) + " " + r.Header.Get("X-Domain-Id") }
	for _, key := range []func(*http.Request) string{nil, perTenant} {
		service := new(iamtest.Server)
		service.Next(iamtest.Throttled(time.Hour)) // throttles tenant a; later requests get a 200
		client := &http.Client{
			Transport: &iamhttp.Transport{Base: service, Gate: new(gate.Adaptive), GateKey: key},
			Timeout:   30 * time.Second,
		}
		fmt.Println("with GateKey:", key != nil)
		deleteUser(client, "tenant a")
		deleteUser(client, "tenant b")
	}
	// Output:
	// with GateKey: false
	// tenant a: throttled: true
	// tenant b: throttled: true
	// with GateKey: true
	// tenant a: throttled: true
	// tenant b: 200 OK
}

// A call fails at once if the gate's pause is longer than MaxWait. Whether the service or
// the gate refused the request, the error matches ErrTooManyRequests, and RetryAfter
// returns how long to wait before trying again.
func ExampleNotSentError() {
	var service iamtest.Server
	service.Next(iamtest.Throttled(time.Hour))
	client := &http.Client{
		Transport: &iamhttp.Transport{Base: &service, Gate: new(gate.Adaptive), MaxWait: time.Second},
		Timeout:   2 * time.Hour,
	}
	for range 2 {
		_, err := client.Get("https://iam.example/v3/users")
		wait, _ := iamhttp.RetryAfter(err)
		fmt.Println(errors.Is(err, iamhttp.ErrTooManyRequests), "| sent:", !errors.As(err, new(*iamhttp.NotSentError)),
			"| try again in", wait.Round(time.Hour))
	}
	// Output:
	// true | sent: true | try again in 1h0m0s
	// true | sent: false | try again in 1h0m0s
}
