// Package cancelctx tells when the caller stops waiting for a request: by its context,
// or by the deprecated Cancel channel, which http.Client still sets for its Timeout.
package cancelctx

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// A Context ends with its parent, or when a channel is closed. http.Client sets
// Request.Cancel for its Timeout, so a Context starts a goroutine only if Done is
// called. It costs one allocation for a request that has a Cancel.
type Context struct {
	context.Context
	cancel <-chan struct{}

	mu      sync.Mutex
	both    context.Context // nil: Done was not called yet
	end     context.CancelFunc
	stopped bool
}

// New returns a context that ends with ctx, or when cancel is closed. Call Stop when
// the context is no longer needed.
func New(ctx context.Context, cancel <-chan struct{}) *Context {
	return &Context{Context: ctx, cancel: cancel}
}

// Done is closed when the context ends.
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

// Err returns why the context has ended. It must not be nil once Done is closed, or a
// context that is derived from this one would panic.
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

// Ended returns why the caller no longer waits for the response to req: the error of
// the context, joined with its cause if that differs. It returns nil if the caller
// still waits.
func Ended(req *http.Request) error {
	ctx := req.Context()
	if err := ctx.Err(); err != nil {
		if cause := context.Cause(ctx); !errors.Is(err, cause) {
			return fmt.Errorf("%w: %w", err, cause)
		}
		return err
	}
	select {
	// http.Client sets Cancel for its Timeout.
	case <-req.Cancel:
		return context.Canceled
	default:
		return nil
	}
}

// Sleep returns nil after d. If the caller stops waiting earlier, it returns the reason
// at once. call.wait, in call.go of the root, makes the error for the caller.
func Sleep(req *http.Request, d time.Duration) error {
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-req.Context().Done():
		// http.Client sets Cancel for its Timeout.
		case <-req.Cancel:
		}
	}
	return Ended(req)
}
