package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/iamhttp/iamhttp/iamtest"
)

// A service imitates the parts of Keystone that the job needs, behind a gateway with a
// rate limit. At the start, and after a pause of a second or more, the gateway accepts at
// once as many requests as it otherwise accepts per second.
type service struct {
	iamtest.Server
	rate float64

	mu      sync.Mutex
	tokens  float64   // the tokens in the gateway's bucket
	filled  time.Time // when tokens was last updated
	created int
	exists  map[string]bool // the paths of the existing resources
}

func newService(rate int) *service {
	s := &service{rate: float64(rate), tokens: float64(rate), filled: time.Now(), exists: map[string]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v3/{$}", says(200, `{"version":{"id":"v3.14","status":"stable","links":[{"rel":"self","href":"https://iam.example/v3/"}]}}`))
	mux.HandleFunc("POST /v3/auth/tokens", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Subject-Token", "token")
		says(201, `{"token":{"expires_at":"2100-01-01T00:00:00.000000Z","catalog":[]}}`)(w, r)
	})
	mux.HandleFunc("GET /v3/roles", says(200, `{"roles":[{"id":"member","name":"member"}]}`))
	mux.HandleFunc("GET /v3/projects", says(200, `{"projects":[]}`))
	mux.HandleFunc("POST /v3/{kind}", s.create)
	mux.HandleFunc("PUT /v3/projects/{project}/groups/{group}/roles/{role}", s.put)
	mux.HandleFunc("GET /v3/projects/{project}/groups/{group}/roles", says(200, `{"roles":[{"id":"member","name":"member"}]}`))
	mux.HandleFunc("GET /v3/{kind}/{id}", s.get)
	mux.HandleFunc("DELETE /v3/", s.delete)
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.takes() {
			iamtest.Throttled(time.Second).ServeHTTP(w, r)
			return
		}
		time.Sleep(20 * time.Millisecond)
		mux.ServeHTTP(w, r)
	})
	return s
}

// takes reports whether the gateway accepts a request. If so, it takes a token from the
// bucket.
func (s *service) takes() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.tokens = min(s.rate, s.tokens+s.rate*now.Sub(s.filled).Seconds())
	s.filled = now
	if s.tokens < 1 {
		return false
	}
	s.tokens--
	return true
}

func says(status int, body string) http.HandlerFunc {
	return iamtest.Answer{Status: status, Body: body}.ServeHTTP
}

func (s *service) create(w http.ResponseWriter, r *http.Request) {
	kind := r.PathValue("kind")
	single := strings.TrimSuffix(kind, "s")
	var in map[string]struct{ Name string }
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in[single].Name == "" {
		iamtest.Keystone(400, "The name is missing.").ServeHTTP(w, r)
		return
	}
	s.mu.Lock()
	s.created++
	id := fmt.Sprint(s.created)
	s.exists["/v3/"+kind+"/"+id] = true
	s.mu.Unlock()
	says(201, fmt.Sprintf(`{%q:{"id":%q,"name":%q}}`, single, id, in[single].Name))(w, r)
}

func (s *service) put(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.exists[r.URL.Path] = true
	s.mu.Unlock()
	says(204, "")(w, r)
}

func (s *service) get(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	found := s.exists[r.URL.Path]
	s.mu.Unlock()
	if !found {
		iamtest.Keystone(404, "There is no such resource.").ServeHTTP(w, r)
		return
	}
	says(200, fmt.Sprintf(`{%q:{"id":%q}}`, strings.TrimSuffix(r.PathValue("kind"), "s"), r.PathValue("id")))(w, r)
}

func (s *service) delete(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	found := s.exists[r.URL.Path]
	delete(s.exists, r.URL.Path)
	s.mu.Unlock()
	if !found {
		iamtest.Keystone(404, "There is no such resource.").ServeHTTP(w, r)
		return
	}
	says(204, "")(w, r)
}
