package iam_test

import (
	"maps"
	"testing"

	"github.com/cenkalti/backoff/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/examples/sdk/iam"
	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/iamtest"
)

// connect returns a client whose Transport calls the service directly, without a network.
func connect(service *iamtest.Server) *iam.Client {
	quick := func() backoff.BackOff { return &backoff.ZeroBackOff{} }
	return iam.New("https://iam.example/v3", "token", &iamhttp.Transport{Base: service, Backoff: quick})
}

func TestUserIsCreatedDespiteA429(t *testing.T) {
	var service iamtest.Server
	service.Next(iamtest.Throttled(0), iamtest.Answer{Status: 201, Body: `{"user":{"id":"1","name":"alice","enabled":true}}`})
	u, err := connect(&service).CreateUser(t.Context(), "alice")
	require.NoError(t, err)
	assert.Equal(t, &iam.User{ID: "1", Name: "alice", Enabled: true}, u)
	service.AssertRequests(t, "POST /v3/users", "POST /v3/users")
	assert.Equal(t, "token", service.Requests()[1].Header.Get("X-Auth-Token"))
}

func TestLogInGetsTheTokenForTheOtherCalls(t *testing.T) {
	var service iamtest.Server
	service.Next(iamtest.Answer{Status: 201}.With("X-Subject-Token", "secret"), iamtest.Answer{Status: 204}, iamtest.Answer{Status: 201})
	transport := &iamhttp.Transport{Base: &service}
	c, err := iam.LogIn(t.Context(), "https://iam.example/v3", map[string]string{"auth": "me"}, transport)
	require.NoError(t, err)
	require.NoError(t, c.DeleteUser(t.Context(), "1"))
	service.AssertBodies(t, `{"auth":"me"}`, "")
	assert.NotContains(t, service.Requests()[0].Header, "X-Auth-Token")
	assert.Equal(t, "secret", service.Requests()[1].Header.Get("X-Auth-Token"))

	_, err = iam.LogIn(t.Context(), "https://iam.example/v3", nil, transport)
	assert.EqualError(t, err, "log in: the response has no X-Subject-Token")
}

func TestLoginToALockedAccountIsNotRetriedAndDoesNotPauseTheGate(t *testing.T) {
	var service iamtest.Server
	service.On("POST /v3/auth/tokens", iamtest.Keystone(429, "The account is locked after too many wrong passwords."))
	shared := new(gate.Adaptive)
	_, err := iam.LogIn(t.Context(), "https://iam.example/v3", nil, &iamhttp.Transport{Base: &service, Gate: shared})
	assert.ErrorIs(t, err, iamhttp.ReasonAccountLocked)
	assert.ErrorContains(t, err, "log in: iamhttp: 429 TooManyRequests")
	service.AssertCount(t, 1)
	accounts := maps.Collect(shared.All())
	assert.NotEmpty(t, accounts)
	for key, stats := range accounts {
		assert.False(t, stats.Throttled, key)
	}
}

func TestErrorSaysWhatWasTriedAndHidesTheQuery(t *testing.T) {
	var service iamtest.Server
	service.Next(iamtest.IAM(403, "IAM.0003", "No.").With("X-Request-Id", "r"))
	_, err := connect(&service).FindUser(t.Context(), "alice")
	assert.ErrorIs(t, err, iamhttp.ErrForbidden)
	assert.EqualError(t, err, `find user "alice": iamhttp: 403 Forbidden: "No." (IAM.0003, request r, sent once: not retryable)`)
}

func TestMissingUserIsAnErrorOnlyForDeleteUser(t *testing.T) {
	var service iamtest.Server
	service.On("GET /v3/users", iamtest.Answer{Body: `{"users":[]}`})
	service.On("HEAD /v3/users/1")
	c := connect(&service)
	for id, want := range map[string]bool{"1": true, "2": false} {
		got, err := c.HasUser(t.Context(), id)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	u, err := c.FindUser(t.Context(), "bob")
	require.NoError(t, err)
	assert.Nil(t, u)
	assert.ErrorIs(t, c.DeleteUser(t.Context(), "2"), iamhttp.ErrNotFound, "deleting a missing user must fail")
}
