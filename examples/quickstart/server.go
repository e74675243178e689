package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"

	"github.com/iamhttp/iamhttp/examples/internal/account"
	"github.com/iamhttp/iamhttp/iamtest"
)

// A service is an IAM service with a single account. It supports the part of the API
// that the quickstart calls.
type service struct {
	iamtest.Server // scripted responses take precedence over the API

	endpoint string
	account  account.Account // the only account that can log in
	server   *http.Server
	token    string // the only valid token

	mu    sync.Mutex
	ids   int // the number of user IDs generated so far
	users []user
}

// startService returns a service that listens on the loopback interface.
func startService() (*service, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := newService()
	s.endpoint = "http://" + l.Addr().String() + "/v3"
	s.server = &http.Server{Handler: s}
	go s.server.Serve(l) // runs until close is called
	return s, nil
}

func newService() *service {
	s := &service{
		account: account.Account{
			UserName: "admin", Password: rand.Text(), UserDomain: "Default",
			Project: "demo", ProjectDomain: "Default",
		},
		token: rand.Text(),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v3/auth/tokens", s.logIn)
	mux.HandleFunc("POST /v3/users", s.loggedIn(s.createUser))
	mux.HandleFunc("GET /v3/users", s.loggedIn(s.listUsers))
	mux.HandleFunc("GET /v3/users/{id}", s.loggedIn(s.getUser))
	mux.HandleFunc("DELETE /v3/users/{id}", s.loggedIn(s.deleteUser))
	s.Handler = mux
	return s
}

func (s *service) close() { s.server.Close() }

// loggedIn rejects requests without the token, and passes on all others one at a time, so
// that the handlers do not need locks.
func (s *service) loggedIn(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Auth-Token") != s.token {
			iamtest.Keystone(401, "The token is missing or not valid.").ServeHTTP(w, r)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		next(w, r)
	}
}

func (s *service) logIn(w http.ResponseWriter, r *http.Request) {
	type named struct {
		Name     string
		Password string
		Domain   struct{ Name string }
	}
	var in struct {
		Auth struct {
			Identity struct{ Password struct{ User named } }
			Scope    struct{ Project named }
		}
	}
	if !decode(w, r, &in) {
		return
	}
	u, p := in.Auth.Identity.Password.User, in.Auth.Scope.Project
	as := account.Account{
		UserName: u.Name, Password: u.Password, UserDomain: u.Domain.Name,
		Project: p.Name, ProjectDomain: p.Domain.Name,
	}
	if s.account != as {
		iamtest.Keystone(401, "The user, the password or the project is wrong.").ServeHTTP(w, r)
		return
	}
	w.Header().Set("X-Subject-Token", s.token)
	reply(w, 201, object{"token": object{"user": object{"name": u.Name}}})
}

func (s *service) createUser(w http.ResponseWriter, r *http.Request) {
	var in struct{ User user }
	if !decode(w, r, &in) {
		return
	}
	if slices.ContainsFunc(s.users, func(u user) bool { return u.Name == in.User.Name }) {
		iamtest.Keystone(409, fmt.Sprintf("User %s already exists.", in.User.Name)).ServeHTTP(w, r)
		return
	}
	s.ids++
	u := user{ID: fmt.Sprintf("user-%d", s.ids), Name: in.User.Name}
	s.users = append(s.users, u)
	reply(w, 201, object{"user": u})
}

func (s *service) listUsers(w http.ResponseWriter, r *http.Request) {
	name := r.FormValue("name")
	found := []user{}
	for _, u := range s.users {
		if name == "" || u.Name == name {
			found = append(found, u)
		}
	}
	reply(w, 200, object{"users": found})
}

func (s *service) getUser(w http.ResponseWriter, r *http.Request) {
	if i := s.find(w, r); i >= 0 {
		reply(w, 200, object{"user": s.users[i]})
	}
}

func (s *service) deleteUser(w http.ResponseWriter, r *http.Request) {
	if i := s.find(w, r); i >= 0 {
		s.users = slices.Delete(s.users, i, i+1)
		w.WriteHeader(204)
	}
}

// find returns the index of the user whose ID is in the path. If there is no such user,
// it sends a 404 and returns -1.
func (s *service) find(w http.ResponseWriter, r *http.Request) int {
	id := r.PathValue("id")
	i := slices.IndexFunc(s.users, func(u user) bool { return u.ID == id })
	if i < 0 {
		iamtest.Keystone(404, fmt.Sprintf("There is no user with the id %s.", id)).ServeHTTP(w, r)
	}
	return i
}

// decode decodes the body into in, and reports whether that worked. If not, it sends a
// 400.
func decode(w http.ResponseWriter, r *http.Request, in any) bool {
	if err := json.NewDecoder(r.Body).Decode(in); err != nil {
		iamtest.Keystone(400, "The body is not JSON, or not of the expected form.").ServeHTTP(w, r)
		return false
	}
	return true
}

func reply(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(body)
}
