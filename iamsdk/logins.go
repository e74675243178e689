package iamsdk

import (
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// logins tracks how the SDK of one client logs in.
type logins struct {
	opened atomic.Int32 // len(open), which can be read without mu, so that most requests need no lock

	mu       sync.Mutex
	count    int                  // number of logins that succeeded
	open     map[string]time.Time // time of the 401 that a goroutine's call got; the call may continue after a login
	forgot   time.Time            // when old entries of open were last removed
	failed   error                // reason why the latest login failed; nil if it succeeded or the reason is unknown
	failedAt time.Time
}

// An entry of logins.open is removed when its call ends or its goroutine makes another
// call. If neither happens, the entry stays for at least openFor, after which no service
// can still be responding. If there are more than mostOpen entries, the oldest one is
// removed.
const (
	openFor  = 24 * time.Hour
	mostOpen = 10_000
)

// logsIn reports whether a request asks for a token from version 2 or 3 of the API. The
// suffix /tokens is not enough, because services have other paths that end in /tokens.
func logsIn(req *http.Request) bool {
	return req.Method == http.MethodPost &&
		(strings.HasSuffix(req.URL.Path, "/auth/tokens") || strings.HasSuffix(req.URL.Path, "/v2.0/tokens"))
}

// ends records the outcome of a request: the status of its response (0 if there was no
// response) and, if the request failed, the error. It reports whether the outcome is a
// 401 after which an SDK with these Options would never end the call.
//
// With EndlessLogin, the 401 in question is the second one of a call. Once a login has
// succeeded, a 401 for a request without a token does not count, because the SDK sends
// requests without a token while another caller is logging in.
//
// With LoginHangs, the 401 in question is one for any request of a login that a call is
// waiting for.
func (l *logins) ends(req *http.Request, status int, err error, o Options) bool {
	refused, login := status == http.StatusUnauthorized, logsIn(req)
	if !refused && !login && l.opened.Load() == 0 {
		return false
	}
	if status >= 300 && status < 400 { // the call continues after a redirect
		return false
	}
	goroutine, place, now := goroutine(), placeOf(), time.Now()

	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(now)
	if place == first { // whatever the goroutine did before belongs to another call
		l.close(goroutine)
	}
	switch {
	case login && err == nil:
		l.count++
		l.failed = nil
	case login, place == inLogin && err != nil:
		l.fail(err)
	}
	if !refused {
		if place == resend {
			l.close(goroutine)
		}
		return false
	}

	_, again := l.open[goroutine]
	counts := req.Header.Get("X-Auth-Token") != "" || l.count == 0
	ends := o.LoginHangs && place == inLogin || o.EndlessLogin && place == resend && again && counts
	switch {
	case ends && place == resend:
		l.close(goroutine)
	case o.EndlessLogin && counts && !ends:
		l.remember(goroutine, now)
	}
	return ends
}

// fail records that the latest login failed and, if err is a typed error, the reason.
func (l *logins) fail(err error) {
	l.failed, l.failedAt = nil, time.Now()
	if isTyped(err) {
		l.failed = err
	}
}

// close removes the entry of a goroutine's call from open.
func (l *logins) close(goroutine string) {
	delete(l.open, goroutine)
	l.opened.Store(int32(len(l.open))) //nolint:gosec // at most mostOpen
}

func (l *logins) remember(goroutine string, at time.Time) {
	if l.open == nil {
		l.open = map[string]time.Time{}
	}
	l.open[goroutine] = at
	if len(l.open) > mostOpen {
		for g, old := range l.open {
			if old.Before(at) {
				goroutine, at = g, old
			}
		}
		delete(l.open, goroutine)
	}
	l.opened.Store(int32(len(l.open))) //nolint:gosec // at most mostOpen
}

// forget removes entries of open that are too old. It looks for such entries at most once
// per openFor.
func (l *logins) forget(now time.Time) {
	if now.Sub(l.forgot) < openFor {
		return
	}
	l.forgot = now
	maps.DeleteFunc(l.open, func(_ string, at time.Time) bool { return now.Sub(at) > openFor })
	l.opened.Store(int32(len(l.open))) //nolint:gosec // at most mostOpen
}

// failedSince returns the reason why the latest login failed. It returns nil if the login
// failed before t or did not fail, or if the reason is unknown.
func (l *logins) failedSince(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil || l.failedAt.Before(t) {
		return nil
	}
	return l.failed
}
