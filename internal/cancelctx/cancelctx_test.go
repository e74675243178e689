package cancelctx

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAContextEndsWithItsParentItsChannelOrStop(t *testing.T) {
	for name, end := range map[string]func(cancel func(), channel chan struct{}, c *Context){
		"when its parent ends":       func(cancel func(), _ chan struct{}, _ *Context) { cancel() },
		"when its channel is closed": func(_ func(), channel chan struct{}, _ *Context) { close(channel) },
		"after Stop":                 func(_ func(), _ chan struct{}, c *Context) { c.Stop() },
	} {
		for _, waiting := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { // fails if a goroutine is left behind
					parent, cancel := context.WithCancel(t.Context())
					channel := make(chan struct{})
					c := New(parent, channel)
					require.NoError(t, c.Err())
					if waiting {
						derived, stop := context.WithTimeout(c, time.Hour)
						defer stop()
						defer func() {
							<-derived.Done()
							assert.ErrorIs(t, derived.Err(), context.Canceled)
						}()
					}
					end(cancel, channel, c)
					<-c.Done()
					assert.ErrorIs(t, c.Err(), context.Canceled)
					c.Stop()
					cancel()
				})
			})
		}
	}
}

func TestSleepEndsAfterItsTimeOrWithTheRequest(t *testing.T) {
	cause := errors.New("the user left")
	for name, tt := range map[string]struct {
		give func(req *http.Request, cancel context.CancelCauseFunc) *http.Request
		took time.Duration
		want []error
	}{
		"after its time": {nil, time.Minute, nil},
		"with the request's context": {func(req *http.Request, cancel context.CancelCauseFunc) *http.Request {
			time.AfterFunc(time.Second, func() { cancel(cause) })
			return req
		}, time.Second, []error{context.Canceled, cause}},
		"with the request's Cancel channel": {func(req *http.Request, _ context.CancelCauseFunc) *http.Request {
			channel := make(chan struct{})
			time.AfterFunc(time.Second, func() { close(channel) })
			req.Cancel = channel
			return req
		}, time.Second, []error{context.Canceled}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				req, err := http.NewRequestWithContext(ctx, "GET", "https://iam.example", nil)
				require.NoError(t, err)
				if tt.give != nil {
					req = tt.give(req, cancel)
				}
				start := time.Now()
				err = Wait(req, time.Minute, func(d time.Duration) <-chan struct{} {
					over := make(chan struct{})
					time.AfterFunc(d, func() { close(over) })
					return over
				})
				assert.Equal(t, tt.took, time.Since(start))
				for _, want := range tt.want {
					assert.ErrorIs(t, err, want)
				}
				assert.Equal(t, tt.want == nil, err == nil)
			})
		})
	}
}
