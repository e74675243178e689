package iamhttp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/iamtest"
)

// A counter is a Gate around another one, which sees what leaves and what is
// refused. The decisions stay with the other.
type counter struct {
	iamhttp.Gate
	left, refused int
}

func (c *counter) Wait(ctx context.Context, key string, resend int) (iamhttp.Ticket, error) {
	ticket, err := c.Gate.Wait(ctx, key, resend)
	if err == nil {
		c.left++ // one caller here; with more this needs a lock
	}
	return ticket, err
}

func (c *counter) Observe(key string, ticket iamhttp.Ticket, throttled bool, retryAfter time.Duration) {
	if throttled {
		c.refused++
	}
	c.Gate.Observe(key, ticket, throttled, retryAfter)
}

func ExampleGate() {
	var service iamtest.Server
	service.Next(iamtest.Throttled(0))
	gate := &counter{Gate: new(iamhttp.AdaptiveGate)}
	client := &http.Client{Transport: &iamhttp.Transport{Base: &service, Gate: gate}}
	for range 3 {
		resp, err := client.Get("https://iam.example/v3/users")
		if err != nil {
			fmt.Println(err)
			return
		}
		resp.Body.Close()
	}
	fmt.Println("left", gate.left, "refused", gate.refused)
	// Output: left 4 refused 1
}

// What does not go through a Transport can use the gate by hand.
func ExampleAdaptiveGate_Wait() {
	gate := new(iamhttp.AdaptiveGate)
	call := func(ctx context.Context) error {
		ticket, err := gate.Wait(ctx, "account", 0)
		if err != nil {
			return err
		}
		throttled, retryAfter := true, time.Minute // what came of the call
		gate.Observe("account", ticket, throttled, retryAfter)
		return errors.New("throttled")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	fmt.Println(call(ctx))
	if e, ok := errors.AsType[*iamhttp.GateError](call(ctx)); ok {
		fmt.Println(e.Err, "| come back in a minute:", e.RetryAfter > 59*time.Second)
	}
	// Output:
	// throttled
	// it cannot leave before its deadline | come back in a minute: true
}

// Whoever knows from elsewhere that the account is throttled can tell the gate.
func ExampleAdaptiveGate_Observe() {
	gate := new(iamhttp.AdaptiveGate)
	ticket, err := gate.Wait(context.Background(), "account", 0)
	if err != nil {
		return
	}
	gate.Observe("account", ticket, true, time.Hour)

	_, err = gate.Wait(context.Background(), "account", 0)
	refusal, _ := errors.AsType[*iamhttp.GateError](err)
	fmt.Println(refusal.Err)
	// Output: the pause is longer than MaxPause
}

func ExampleGateError() {
	gate := new(iamhttp.AdaptiveGate)
	gate.MaxPause = time.Second
	var service iamtest.Server
	service.Next(iamtest.Throttled(time.Hour))
	client := &http.Client{Transport: &iamhttp.Transport{Base: &service, Gate: gate}}
	for range 2 {
		_, err := client.Get("https://iam.example/v3/users")
		e, _ := errors.AsType[*iamhttp.StatusError](err)
		refusal, refused := errors.AsType[*iamhttp.GateError](err)
		fmt.Println(e.Stop, "|", refused)
		if refused {
			fmt.Println(refusal.Err)
		}
	}
	// Output:
	// wait longer than allowed | false
	// refused by the gate | true
	// the pause is longer than MaxPause
}
