package iamsdk

import (
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/iamhttp/iamhttp"
)

// A mark remembers a failed request after which the SDK may continue the same call.
type mark struct {
	at     time.Time
	stack  stack
	target digest // of the method and the URL

	// For a 401:
	token   digest // of the token that was refused; zero: none
	counted bool   // whether one of the call's 401s has counted
	excused int    // number of the call's 401s, after the first, that did not count or whose place was unclear
	logins  int    // number of login requests that had succeeded at the time of the call's latest 401
	gaveUp  bool   // whether the latest request of the call's login failed
	renewed bool   // whether the call's login has returned a token since the call's latest 401

	// For a response that is kept for a resend:
	answer *iamhttp.StatusError
	body   digest // of the request's body; zero: unknown
}

// A digest is a hash of a part of a request. Marks contain only hashes, because printing a
// client also prints its marks, and each part may hold a secret.
type digest [sha256.Size]byte

func targetOf(req *http.Request) digest {
	address := ""
	if req.URL != nil {
		address = req.URL.String()
	}
	return sha256.Sum256([]byte(req.Method + " " + address))
}

func tokenOf(req *http.Request) digest {
	token := req.Header.Get("X-Auth-Token")
	if token == "" {
		return digest{}
	}
	return sha256.Sum256([]byte(token))
}

// mostDigested limits how much of a body is read for its digest, because a body may be a
// large file.
const mostDigested = 1 << 20

// bodyOf returns the digest of a body's length and beginning. It returns zero if there is
// no body, or if the body can be read only once.
func bodyOf(req *http.Request) (d digest) {
	if req.Body == nil || req.Body == http.NoBody || req.GetBody == nil {
		return d
	}
	body, err := req.GetBody()
	if err != nil || body == nil {
		return d
	}
	defer body.Close()
	h := sha256.New()
	_, _ = fmt.Fprintln(h, req.ContentLength)
	if _, err := io.Copy(h, io.LimitReader(body, mostDigested)); err != nil {
		return d
	}
	h.Sum(d[:0])
	return d
}

// marks holds at most one mark for each goroutine, because an SDK sends all requests of a
// call in one goroutine. A mark is removed when a later request in its goroutine ends its
// call or shows that the call has ended. Otherwise, it is removed when another is set and
// it is too old or there are too many. The fields other than count are guarded by mu.
type marks struct {
	count atomic.Int32 // len(of), which can be read without mu, so that most requests need no lock

	mu     sync.Mutex
	of     map[string]*mark // the key is the goroutine's name
	forgot time.Time        // when old marks were last removed
}

// put sets a goroutine's mark. It removes marks that are older than keep, but looks for
// them at most once per keep. If there are more than most marks, put removes the oldest
// one.
func (m *marks) put(goroutine string, k *mark, most int, keep time.Duration) {
	if m.of == nil {
		m.of = map[string]*mark{}
	}
	if k.at.Sub(m.forgot) >= keep {
		m.forgot = k.at
		maps.DeleteFunc(m.of, func(_ string, old *mark) bool { return k.at.Sub(old.at) > keep })
	}
	m.of[goroutine] = k
	if len(m.of) > most {
		for g, old := range m.of {
			if old.at.Before(k.at) {
				goroutine, k = g, old
			}
		}
		delete(m.of, goroutine)
	}
	m.count.Store(int32(len(m.of))) //nolint:gosec // at most 10,000
}

// drop removes a goroutine's mark.
func (m *marks) drop(goroutine string) {
	delete(m.of, goroutine)
	m.count.Store(int32(len(m.of))) //nolint:gosec // at most 10,000
}
