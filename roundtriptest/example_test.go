package roundtriptest_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/roundtriptest"
)

// t stands in for the parameter of your test function.
var t *testing.T

// This test shows the typical use of package roundtriptest. The README contains a copy.
func TestMyTransportObeysTheContract(t *testing.T) {
	roundtriptest.Run(t, func(base http.RoundTripper) http.RoundTripper {
		return &iamhttp.Transport{Base: base, PassThrough: true} // yours
	}, roundtriptest.Options{Retries: http.StatusTooManyRequests})
}

// Use the zero Options for a wrapper that sends each request once and returns the
// result.
func Example() {
	roundtriptest.Run(t, func(base http.RoundTripper) http.RoundTripper {
		return base
	}, roundtriptest.Options{})
}

// Set Retries to a status that you retry. If Retries is 0, the retries of a RoundTripper
// are not checked.
func ExampleRun() {
	roundtriptest.Run(t, func(base http.RoundTripper) http.RoundTripper {
		return &iamhttp.Transport{Base: base, PassThrough: true}
	}, roundtriptest.Options{Retries: http.StatusTooManyRequests})
}

func ExampleOptions() {
	// This Transport is in error mode, and its callers share a gate.
	roundtriptest.Run(t, func(base http.RoundTripper) http.RoundTripper {
		return &iamhttp.Transport{Base: base, Gate: new(gate.Adaptive)}
	}, roundtriptest.Options{StatusErrors: true, Retries: http.StatusTooManyRequests, Shared: true})
}

func ExampleTraps() {
	for trap := range roundtriptest.Traps() {
		fmt.Println(trap.Name)
		break
	}
	// Output: RoundTrip returns either a response or an error
}

// To leave out a clause that your RoundTripper breaks on purpose, skip its trap by name.
func ExampleTrap() {
	wrap := func(base http.RoundTripper) http.RoundTripper { return base }
	for trap := range roundtriptest.Traps() {
		if trap.Name == "CloseIdleConnections reaches the base" {
			continue
		}
		t.Run(trap.Name, func(t *testing.T) {
			if err := trap.Check(t, wrap, roundtriptest.Options{}); err != nil {
				t.Log(err, trap.Clause)
			}
		})
	}
}

func ExampleTrap_Check() {
	for trap := range roundtriptest.Traps() {
		err := trap.Check(t, func(base http.RoundTripper) http.RoundTripper { return base }, roundtriptest.Options{})
		fmt.Println(trap.Name, err) // err is nil, wraps ErrNotApplicable, or describes what went wrong
	}
}
