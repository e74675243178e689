package iamsdk

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/iamhttp/iamhttp"
)

// logins keep track of how the SDK of one client logs in.
type logins struct {
	mu       sync.Mutex
	waiting  bool             // a request may wait for the next login: once there was a 401, nothing tells that none does
	count    int              // of logins that succeeded
	open     map[call]refusal // calls that were answered 401, and may go on after a login
	failed   error            // of the latest login, if it did not succeed; nil if it is unknown why
	failedAt time.Time
}

// A call holds what the requests of one call have in common. Nothing but the
// goroutine tells them from the same request of another caller.
type call struct{ goroutine, target string }

func callOf(req *http.Request) call {
	return call{goroutine(), req.Method + " " + req.URL.String()}
}

// A refusal is the first 401 of a call.
type refusal struct {
	token  [sha256.Size]byte // that it was sent with: the hash, so that none is held where it could be printed
	logins int               // that had succeeded by then
	at     time.Time
}

// mostOpen bounds the calls that are remembered. One stays open if the SDK does not
// log in after a 401, and if its goroutine does not make it again.
const mostOpen = 10_000

// logsIn reports whether a request asks for a token, of version 2 or 3 of the API.
// Services have other things that end in /tokens.
func logsIn(req *http.Request) bool {
	return req.Method == http.MethodPost &&
		(strings.HasSuffix(req.URL.Path, "/auth/tokens") || strings.HasSuffix(req.URL.Path, "/v2.0/tokens"))
}

// login records the response to a login. It reports whether a request may wait for
// the login. A login that succeeds changes nothing about that: a request that was
// sent without a token waits for one of its own.
func (l *logins) login(failure *iamhttp.StatusError) (waiting bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if failure != nil {
		l.fail(failure)
	} else {
		l.count++
		l.failed = nil
	}
	return l.waiting
}

// fail records that a login has failed: the calls that wait for it end, and their
// next 401 will be a first one.
func (l *logins) fail(err error) {
	clear(l.open)
	l.failed, l.failedAt = err, time.Now()
}

// unanswered records the error of a request that got no response.
func (l *logins) unanswered(req *http.Request, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !logsIn(req):
		l.end(req)
	case errors.As(err, new(*iamhttp.StatusError)) || errors.As(err, new(*iamhttp.NotSentError)):
		l.fail(err)
	default:
		l.fail(nil)
	}
}

// end forgets the call of a request.
func (l *logins) end(req *http.Request) {
	if len(l.open) > 0 {
		delete(l.open, callOf(req))
	}
}

// request records the response to a request. For an SDK that is endless, it reports
// whether it is the second 401 of a call: the same goroutine has sent the same
// request before, its response was a 401, and there was a login in between, by this
// caller or another. A 401 to a request without a token does not count: it was sent
// while another caller logged in. Before the first login nobody waits for one.
func (l *logins) request(req *http.Request, status int, endless bool) (ends bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if status != http.StatusUnauthorized {
		if status < 300 || status >= 400 { // a call goes on after a redirect
			l.end(req)
		}
		return false
	}
	value := req.Header.Get("X-Auth-Token")
	if endless && value != "" {
		key := callOf(req)
		now := refusal{sha256.Sum256([]byte(value)), l.count, time.Now()}
		// The logins are counted as well, because one may bring the same token.
		if first, found := l.open[key]; found && (first.token != now.token || first.logins < now.logins) {
			delete(l.open, key)
			return true
		}
		l.remember(key, now)
	}
	if value != "" || l.count > 0 {
		l.waiting = true
	}
	return false
}

func (l *logins) remember(key call, r refusal) {
	if l.open == nil {
		l.open = map[call]refusal{}
	}
	l.open[key] = r
	if len(l.open) <= mostOpen {
		return
	}
	for k, old := range l.open {
		if old.at.Before(r.at) {
			key, r = k, old
		}
	}
	delete(l.open, key)
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
