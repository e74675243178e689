package iamsdk

import (
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// logins tracks the logins of one client's SDK. Its marks are the 401s of calls that may
// continue after a login.
type logins struct {
	marks
	usesTokens atomic.Bool // whether any request had a token
	hasNone    atomic.Bool // whether the latest login failed, and none has begun since

	// guarded by mu, as the marks are:
	count    int       // number of login requests that succeeded
	inFlight int       // number of login requests in flight
	noToken  bool      // whether the latest successful login returned no token
	failed   error     // reason why the latest login failed; nil if it succeeded or the reason is unknown
	failedAt time.Time // when the latest failed login ended
}

// Unless a later request in the same goroutine replaces or removes it, a 401 is remembered
// for at least openFor, because no service takes longer to respond. But at most mostOpen
// are remembered; the oldest is dropped first.
const (
	openFor  = 24 * time.Hour
	mostOpen = 10_000
)

// mostExcused limits the excused 401s of a call (see mark), because the call might
// otherwise never end.
const mostExcused = 10

// logsIn reports whether a request asks version 2 or 3 of the API for a token. The
// suffix /tokens is not enough, because services have other paths that end in /tokens.
func logsIn(req *http.Request) bool {
	return req.Method == http.MethodPost && req.URL != nil &&
		(strings.HasSuffix(req.URL.Path, "/auth/tokens") || isVersion2(req))
}

// isVersion2 reports whether a login uses version 2 of the API, which returns the token
// in the body.
func isVersion2(req *http.Request) bool { return strings.HasSuffix(req.URL.Path, "/v2.0/tokens") }

// A place is the point in an SDK call at which a request is sent.
type place uint8

const (
	first   place = iota // the request is the first one of a call
	resend               // the call is sending its request again
	inLogin              // the request is part of a login that a call is waiting for
	unclear              // the request is either first or resend
)

// placeOf returns a request's place, relative to the 401 that k remembers.
func (l *logins) placeOf(req *http.Request, k *mark, now stack) place {
	related, same, loggedIn := k.stack.to(now), k.target == targetOf(req), l.count > k.logins
	// Without a login since the 401, only the program itself sends the refused token again.
	// An SDK that logs in sends another token, or none.
	stale := k.token != digest{} && k.token == tokenOf(req) && !loggedIn
	switch {
	case related == apart, related == equal && (!same || k.gaveUp || stale):
		return first
	case related == equal && !k.renewed: // a program may have made its next call: after another call's login, or after one that returned no token
		return unclear
	case related == equal:
		return resend
	case logsIn(req):
		return inLogin
	case same && (related == within || loggedIn || stale):
		return resend
	case related == within, stale: // the program called itself; the SDK did not
		return first
	}
	return inLogin
}

// begin must be called before a login request is sent. It returns a function that must be
// called when the request has ended.
func (l *logins) begin() (end func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight++
	l.hasNone.Store(false)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.inFlight--
	}
}

// ends records a request's outcome: its response (nil if there was none) and, if the
// request failed, the error. hadNone is the value of hasNone when the request was sent. It
// reports whether the outcome is a 401 after which an SDK with these Options might never end
// the call:
//
//   - with EndlessLogin: the call's second 401 that counts (see counts), or the next 401
//     after mostExcused have been excused
//   - with EndlessLogin or LoginHangs: a 401 for any request of a login that a call is
//     waiting for; if the login has a goroutine of its own, only for its token request
func (l *logins) ends(req *http.Request, resp *http.Response, err error, hadNone bool, o Options) bool {
	req = origin(req)
	refused, login, token := false, logsIn(req), ""
	if resp != nil {
		if isRedirect(resp) { // the call continues
			return false
		}
		refused, token = resp.StatusCode == http.StatusUnauthorized, resp.Header.Get("X-Subject-Token")
	}
	hasToken := req.Header.Get("X-Auth-Token") != ""
	if hasToken && !l.usesTokens.Load() {
		l.usesTokens.Store(true)
	}
	if !refused && !login && token == "" && l.marks.count.Load() == 0 {
		return false
	}
	goroutine := goroutine()
	l.mu.Lock()
	defer l.mu.Unlock()
	k, at := l.of[goroutine], first
	var now stack
	if k != nil || refused {
		now = callers()
	}
	if k != nil {
		at = l.placeOf(req, k, now)
	}
	if k != nil && at == first { // whatever the goroutine did before belongs to another call
		l.drop(goroutine)
		k = nil
	}
	renewed := err == nil && (token != "" || login && isVersion2(req))
	switch {
	case err == nil && (login || token != ""):
		l.count++
		l.failed, l.noToken = nil, !renewed
		l.hasNone.Store(false)
	case login, at == inLogin && err != nil:
		l.fail(err, login)
	}
	if k != nil && at == inLogin {
		k.gaveUp, k.renewed = err != nil, k.renewed || renewed
	}
	if !refused {
		if at == resend || at == unclear {
			l.drop(goroutine)
		}
		return false
	}
	counts := l.counts(hasToken)
	if k == nil {
		if login && l.marks.count.Load() > 0 && (o.EndlessLogin || o.LoginHangs) { // the login may have a goroutine of its own, and a call in another goroutine may be waiting for it
			return true
		}
		l.put(goroutine, &mark{at: time.Now(), stack: now, target: targetOf(req), token: tokenOf(req), counted: counts || hadNone, logins: l.count}, mostOpen, openFor)
		return false
	}
	if at == inLogin {
		return o.EndlessLogin || o.LoginHangs
	}
	if at == resend && !o.EndlessLogin { // the SDK ends the call
		l.drop(goroutine)
		return false
	}
	if o.EndlessLogin && (counts && at == resend && k.counted || k.excused == mostExcused) {
		l.drop(goroutine)
		return true
	}
	k.stack, k.token, k.logins, k.renewed = now, tokenOf(req), l.count, false
	if counts && at == resend {
		k.counted = true
	} else {
		k.excused++
	}
	return false
}

// isRedirect reports whether http.Client follows a response. It does not follow a 300 or a
// 304, which may therefore be the last response of a call.
func isRedirect(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return resp.Header.Get("Location") != ""
	}
	return false
}

// counts reports whether a 401 counts toward the end of its call. While one call is
// logging in, the SDK sends the requests of other calls without a token. A 401 for a
// request without a token does not count, unless the SDK uses no tokens or its latest
// login returned none. (A call's first 401 also counts if the latest login had failed when
// the request was sent, and no other one had begun.)
func (l *logins) counts(hasToken bool) bool {
	return hasToken || !l.usesTokens.Load() || l.noToken
}

// fail records that the latest login failed and, if err holds a typed error, the reason.
// login says whether the request that failed is one that begin counts.
func (l *logins) fail(err error, login bool) {
	l.failed, l.failedAt = nil, time.Now()
	others := l.inFlight
	if login {
		others--
	}
	l.hasNone.Store(others == 0)
	if isTyped(err) {
		l.failed = err
	}
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
