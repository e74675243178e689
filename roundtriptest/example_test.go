package roundtriptest_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/roundtriptest"
)

// In a test of your own, t is the one that it is given.
var t *testing.T

// A wrapper that sends once and returns what comes is judged by the zero
// Options.
func Example() {
	roundtriptest.Run(t, func(base http.RoundTripper) http.RoundTripper {
		return base
	}, roundtriptest.Options{})
}

func ExampleRun() {
	roundtriptest.Run(t, func(base http.RoundTripper) http.RoundTripper {
		return &iamhttp.Transport{Base: base, PassThrough: true}
	}, roundtriptest.Options{Retries: http.StatusTooManyRequests})
}

func ExampleOptions() {
	// A Transport in error mode whose callers share a gate.
	roundtriptest.Run(t, func(base http.RoundTripper) http.RoundTripper {
		return &iamhttp.Transport{Base: base, Gate: new(gate.Adaptive)}
	}, roundtriptest.Options{StatusErrors: true, Retries: http.StatusTooManyRequests, Shared: true})
}

func ExampleTraps() {
	for trap := range roundtriptest.Traps() {
		fmt.Println(trap.Name)
		break
	}
	// Output: an answer is a response or else an error
}

// What a RoundTripper breaks knowingly is left out by its name.
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
		fmt.Println(trap.Name, err) // nil, ErrNotApplicable, or what went wrong
	}
}
