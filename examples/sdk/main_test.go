package main

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/examples/sdk/iam"
	"github.com/iamhttp/iamhttp/gate"
)

// fake is the SDK without a service: its errors are iamhttp's.
type fake struct {
	createErr, findErr error
	found              *iam.User
}

func (f fake) CreateUser(context.Context, string) (*iam.User, error) {
	return &iam.User{ID: "new"}, f.createErr
}
func (f fake) FindUser(context.Context, string) (*iam.User, error) { return f.found, f.findErr }

func TestEnsureCreatesOrFinds(t *testing.T) {
	taken := &iamhttp.StatusError{Code: iamhttp.ErrBadRequest, ServiceCode: "1109"}
	there := &iam.User{ID: "old"}
	for name, tt := range map[string]struct {
		users   fake
		id      string
		created bool
		err     error
	}{
		"new":                         {fake{}, "new", true, nil},
		"a conflict":                  {fake{createErr: &iamhttp.StatusError{Code: 409}, found: there}, "old", false, nil},
		"a 400 that is a conflict":    {fake{createErr: taken, found: there}, "old", false, nil},
		"another 400":                 {fake{createErr: &iamhttp.StatusError{Code: 400}, found: there}, "", false, iamhttp.ErrBadRequest},
		"taken, and the search fails": {fake{createErr: taken, findErr: &iamhttp.StatusError{Code: 403}}, "", false, iamhttp.ErrForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			user, created, err := ensure(t.Context(), tt.users, "x")
			assert.ErrorIs(t, err, tt.err)
			assert.Equal(t, tt.created, created)
			if tt.err == nil {
				assert.Equal(t, tt.id, user.ID)
			}
		})
	}
	_, _, err := ensure(t.Context(), fake{createErr: taken}, "x")
	assert.ErrorContains(t, err, "cannot be seen")
}

func TestAdviceFitsTheError(t *testing.T) {
	for want, err := range map[string]error{
		"wait until the account is unlocked":      &iamhttp.StatusError{Code: 401, ServiceCode: "IAM.0061"},
		"log in again":                            &iamhttp.StatusError{Code: 401},
		"delete a user, or have the quota raised": &iamhttp.StatusError{Code: 400, ServiceCode: "1115"},
		"try again in 1m0s":                       &iamhttp.StatusError{Code: 429, RetryAfter: time.Minute},
		"ask the operators, and name request r":   &iamhttp.StatusError{Code: 500, RequestID: "r"},
		"ask the operators":                       &iamhttp.StatusError{Code: 500},
		"try again in 5s":                         &iamhttp.NotSentError{RetryAfter: 5 * time.Second, Err: gate.ErrDeadline},
		"try again later":                         &iamhttp.NotSentError{},
		"check the connection":                    errors.New("connection refused"),
	} {
		assert.Equal(t, want, advice(err))
	}
	const permission = "ask for the permission to create users"
	assert.Equal(t, permission, advice(&iamhttp.StatusError{Code: 403}))
	assert.Equal(t, permission, advice(&iamhttp.StatusError{Code: 401, ServiceCode: "IAM.0064"}), "logging in again would not help")
}

func TestTheProgramEndToEnd(t *testing.T) {
	service := httptest.NewServer(serviceWithAQuota(2))
	defer service.Close()
	client := iam.New(service.URL+"/v3", "token", nil)
	var out, errs strings.Builder
	assert.Equal(t, 1, run(t.Context(), client, []string{"alice", "bob", "alice", "carol"}, &out, &errs))
	assert.Equal(t, `alice: created, id 1
bob: created, id 2
alice: exists, id 1
`, out.String())
	assert.Equal(t, `carol: create user "carol": iamhttp: 400 BadRequest: "The number of IAM users
has reached the maximum allowed limit." (1115, request
e2b44851-0991-411b-a6b7-9ac8518a4cd9, sent once: not retryable)
  -> delete a user, or have the quota raised
`, errs.String())
}

func TestWithoutANameThereIsHelp(t *testing.T) {
	for _, tt := range []struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		{nil, 2, "", usage},
		{[]string{"-h"}, 0, usage, ""},
		{[]string{"alice", "--help"}, 0, usage, ""},
		{[]string{"alice", "--nonsense"}, 2, "", "sdk: \"--nonsense\" is no name; -h is help\n"},
		{[]string{""}, 2, "", "sdk: \"\" is no name; -h is help\n"},
	} {
		var out, errs strings.Builder
		assert.Equal(t, tt.code, run(t.Context(), fake{}, tt.args, &out, &errs), tt.args)
		assert.Equal(t, tt.stdout, out.String())
		assert.Equal(t, tt.stderr, errs.String())
	}
	for line := range strings.Lines(usage) {
		assert.LessOrEqual(t, len(line), 1+80, line)
	}
}

func TestTheServiceAnswersInJSONWhateverTheName(t *testing.T) {
	service := httptest.NewServer(serviceWithAQuota(1))
	defer service.Close()
	client := iam.New(service.URL+"/v3", "token", nil)
	const name = "a \x01 \"b\" \u00fc"
	user, err := client.CreateUser(t.Context(), name)
	require.NoError(t, err)
	assert.Equal(t, name, user.Name)
}
