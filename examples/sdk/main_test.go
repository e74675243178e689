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

// fake is an SDK that does not need a service. Its errors have the types of iamhttp's
// errors.
type fake struct {
	createErr, findErr error
	found              *iam.User
}

func (f fake) CreateUser(context.Context, string) (*iam.User, error) {
	return &iam.User{ID: "new"}, f.createErr
}
func (f fake) FindUser(context.Context, string) (*iam.User, error) { return f.found, f.findErr }

func TestEnsureCreatesOrFindsTheUser(t *testing.T) {
	taken := &iamhttp.StatusError{Code: iamhttp.ErrBadRequest, ServiceCode: "1109"}
	there := &iam.User{ID: "old"}
	for name, tt := range map[string]struct {
		users   fake
		id      string
		created bool
		err     error
	}{
		"a new user":                             {fake{}, "new", true, nil},
		"a 409":                                  {fake{createErr: &iamhttp.StatusError{Code: 409}, found: there}, "old", false, nil},
		"a 400 that means the name is taken":     {fake{createErr: taken, found: there}, "old", false, nil},
		"a 400 for another reason":               {fake{createErr: &iamhttp.StatusError{Code: 400}, found: there}, "", false, iamhttp.ErrBadRequest},
		"the name is taken and the search fails": {fake{createErr: taken, findErr: &iamhttp.StatusError{Code: 403}}, "", false, iamhttp.ErrForbidden},
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
	assert.ErrorContains(t, err, "is not visible")
	assert.Contains(t, advice(err), "choose another name")
}

func TestAdviceFitsTheError(t *testing.T) {
	for want, err := range map[string]error{
		"wait until the account is unlocked":                 &iamhttp.StatusError{Code: 401, ServiceCode: "IAM.0061"},
		"log in again":                                       &iamhttp.StatusError{Code: 401},
		"delete a user, or ask for a higher quota":           &iamhttp.StatusError{Code: 400, ServiceCode: "1115"},
		"try again in 1m0s":                                  &iamhttp.StatusError{Code: 429, RetryAfter: time.Minute},
		"contact the operators and mention the request ID r": &iamhttp.StatusError{Code: 500, RequestID: "r"},
		"contact the operators":                              &iamhttp.StatusError{Code: 500},
		"try again in 5s":                                    &iamhttp.NotSentError{RetryAfter: 5 * time.Second, Err: gate.ErrDeadline},
		"try again later":                                    &iamhttp.NotSentError{},
		"check the connection":                               errors.New("connection refused"),
	} {
		assert.Equal(t, want, advice(err))
	}
	const permission = "ask for the permission to create users"
	assert.Equal(t, permission, advice(&iamhttp.StatusError{Code: 403}))
	assert.Equal(t, permission, advice(&iamhttp.StatusError{Code: 401, ServiceCode: "IAM.0064"}), "the advice must not be to log in again")
}

func TestProgramCreatesAndFindsUsersUntilOneExceedsTheQuota(t *testing.T) {
	service := httptest.NewServer(serviceWithAQuota(2))
	defer service.Close()
	client := iam.New(service.URL+"/v3", "token", nil)
	var out, errs strings.Builder
	assert.Equal(t, 1, run(t.Context(), client, []string{"alice", "bob", "alice", "carol"}, &out, &errs))
	assert.Equal(t, `alice: created, ID 1
bob: created, ID 2
alice: exists, ID 1
`, out.String())
	assert.Equal(t, `carol: create user "carol": iamhttp: 400 BadRequest: "The number of IAM users
has reached the maximum allowed limit." (1115, request
e2b44851-0991-411b-a6b7-9ac8518a4cd9, sent once: not retryable)
  -> delete a user, or ask for a higher quota
`, errs.String())
}

func TestMissingAndInvalidNamesAreRefusedAndHelpIsPrinted(t *testing.T) {
	for _, tt := range []struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		{nil, 2, "", usage},
		{[]string{"-h"}, 0, usage, ""},
		{[]string{"alice", "--help"}, 0, usage, ""},
		{[]string{"alice", "--nonsense"}, 2, "", "sdk: \"--nonsense\" is not a valid name; -h prints help\n"},
		{[]string{""}, 2, "", "sdk: \"\" is not a valid name; -h prints help\n"},
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

func TestServiceRespondsWithValidJSONEvenIfTheNameNeedsEscaping(t *testing.T) {
	service := httptest.NewServer(serviceWithAQuota(1))
	defer service.Close()
	client := iam.New(service.URL+"/v3", "token", nil)
	const name = "a \x01 \"b\" \u00fc"
	user, err := client.CreateUser(t.Context(), name)
	require.NoError(t, err)
	assert.Equal(t, name, user.Name)
}
