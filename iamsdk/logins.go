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
	waiting  bool               // a request may wait for the next login: once there was a 401, nothing tells that none does
	latest   token              // of the latest login that succeeded
	count    int                // of those
	refused  map[string]refusal // requests that were answered 401 last, by method and URL
	failed   error              // of the latest login, if it did not succeed
	failedAt time.Time
}

// A token is the hash of one, so that none is held where it could be printed.
type token [sha256.Size]byte

func tokenOf(header http.Header, name string) (t token, found bool) {
	value := header.Get(name)
	return sha256.Sum256([]byte(value)), value != ""
}

// A refusal is a 401 to a request that is not a login.
type refusal struct {
	login int // whose token the request had; 0: not the latest
	at    time.Time
	ended time.Time // the first call that this refusal has ended, by a second one
}

const (
	forgetAfter = 10 * time.Minute // a 401 that was not followed by another request: its call has ended
	sameTime    = 30 * time.Second // calls that end within this time count as made at the same time
	manyRefused = 100              // from this number on old ones are removed
)

// logsIn reports whether a request asks for a token, of any version of the API.
func logsIn(req *http.Request) bool {
	return req.Method == http.MethodPost && strings.HasSuffix(req.URL.Path, "/tokens")
}

// login records the response to a login. It reports whether a request may wait for
// the login. A login that succeeds changes nothing about that: a request that was
// sent without a token waits for one of its own.
func (l *logins) login(resp *http.Response, failure *iamhttp.StatusError) (waiting bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	waiting = l.waiting
	if failure != nil {
		l.failed, l.failedAt = failure, time.Now()
		return waiting
	}
	l.latest, _ = tokenOf(resp.Header, "X-Subject-Token")
	l.count++
	l.failed = nil
	return waiting
}

// unanswered records the error of a login that got no response, if it is an error of
// iamhttp.
func (l *logins) unanswered(req *http.Request, err error) {
	if !logsIn(req) || !errors.As(err, new(*iamhttp.StatusError)) && !errors.As(err, new(*iamhttp.NotSentError)) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed, l.failedAt = err, time.Now()
}

// request records the response to a request. For an SDK that is endless, it reports
// whether it is the second 401 of a call, which then waits for no login: the same request was answered 401 before, and this one has the token of
// a later login. Requests that were in flight during the login do not count, because
// they have the old token or none. Identical calls at the same time all end after one
// login. A later call starts from the beginning, because the token may have expired
// since.
func (l *logins) request(req *http.Request, status int, endless bool) (ends bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if status != http.StatusUnauthorized {
		if len(l.refused) > 0 {
			delete(l.refused, target(req))
		}
		return false
	}
	used, found := tokenOf(req.Header, "X-Auth-Token")
	if !found { // it was sent while another request logged in
		l.waiting = true
		return false
	}
	key, now := target(req), time.Now()
	r := refusal{at: now}
	if used == l.latest {
		r.login = l.count
	}
	before, found := l.refused[key]
	if found && (now.Sub(before.at) >= forgetAfter || !before.ended.IsZero() && now.Sub(before.ended) >= sameTime) {
		found = false
	}
	again := found && before.login < r.login
	if again {
		r = before
		if r.ended.IsZero() {
			r.ended = now
		}
	}
	if l.refused == nil {
		l.refused = map[string]refusal{}
	}
	if len(l.refused) >= manyRefused {
		for k, old := range l.refused {
			if now.Sub(old.at) >= forgetAfter {
				delete(l.refused, k)
			}
		}
	}
	l.refused[key] = r
	if again && endless {
		return true
	}
	l.waiting = true
	return false
}

func target(req *http.Request) string { return req.Method + " " + req.URL.String() }

// failedSince returns why the latest login failed, if that was after t.
func (l *logins) failedSince(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil || l.failedAt.Before(t) {
		return nil
	}
	return l.failed
}
