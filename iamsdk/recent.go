package iamsdk

import (
	"bytes"
	"sync"
	"time"

	"github.com/iamhttp/iamhttp"
)

// recent holds the latest failures of all clients. Most SDKs keep no header of an
// answer, and none keeps how often it was sent: what Wrap finds in an error of theirs
// is a key to the failure here.
var recent memory

// A memory holds the latest failures. Of two that an SDK's error cannot tell apart,
// it finds the later one.
type memory struct {
	mu       sync.Mutex
	failures [100]remembered // a ring, so that what is held is bounded
	next     int
}

type remembered struct {
	*iamhttp.StatusError
	at     time.Time
	logins *logins // of its client
}

func (m *memory) add(e *iamhttp.StatusError, l *logins) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failures[m.next] = remembered{e, time.Now(), l}
	m.next = (m.next + 1) % len(m.failures)
}

// find returns the latest failure with these parts.
func (m *memory) find(method, url string, code int, body []byte) (remembered, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.failures {
		r := m.failures[(m.next-1-i+2*len(m.failures))%len(m.failures)]
		if r.StatusError == nil {
			break
		}
		if r.Code == iamhttp.Code(code) && r.Method == method && r.URL == url && sameBody(r.StatusError, body) {
			return r, true
		}
	}
	return remembered{}, false
}

func sameBody(e *iamhttp.StatusError, body []byte) bool {
	if e.Truncated {
		return bytes.HasPrefix(body, e.Body())
	}
	return bytes.Equal(body, e.Body())
}
