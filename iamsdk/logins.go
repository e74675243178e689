package iamsdk

import (
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// logins tracks the logins of one client.
type logins struct {
	opened atomic.Int32 // len(open), so that most requests need no lock

	mu       sync.Mutex
	waiting  bool               // whether a request may be waiting for a login; never reset, because nothing shows when the wait ends
	count    int                // number of logins that succeeded
	open     map[string]refusal // calls that got a 401 and may continue after a login, keyed by goroutine
	forgot   time.Time          // when old calls were last removed from open
	failed   error              // why the latest login failed; nil if it succeeded or the reason is unknown
	failedAt time.Time
}

// A refusal is the first 401 of a call. It holds hashes instead of the values, because a
// program that prints a client prints everything that the client holds.
type refusal struct {
	target, token digest
	logins        int // number of logins that had succeeded by then
	at            time.Time
	counts        bool // whether another 401 to the same request is the call's second 401
}

// A call stays open if the SDK does not log in after its 401 and its goroutine makes no
// other call. Such a call is forgotten after openFor, when no service can still be
// responding to it. If more than mostOpen calls are open, the oldest is forgotten.
const (
	openFor  = 24 * time.Hour
	mostOpen = 10_000
)

// logsIn reports whether a request asks for a token, in version 2 or 3 of the API. Paths
// of other services may also end in /tokens.
func logsIn(req *http.Request) bool {
	return req.Method == http.MethodPost &&
		(strings.HasSuffix(req.URL.Path, "/auth/tokens") || strings.HasSuffix(req.URL.Path, "/v2.0/tokens"))
}

// ends records the outcome of a request: the status of its response, 0 if there was none,
// and the error, if the request failed. It reports whether the outcome is a 401 after
// which an SDK with these Options would never end the call.
//
// With EndlessLogin, such a 401 is the second one to the same request in the same
// goroutine, with a login in between, which may be another caller's.
//
// With LoginHangs, such a 401 is one to a login that a request may be waiting for. A
// login may begin with requests other than the POST for a token, if the SDK has only an
// access key or a given token. Two facts identify these requests: they have no token, and
// their goroutine has got a 401 to a different request. If the same request is resent
// without a token, the resend is not part of a login: the SDK sent it while another
// caller was logging in. A 401 to such a resend does not count as the second 401.
func (l *logins) ends(req *http.Request, status int, err error, o Options) bool {
	refused, login := status == http.StatusUnauthorized, logsIn(req)
	if !refused && !login && l.opened.Load() == 0 {
		return false
	}
	if status >= 300 && status < 400 { // the call continues after a redirect
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
		// Logins are counted as well, because a login may return the same token again.
		o.EndlessLogin && again && (first.token != now.token || first.logins < now.logins)
	// Before the first login, no request is waiting for one.
	if token != "" || !login && l.count > 0 {
		l.waiting = true
	}
	switch {
	case ends && inner: // the call stays open: the login may continue without this response
		first.counts = false
		l.open[goroutine] = first
	case ends, login && token == "":
		l.close(goroutine)
	case token != "" && (o.LoginHangs || o.EndlessLogin), o.LoginHangs && !login && !found && l.count > 0:
		l.remember(goroutine, now)
	}
	return ends
}

// fail records that the latest login failed, and the reason if err is a typed error.
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

// forget removes calls that are too old. It looks for such calls at most once per
// openFor.
func (l *logins) forget(now time.Time) {
	if now.Sub(l.forgot) < openFor {
		return
	}
	l.forgot = now
	maps.DeleteFunc(l.open, func(_ string, r refusal) bool { return now.Sub(r.at) > openFor })
	l.opened.Store(int32(len(l.open))) //nolint:gosec // at most mostOpen
}

// failedSince returns why the latest login failed, or nil if it did not fail after t.
func (l *logins) failedSince(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil || l.failedAt.Before(t) {
		return nil
	}
	return l.failed
}
