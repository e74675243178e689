package iamsdk

import (
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// logins keep track of how the SDK of one client logs in.
type logins struct {
	opened atomic.Int32 // the size of open, so that a request costs no lock as a rule

	mu       sync.Mutex
	waiting  bool               // a request may wait for the next login: once there was a 401, nothing tells that none does
	count    int                // of logins that succeeded
	open     map[string]refusal // the call of each goroutine that was answered 401, and may go on after a login
	forgot   time.Time          // when old ones were last forgotten
	failed   error              // of the latest login, if it did not succeed; nil if it is unknown why
	failedAt time.Time
}

// A refusal is the first 401 of a call. It holds hashes, because a client is printed
// with all that it holds.
type refusal struct {
	target, token digest
	logins        int // that had succeeded by then
	at            time.Time
	counts        bool // another 401 to the same request is the second of the call
}

// A call stays open if the SDK does not log in after its 401, and if its goroutine
// makes no other call. It is forgotten after openFor, by when no service is still
// answering, or once there are more than mostOpen, as the oldest.
const (
	openFor  = 24 * time.Hour
	mostOpen = 10_000
)

// logsIn reports whether a request asks for a token, of version 2 or 3 of the API.
// Services have other things that end in /tokens.
func logsIn(req *http.Request) bool {
	return req.Method == http.MethodPost &&
		(strings.HasSuffix(req.URL.Path, "/auth/tokens") || strings.HasSuffix(req.URL.Path, "/v2.0/tokens"))
}

// ends records what became of a request: the status of its response, 0 without one,
// and its error, if it failed. It reports whether it is a 401 after which an SDK with
// these Options would never end the call.
//
// It may end a call if its goroutine has had a 401 before. A second 401 to the same
// request, with a login in between, is without end; the login may be another
// caller's. A request without a token, between a 401 and its resend, belongs to a
// login: an SDK that has only an access key or a given token begins with others than
// a POST. A resend without a token was sent while another caller logged in, and is
// neither.
func (l *logins) ends(req *http.Request, status int, err error, o Options) bool {
	refused, login := status == http.StatusUnauthorized, logsIn(req)
	if !refused && !login && l.opened.Load() == 0 {
		return false
	}
	if status >= 300 && status < 400 { // a call goes on after a redirect
		return false
	}
	goroutine, target, token := goroutine(), digestOf(req.Method, req.URL.String()), req.Header.Get("X-Auth-Token")
	now := refusal{target: target, token: digestOf(token), at: time.Now(), counts: token != ""}

	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(now.at)
	now.logins = l.count
	first, found := l.open[goroutine]
	again := found && first.target == target && token != "" && first.counts
	inner := found && first.target != target && token == "" && !login
	switch {
	case login && err == nil:
		l.count++
		l.failed = nil
	case login || inner && err != nil:
		l.fail(err)
	}
	if !refused {
		if !inner && (!login || err != nil) {
			l.close(goroutine)
		}
		return false
	}

	ends := o.LoginHangs && (inner || login && l.waiting) ||
		// The logins are counted as well, because one may bring the same token.
		o.EndlessLogin && again && (first.token != now.token || first.logins < now.logins)
	// Before the first login nobody waits for one.
	if token != "" || !login && l.count > 0 {
		l.waiting = true
	}
	switch {
	case ends && inner: // not closed: the login may go on without what it asked for
		first.counts = false
		l.open[goroutine] = first
	case ends, login && token == "":
		l.close(goroutine)
	case token != "" && (o.LoginHangs || o.EndlessLogin), o.LoginHangs && !login && !found && l.count > 0:
		l.remember(goroutine, now)
	}
	return ends
}

// fail records why the latest login failed, if that is known.
func (l *logins) fail(err error) {
	l.failed, l.failedAt = nil, time.Now()
	if isTyped(err) {
		l.failed = err
	}
}

// close forgets the call of a goroutine.
func (l *logins) close(goroutine string) {
	delete(l.open, goroutine)
	l.opened.Store(int32(len(l.open))) //nolint:gosec // at most mostOpen
}

func (l *logins) remember(goroutine string, r refusal) {
	if l.open == nil {
		l.open = map[string]refusal{}
	}
	l.open[goroutine] = r
	if len(l.open) > mostOpen {
		for g, old := range l.open {
			if old.at.Before(r.at) {
				goroutine, r = g, old
			}
		}
		delete(l.open, goroutine)
	}
	l.opened.Store(int32(len(l.open))) //nolint:gosec // at most mostOpen
}

// forget forgets the calls that are too old, not at each request.
func (l *logins) forget(now time.Time) {
	if now.Sub(l.forgot) < openFor {
		return
	}
	l.forgot = now
	maps.DeleteFunc(l.open, func(_ string, r refusal) bool { return now.Sub(r.at) > openFor })
	l.opened.Store(int32(len(l.open))) //nolint:gosec // at most mostOpen
}

// failedSince returns why the latest login failed, if that was after t.
func (l *logins) failedSince(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil || l.failedAt.Before(t) {
		return nil
	}
	return l.failed
}
