package iamhttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// A Gate decides when requests that share a key, one account's limit, may
// leave. [AdaptiveGate] is one for a process; others may share what they know
// between processes. A Gate is used by many goroutines at once.
type Gate interface {
	// Wait returns nil when the request may be sent, now. resend is how often
	// it was sent before. A refusal is a *GateError, the end of the context
	// ctx.Err(); after any error the request is not sent.
	Wait(ctx context.Context, key string, resend int) (Ticket, error)

	// Observe is called exactly once for each Wait that returned nil, also
	// when nothing was sent after all, and tells what came of it: throttled if
	// the account was over its limit, with the wait that the service asked
	// for, 0 if none. It must not block.
	Observe(key string, t Ticket, throttled bool, retryAfter time.Duration)
}

// A Ticket is what a [Gate] gave out for one send and wants back with its
// outcome. What it says is the gate's own affair.
type Ticket uint64

// A GateError is the refusal of a [Gate] to let a request out. The Transport
// returns it as the Cause of a *StatusError with [StopGate].
type GateError struct {
	RetryAfter time.Duration // until a request of that key may leave; 0: unknown
	Err        error         // why
}

// Error says why, and when to come back.
func (e *GateError) Error() string {
	if e == nil || e.Err == nil {
		return "iam: refused by the gate"
	}
	if e.RetryAfter <= 0 {
		return "iam: refused by the gate: " + e.Err.Error()
	}
	return fmt.Sprintf("iam: refused by the gate: %v, may leave in %v", e.Err, e.RetryAfter)
}

// Unwrap returns Err.
func (e *GateError) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.Err
}

// refusal is how send says that the gate has not let the request out.
type refusal struct{ err error }

func (r *refusal) Error() string { return r.err.Error() }

// gateKey returns the key of the limit that req counts against, "" without a
// gate.
func (t *Transport) gateKey(req *http.Request) (key string, err error) {
	if t.Gate == nil {
		return "", nil
	}
	if t.GateKey == nil {
		if req.URL == nil {
			return "", errors.New("iam: the request has no URL")
		}
		return req.URL.Host, nil
	}
	defer func() {
		if v := recover(); v != nil {
			key, err = "", fmt.Errorf("iam: GateKey panicked: %v", v)
		}
	}()
	if key = t.GateKey(req); key == "" {
		return "", errors.New("iam: GateKey returned no key: it has to name the account whose limit the request counts against")
	}
	return key, nil
}

// sendGated makes one send when the gate lets it out, and tells the gate what
// came of it.
func (t *Transport) sendGated(req *http.Request, key string, resend int) (resp *http.Response, err error) {
	ticket, err := t.pass(req, key, resend)
	if err != nil {
		closeBody(req)
		return nil, &refusal{err}
	}
	throttled, asked := false, time.Duration(0)
	defer func() { t.Gate.Observe(key, ticket, throttled, asked) }() // also if Base panics
	resp, err = t.sendNow(req)
	code := 0
	if err == nil {
		code = resp.StatusCode
	} else if e := answerIn(req, err); e != nil {
		code, asked = int(e.Code), e.RetryAfter
	}
	throttled = code == http.StatusTooManyRequests && !t.accepts(req.Context(), code)
	if throttled && err == nil {
		asked, _ = retryAfter(resp.Header, time.Now())
	}
	return resp, err
}

// answerIn returns the failing answer to req that is in an error of Base: of a
// proxy, or the last word of a Transport below. That to another request, such
// as one for a token, is none, and neither is what a gate below did not send.
func answerIn(req *http.Request, err error) *StatusError {
	if e := connectFailure(err); e != nil {
		return e
	}
	e, ok := errors.AsType[*StatusError](err)
	if !ok || e.Attempts == 0 || e.URL != redact(req.URL) {
		return nil
	}
	return e
}

// pass waits at the gate.
func (t *Transport) pass(req *http.Request, key string, resend int) (Ticket, error) {
	//lint:ignore SA1019 deprecated, and still a way to give up a request
	given := req.Cancel
	if given == nil {
		return t.Gate.Wait(req.Context(), key, resend)
	}
	ctx := &givenUp{Context: req.Context(), given: given}
	defer ctx.stop()
	return t.Gate.Wait(ctx, key, resend)
}

// givenUp is a context that the Cancel of a request ends too. http.Client sets
// Cancel for its Timeout, so that there must be no goroutine unless somebody
// waits.
type givenUp struct {
	context.Context
	given <-chan struct{}
	once  sync.Once
	both  context.Context // nil: nobody has waited
	end   context.CancelFunc
}

func (c *givenUp) Done() <-chan struct{} {
	c.once.Do(func() {
		c.both, c.end = context.WithCancel(c.Context)
		go func() {
			select {
			case <-c.given:
				c.end()
			case <-c.both.Done():
			}
		}()
	})
	return c.both.Done()
}

func (c *givenUp) Err() error {
	select {
	case <-c.given:
		return context.Canceled
	default:
		return c.Context.Err()
	}
}

func (c *givenUp) stop() {
	if c.end != nil {
		c.end()
	}
}

// refused returns what the caller gets when the gate has not let the request
// out: at the first send as well as at a repeat.
func (c *call) refused(err error) (*http.Response, error) {
	end := ended(c.req)
	stop, cause := StopGate, err
	if end != nil {
		stop, cause = StopCanceled, end
	}
	if c.lost != nil { // it may have been processed: what was answered before it is not the last word
		return nil, fmt.Errorf("%w: %w", c.lost, cause)
	}
	if c.latest != nil { // the answer before: it is known, and has been reported
		e := *c.latest
		e.Stop, e.Cause = stop, cause
		if stop == StopGate {
			e.RetryAfter = refusedFor(err)
		}
		c.opts.recorder.record(&e)
		return nil, &e
	}
	if end != nil {
		return nil, end
	}
	e := &StatusError{Code: ErrTooManyRequests, Stop: StopGate, Cause: err, RetryAfter: refusedFor(err)}
	e.ofRequest(c.req)
	c.report(e, 0)
	return nil, e
}

func refusedFor(err error) time.Duration {
	if e, ok := errors.AsType[*GateError](err); ok && e != nil {
		return max(e.RetryAfter, 0)
	}
	return 0
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}
