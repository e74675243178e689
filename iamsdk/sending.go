package iamsdk

import (
	"context"
	"fmt"
	"net/http"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/internal/target"
)

// A sending is a request that a session is sending, and the context of that request. One
// allocation holds both.
type sending struct {
	context.Context
	request http.Request
	login   *iamhttp.Recorder  // records the failures of a login; nil for any other request
	awaits  *iamhttp.Transport // the Transport that has to send the request but is further down; nil: none
}

type sendingKey struct{}

func newSending(ctx context.Context, req *http.Request) *sending {
	s := &sending{Context: ctx}
	s.request = *req.WithContext(s)
	return s
}

func (s *sending) Value(key any) any {
	if key == (sendingKey{}) {
		return s
	}
	return s.Context.Value(key)
}

// sends reports whether req is the request that is being sent, rather than one that a
// RoundTripper below makes itself.
func (s *sending) sends(req *http.Request) bool { return target.Same(&s.request, req) }

// errLocked ends the context of a login. See [sending.isLocked]. The context's error has to
// wrap one of package context. It is not Canceled, because LogFailures logs what the caller
// has canceled at Info, where nobody would notice that the account is locked.
var errLocked = fmt.Errorf("iamsdk: the account is locked, so the login must not be sent again: %w", context.DeadlineExceeded)

// isLocked reports whether the request is a login, its latest response says that the
// account is locked, and the Transport would retry it. The login must not be retried,
// because each attempt may prolong the lock. The Transport does not know this rule, so the
// sending's context ends, which ends the Transport's wait.
func (s *sending) isLocked() bool {
	if s.login == nil {
		return false
	}
	e, ok := s.login.Last()
	return ok && e.Stop == iamhttp.StopUnset && e.Reason() == iamhttp.ReasonAccountLocked // StopUnset: it would be retried
}

// Done returns a channel that is closed when the context ends.
func (s *sending) Done() <-chan struct{} {
	if s.isLocked() {
		c := make(chan struct{})
		close(c)
		return c
	}
	return s.Context.Done()
}

// Err returns why the context has ended, or nil if it has not.
func (s *sending) Err() error {
	if s.isLocked() {
		return errLocked
	}
	return s.Context.Err()
}
