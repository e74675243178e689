package gate_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
)

// Code that does not use a Transport can call the gate directly.
func Example() {
	shared := new(gate.Adaptive)
	r := gate.Request{Key: "account"}
	call := func(ctx context.Context) error {
		ticket, err := shared.Wait(ctx, r)
		if err != nil {
			return err // nothing was sent
		}
		// Send the request here. In this example, the service returns a 429 with
		// "Retry-After: 60".
		shared.Observe(r, ticket, gate.Outcome{Result: gate.Throttled, RetryAfter: time.Minute})
		return errors.New("throttled")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	fmt.Println(call(ctx))
	err := call(ctx)
	fmt.Println(errors.Is(err, gate.ErrDeadline))
	// Output:
	// throttled
	// true
}

// A pauser is a minimal gate: after a 429, it pauses the key for Retry-After or, without
// one, for a second.
type pauser struct {
	mu    sync.Mutex
	until map[string]time.Time // by key
}

func (p *pauser) Wait(ctx context.Context, r gate.Request) (gate.Ticket, error) {
	for {
		p.mu.Lock()
		left := time.Until(p.until[r.Key])
		p.mu.Unlock()
		if left <= 0 {
			return 0, nil
		}
		if r.MaxWait > 0 && left > r.MaxWait {
			return 0, &gate.Error{RetryAfter: left, Err: gate.ErrPaused}
		}
		select {
		case <-time.After(left):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (p *pauser) Observe(r gate.Request, _ gate.Ticket, o gate.Outcome) {
	if o.Result != gate.Throttled {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if until := time.Now().Add(cmp.Or(o.RetryAfter, time.Second)); until.After(p.until[r.Key]) {
		p.until[r.Key] = until
	}
}

// The pauser obeys Gate's contract; package gatetest checks that.
func ExampleGate() {
	var own gate.Gate = &pauser{until: make(map[string]time.Time)}
	ctx := context.Background()
	r := gate.Request{Key: "account", MaxWait: time.Minute}
	ticket, err := own.Wait(ctx, r)
	fmt.Println(err)
	own.Observe(r, ticket, gate.Outcome{Result: gate.Throttled, RetryAfter: time.Hour})
	_, err = own.Wait(ctx, r)
	fmt.Println(errors.Is(err, gate.ErrPaused))
	// Output:
	// <nil>
	// true
}

// One gate serves any number of accounts.
func ExampleAdaptive() {
	shared := new(gate.Adaptive)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	one, another := gate.Request{Key: "one account"}, gate.Request{Key: "another"}
	ticket, err := shared.Wait(ctx, one)
	if err != nil {
		fmt.Println(err)
		return
	}
	shared.Observe(one, ticket, gate.Outcome{Result: gate.Throttled, RetryAfter: time.Hour})

	_, err = shared.Wait(ctx, one)
	fmt.Println(errors.Is(err, gate.ErrDeadline))
	_, err = shared.Wait(ctx, another)
	fmt.Println(err)
	// Output:
	// true
	// <nil>
}

func ExampleAdaptive_Stats() {
	shared := new(gate.Adaptive)
	r := gate.Request{Key: "account"}
	if _, err := shared.Wait(context.Background(), r); err != nil {
		fmt.Println(err)
		return
	}
	s, ok := shared.Stats("account")
	fmt.Println(ok, s.Flying, s.Waiting, s.Throttled)
	// Output: true 1 0 false
}

func ExampleAdaptive_All() {
	shared := new(gate.Adaptive)
	r := gate.Request{Key: "account"}
	if _, err := shared.Wait(context.Background(), r); err != nil {
		fmt.Println(err)
		return
	}
	for key, s := range shared.All() {
		fmt.Printf("%s: %d in flight, %d waiting\n", key, s.Flying, s.Waiting)
	}
	// Output: account: 1 in flight, 0 waiting
}

func ExampleError() {
	shared := new(gate.Adaptive)
	r := gate.Request{Key: "account", MaxWait: time.Minute}
	ctx := context.Background()
	ticket, err := shared.Wait(ctx, r)
	if err != nil {
		fmt.Println(err)
		return
	}
	shared.Observe(r, ticket, gate.Outcome{Result: gate.Throttled, RetryAfter: time.Hour})

	_, err = shared.Wait(ctx, r)
	var refusal *gate.Error
	if errors.As(err, &refusal) {
		fmt.Println(refusal.Err)
		fmt.Println("come back in", refusal.RetryAfter.Round(time.Minute))
	}
	// Output:
	// pause is longer than MaxWait
	// come back in 1h0m0s
}

// A firstOnly wraps another gate and refuses retries.
type firstOnly struct{ gate.Gate }

func (f firstOnly) Wait(ctx context.Context, r gate.Request) (gate.Ticket, error) {
	if r.Resend > 0 {
		return 0, &gate.Error{Err: errors.New("no retries on Fridays")}
	}
	return f.Gate.Wait(ctx, r)
}

func ExampleRequest() {
	g := firstOnly{new(gate.Adaptive)}
	_, err := g.Wait(context.Background(), gate.Request{Key: "account", Resend: 0})
	fmt.Println(err)
	_, err = g.Wait(context.Background(), gate.Request{Key: "account", Resend: 1})
	fmt.Println(err)
	// Output:
	// <nil>
	// no retries on Fridays
}

// If you call a gate directly, convert each response to an outcome like this. A failure
// of the service says nothing about the limit, and neither does an error without a
// response.
func ExampleOutcome() {
	outcome := func(resp *http.Response) gate.Outcome {
		switch {
		case resp.StatusCode == http.StatusTooManyRequests:
			wait, _ := time.ParseDuration(resp.Header.Get("Retry-After") + "s") // ignores dates
			return gate.Outcome{Result: gate.Throttled, RetryAfter: wait}
		case resp.StatusCode >= 500:
			return gate.Outcome{Result: gate.Unknown}
		}
		return gate.Outcome{Result: gate.Accepted}
	}
	throttled := outcome(&http.Response{StatusCode: 429, Header: http.Header{"Retry-After": {"90"}}})
	fmt.Println(throttled.Result, throttled.RetryAfter)
	fmt.Println(outcome(&http.Response{StatusCode: 404}).Result)
	fmt.Println(outcome(&http.Response{StatusCode: 503}).Result)
	// Output:
	// throttled 1m30s
	// accepted
	// unknown
}

// A tally wraps another gate and counts the results.
type tally struct {
	gate.Gate
	mu     sync.Mutex
	counts map[gate.Result]int
}

func (t *tally) Observe(r gate.Request, ticket gate.Ticket, o gate.Outcome) {
	t.Gate.Observe(r, ticket, o)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[o.Result]++
}

func ExampleResult() {
	g := &tally{Gate: new(gate.Adaptive), counts: make(map[gate.Result]int)}
	r := gate.Request{Key: "account"}
	for _, result := range []gate.Result{gate.Accepted, gate.Accepted, gate.Throttled} {
		ticket, err := g.Wait(context.Background(), r)
		if err != nil {
			fmt.Println(err)
			return
		}
		g.Observe(r, ticket, gate.Outcome{Result: result})
	}
	fmt.Println(g.counts)
	// Output: map[accepted:2 throttled:1]
}

func ExampleStats() {
	shared := new(gate.Adaptive)
	r := gate.Request{Key: "account"}
	ticket, err := shared.Wait(context.Background(), r)
	if err != nil {
		fmt.Println(err)
		return
	}
	shared.Observe(r, ticket, gate.Outcome{Result: gate.Throttled, RetryAfter: time.Hour})
	s, _ := shared.Stats("account")
	fmt.Println("throttled:", s.Throttled, "| pause:", s.Pause.Round(time.Minute), "| in flight:", s.Flying)
	// Output: throttled: true | pause: 1h0m0s | in flight: 0
}

// Wait blocks at least until the current pause ends. If the pause ends after the deadline,
// Wait returns an error at once.
func ExampleAdaptive_Wait() {
	shared := new(gate.Adaptive)
	r := gate.Request{Key: "account"}
	for range 2 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		ticket, err := shared.Wait(ctx, r)
		if err != nil {
			fmt.Println(errors.Is(err, gate.ErrDeadline))
			return
		}
		shared.Observe(r, ticket, gate.Outcome{Result: gate.Throttled, RetryAfter: time.Hour})
	}
	// Output: true
}

// Call Observe once for each Wait that returned a nil error, even if the request failed.
func ExampleAdaptive_Observe() {
	shared := new(gate.Adaptive)
	call := func(send func() error) error {
		r := gate.Request{Key: "account"}
		ticket, err := shared.Wait(context.Background(), r)
		if err != nil {
			return err
		}
		var o gate.Outcome // the result is Unknown
		defer func() { shared.Observe(r, ticket, o) }()
		if err := send(); err != nil {
			return err
		}
		o.Result = gate.Accepted
		return nil
	}
	fmt.Println(call(func() error { return errors.New("connection reset") }))
	s, _ := shared.Stats("account")
	fmt.Println(s.Flying)
	// Output:
	// connection reset
	// 0
}

// A service may state its limit in a 429.
func ExampleLimit() {
	stated := gate.Limit{Requests: 200, Per: 5 * time.Minute, Reset: 42 * time.Second, Policy: "user"}
	fmt.Println(stated)
	// Output: 200 per 5m0s (user) new in 42s
}

// A person opens a page while a batch job uses up the account's limit through the same
// client. The person's request goes ahead of the job's waiting requests.
func ExampleWithPriority() {
	client := &http.Client{Transport: &iamhttp.Transport{Gate: new(gate.Adaptive)}}

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(gate.WithPriority(ctx, gate.Interactive), "GET", "https://iam.example.com/v3/users", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	resp, err := client.Do(req)
	if err != nil {
		fmt.Println(err)
		return
	}
	resp.Body.Close()
}

// If a service has one limit for both reads and writes, use the same key for both.
func ExampleKeyByHost() {
	tr := &iamhttp.Transport{Gate: new(gate.Adaptive), GateKey: gate.KeyByHost}
	req, _ := http.NewRequest("POST", "https://IAM.example.com:443/v3/users", http.NoBody)
	fmt.Println(tr.GateKey(req))
	// Output: iam.example.com
}

// By default, a batch that creates users does not delay requests that only read.
func ExampleKeyByHostAndMethod() {
	for _, method := range []string{"GET", "POST"} {
		req, _ := http.NewRequest(method, "https://iam.example.com/v3/users", http.NoBody)
		fmt.Println(gate.KeyByHostAndMethod(req))
	}
	// Output:
	// iam.example.com
	// iam.example.com writes
}
