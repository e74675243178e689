// Package cancelctx detects that the caller has stopped waiting for a request: either the
// request's context has ended, or the request's deprecated Cancel channel, which
// http.Client still sets for its Timeout, is closed.
package cancelctx

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// A Context ends when its parent ends, a channel is closed, or Stop is called. Because
// http.Client sets Request.Cancel for its Timeout, many requests need a Context. For that
// reason, New makes a single allocation, and only Done allocates more or starts a
// goroutine.
type Context struct {
	context.Context
	cancel <-chan struct{}

	mu      sync.Mutex
	both    context.Context // nil until Done is called
	end     context.CancelFunc
	stopped bool
}

// New returns a context that ends when ctx ends or when cancel is closed. Call Stop when
// the context is no longer needed.
func New(ctx context.Context, cancel <-chan struct{}) *Context {
	return &Context{Context: ctx, cancel: cancel}
}

// Done returns a channel that is closed when the context ends.
func (c *Context) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.both == nil {
		c.both, c.end = context.WithCancel(c.Context)
		if c.stopped {
			c.end()
		} else {
			go func(both context.Context, end context.CancelFunc) {
				select {
				case <-c.cancel:
					end()
				case <-both.Done():
				}
			}(c.both, c.end)
		}
	}
	return c.both.Done()
}

// Err returns why the context has ended, or nil if it has not. Once the channel from Done
// is closed, Err must not return nil, because a context derived from c would then panic.
func (c *Context) Err() error {
	select {
	case <-c.cancel:
		return context.Canceled
	default:
	}
	if err := c.Context.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return context.Canceled
	}
	return nil
}

// Stop ends the context and frees its resources.
func (c *Context) Stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	if c.end != nil {
		c.end()
	}
}

// Ended returns why the caller is no longer waiting for the response to req: the
// context's error, joined with the context's cause if the two differ. If only req.Cancel
// is closed, it returns context.DeadlineExceeded or context.Canceled. It returns nil if
// the caller is still waiting.
func Ended(req *http.Request) error {
	ctx := req.Context()
	if err := ctx.Err(); err != nil {
		if cause := context.Cause(ctx); !errors.Is(err, cause) {
			return fmt.Errorf("%w: %w", err, cause)
		}
		return err
	}
	select {
	// http.Client sets Cancel for its Timeout and, unless the context already has an
	// earlier deadline, a context deadline for the same time.
	case <-req.Cancel:
		if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
			return context.DeadlineExceeded
		}
		return context.Canceled
	default:
		return nil
	}
}

// Wait waits for d and returns nil. If the caller stops waiting earlier, Wait returns the
// reason at once. In the root package, call.wait turns the reason into the error for the
// caller. after returns a channel that is closed after a time; it is not called if the caller
// cannot stop waiting, because then no channel is needed, which would cost an allocation.
func Wait(req *http.Request, d time.Duration, after func(time.Duration) <-chan struct{}) error {
	switch {
	case d <= 0:
	case req.Context().Done() == nil && req.Cancel == nil:
		time.Sleep(d)
	default:
		select {
		case <-after(d):
		case <-req.Context().Done():
		// http.Client sets Cancel for its Timeout.
		case <-req.Cancel:
		}
	}
	return Ended(req)
}
