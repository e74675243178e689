package iamsdk

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/iamhttp/iamhttp"
)

// logins follow how the SDK of one client logs in.
type logins struct {
	epoch atomic.Int64 // logins that succeeded

	mu       sync.Mutex
	waiting  bool               // a request was answered 401, and no login has succeeded since
	refused  map[string]refusal // requests that were answered 401 last, by method and URL
	failed   error              // of the latest login, if it did not succeed
	failedAt time.Time
}

// A refusal is a 401 to a request that is no login.
type refusal struct {
	epoch int64 // when the request was sent
	at    time.Time
}

const (
	forgetAfter = 10 * time.Minute // a 401 that nobody came back from: its call has ended
	manyRefused = 100              // from then on old ones are looked for
)

// logsIn reports whether a request asks for a token, of any version of the API.
func logsIn(req *http.Request) bool {
	return req.Method == http.MethodPost && strings.HasSuffix(req.URL.Path, "/tokens")
}

// login takes down the answer to a login. It reports whether a request waits for
// the login.
func (l *logins) login(status int, failure *iamhttp.StatusError) (waiting bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	waiting = l.waiting
	switch {
	case status < http.StatusBadRequest:
		l.epoch.Add(1)
		l.waiting, l.failed = false, nil
	case failure != nil:
		l.failed, l.failedAt = failure, time.Now()
	}
	return waiting
}

// unanswered takes down the error of a login that got no answer, if that is one of
// iamhttp's.
func (l *logins) unanswered(req *http.Request, err error) {
	if !logsIn(req) || !errors.As(err, new(*iamhttp.StatusError)) && !errors.As(err, new(*iamhttp.NotSentError)) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed, l.failedAt = err, time.Now()
}

// request takes down the answer to a request that was sent in an epoch. It reports
// whether that is the second 401 of a call: the same request was answered 401 before,
// and between the two somebody has logged in. That two calls ask for the same at the
// same time is no matter, because both would get the same answer.
func (l *logins) request(req *http.Request, status int, epoch int64) (again bool) {
	if status != http.StatusUnauthorized && l.quiet() {
		return false
	}
	key := req.Method + " " + req.URL.String()
	l.mu.Lock()
	defer l.mu.Unlock()
	if status != http.StatusUnauthorized {
		delete(l.refused, key)
		return false
	}
	now := time.Now()
	before, found := l.refused[key]
	again = found && before.epoch < epoch && now.Sub(before.at) < forgetAfter
	if l.refused == nil {
		l.refused = map[string]refusal{}
	}
	if len(l.refused) >= manyRefused {
		for k, r := range l.refused {
			if now.Sub(r.at) >= forgetAfter {
				delete(l.refused, k)
			}
		}
	}
	// From here on the next 401 is the first of another call.
	l.refused[key] = refusal{epoch, now}
	l.waiting = l.waiting || !again
	return again
}

// quiet reports whether no request was answered 401 lately.
func (l *logins) quiet() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.refused) == 0
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
