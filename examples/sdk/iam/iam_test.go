package iam_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/cenkalti/backoff/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/examples/sdk/iam"
)

// serve returns a client of a service that answers each request with f.
func serve(t *testing.T, f http.HandlerFunc) *iam.Client {
	t.Helper()
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	return iam.New(srv.URL+"/v3", "token", &iamhttp.Transport{Backoff: func() backoff.BackOff { return &backoff.ZeroBackOff{} }})
}

func TestAUserIsCreatedAlsoThroughARateLimit(t *testing.T) {
	n := 0
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "token", r.Header.Get("X-Auth-Token"))
		if n++; n == 1 {
			w.WriteHeader(429)
			return
		}
		w.WriteHeader(201)
		fmt.Fprint(w, `{"user":{"id":"1","name":"alice","enabled":true}}`)
	})
	u, err := c.CreateUser(t.Context(), "alice")
	require.NoError(t, err)
	assert.Equal(t, &iam.User{ID: "1", Name: "alice", Enabled: true}, u)
	assert.Equal(t, 2, n)
}

func TestAFailureNamesWhatWasTriedAndHidesTheQuery(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(403)
		fmt.Fprint(w, `{"error":{"code":403,"message":"No."}}`)
	})
	_, err := c.FindUser(t.Context(), "alice")
	assert.ErrorIs(t, err, iamhttp.ErrForbidden)
	assert.EqualError(t, err, `find user "alice": iam: 403 Forbidden: "No." (sent once: not repeatable)`)
}

func TestAMissingUserIsAnAnswer(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == "GET":
			fmt.Fprint(w, `{"users":[]}`)
		case r.URL.Path != "/v3/users/1":
			w.WriteHeader(404)
		}
	})
	for id, want := range map[string]bool{"1": true, "2": false} {
		got, err := c.HasUser(t.Context(), id)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	u, err := c.FindUser(t.Context(), "bob")
	require.NoError(t, err)
	assert.Nil(t, u)
	assert.ErrorIs(t, c.DeleteUser(t.Context(), "2"), iamhttp.ErrNotFound, "nothing was deleted")
}
