package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
)

// failed asserts that err contains a *StatusError with the given code, that its Message
// contains message, that the request was sent once because it is not retryable, that the
// whole body was read, and that Keystone itself responded. It returns the *StatusError.
func failed(t *testing.T, err error, code iamhttp.Code, message string) *iamhttp.StatusError {
	t.Helper()
	require.ErrorIs(t, err, code)
	var e *iamhttp.StatusError
	ok := errors.As(err, &e)
	require.True(t, ok)
	assert.Equal(t, iamhttp.StopNotRetryable, e.Stop)
	assert.Equal(t, 1, e.Attempts)
	assert.Contains(t, e.Message, message)
	assert.Regexp(t, "^req-[0-9a-f-]{36}$", e.RequestID)
	assert.False(t, e.Truncated)
	return e
}

func TestTypicalIAMCallsSucceedOrReturnTypedErrors(t *testing.T) {
	for name, front := range fronts {
		t.Run(name, func(t *testing.T) {
			tr := &iamhttp.Transport{}
			reports := reporting(tr)
			s := admin(t, client(t, tr), at(t, front))
			user, project := unique("user"), unique("project")
			s.create(t, "project", object{"name": project, "domain_id": "default"})
			id := s.create(t, "user", object{"name": user, "password": "s3cr3t-of-" + user})

			resp, err := s.do(t, "GET", "/v3/users/"+id, nil)
			require.NoError(t, err)
			var got struct{ User struct{ Name string } }
			decode(t, resp, &got)
			assert.Equal(t, user, got.User.Name)

			resp, err = s.do(t, "GET", "/v3/users?name="+user, nil)
			require.NoError(t, err)
			var list struct{ Users []struct{ ID string } }
			decode(t, resp, &list)
			require.Len(t, list.Users, 1)
			assert.Equal(t, id, list.Users[0].ID)
			assert.Empty(t, *reports, "failures were reported although all calls succeeded")

			_, err = s.do(t, "POST", "/v3/users", object{"user": object{"name": user}})
			failed(t, err, iamhttp.ErrConflict, "Duplicate entry found with name "+user)
			assert.ErrorIs(t, err, iamhttp.ReasonAlreadyExists)
			_, err = s.do(t, "POST", "/v3/projects", object{"project": object{"name": project, "domain_id": "default"}})
			failed(t, err, iamhttp.ErrConflict, "Conflict occurred attempting to store project")
			assert.ErrorIs(t, err, iamhttp.ReasonAlreadyExists)
			_, err = s.do(t, "GET", "/v3/users/"+nobodysID, nil)
			failed(t, err, iamhttp.ErrNotFound, "Could not find user: "+nobodysID+".")
			_, err = s.do(t, "HEAD", "/v3/users/"+nobodysID, nil)
			failed(t, err, iamhttp.ErrNotFound, "")
			_, err = s.do(t, "PUT", "/v3/users", object{})
			failed(t, err, iamhttp.ErrMethodNotAllowed, "The method is not allowed")
			_, err = s.do(t, "POST", "/v3/users", object{"user": object{"name": 17}})
			e := failed(t, err, iamhttp.ErrBadRequest, "17 is not of type 'string'")
			assert.NotContains(t, e.Message, "\n", "Message must be a single line, although Keystone's message has several")
			_, err = s.do(t, "GET", "/v3/there/is/nothing", nil)
			failed(t, err, iamhttp.ErrNotFound, "") // the body is HTML

			ordinary, err := login(t, s.http, s.url, user, "s3cr3t-of-"+user, "")
			require.NoError(t, err)
			_, err = ordinary.do(t, "POST", "/v3/users", object{"user": object{"name": "x"}})
			failed(t, err, iamhttp.ErrForbidden, "You are not authorized to perform the requested action: identity:create_user.")
		})
	}
}

func TestWrongPasswordIsATypedErrorWithoutSecrets(t *testing.T) {
	const password = "not-the-right-one"
	for name, front := range fronts {
		t.Run(name, func(t *testing.T) {
			c := client(t, &iamhttp.Transport{})
			s := admin(t, c, at(t, front))
			user := unique("user")
			s.create(t, "user", object{"name": user, "password": "the-right-one"})
			_, err := login(t, c, s.url, user, password, "")
			e := failed(t, err, iamhttp.ErrUnauthorized, "The request you have made requires authentication.")
			assert.Contains(t, e.Header().Get("Www-Authenticate"), "Keystone uri=")

			stranger := &iam{http: c, url: s.url, token: "not-a-token"}
			_, err = stranger.do(t, "GET", "/v3/users", nil)
			failed(t, err, iamhttp.ErrUnauthorized, "requires authentication")

			var logged bytes.Buffer
			slog.New(slog.NewJSONHandler(&logged, nil)).Error("x", "err", e)
			marshaled, err := json.Marshal(e)
			require.NoError(t, err)
			for _, text := range []string{e.Error(), fmt.Sprintf("%+v %#v", e, e), logged.String(), string(marshaled)} {
				assert.NotContains(t, text, password)
				assert.NotContains(t, text, adminPassword)
				assert.Contains(t, text, e.RequestID)
			}
		})
	}
}

func Test300FromVersionDiscoveryIsReturnedAsAResponse(t *testing.T) {
	for name, front := range fronts {
		t.Run(name, func(t *testing.T) {
			tr := &iamhttp.Transport{}
			reports := reporting(tr)
			resp, err := client(t, tr).Get(at(t, front) + "/")
			require.NoError(t, err)
			defer resp.Body.Close()
			assert.Equal(t, 300, resp.StatusCode)
			assert.NotEmpty(t, resp.Header.Get("Location"))
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.Contains(t, string(body), `"versions"`)
			assert.Empty(t, *reports)
		})
	}
}

func TestPassThroughReturnsTheResponseAndTheRecorderHoldsTheError(t *testing.T) {
	for name, front := range fronts {
		t.Run(name, func(t *testing.T) {
			s := admin(t, client(t, &iamhttp.Transport{PassThrough: true}), at(t, front))
			ctx, rec := iamhttp.WithRecorder(t.Context())
			resp, err := s.doContext(ctx, t, "GET", "/v3/users/"+nobodysID, nil)
			require.NoError(t, err)
			assert.Equal(t, 404, resp.StatusCode)
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.Contains(t, string(body), "Could not find user")
			failed(t, rec.Wrap(errors.New("sdk: no user")), iamhttp.ErrNotFound, "Could not find user")

			_, err = s.doContext(ctx, t, "GET", "/v3/users", nil)
			require.NoError(t, err)
			_, ok := rec.Last()
			assert.False(t, ok, "a success must clear the Recorder")
		})
	}
}

// Keystone under uWSGI does not read chunked bodies, so a client that drops the
// Content-Length cannot log in, unless nginx is in between and adds one.
func TestLoginKeepsItsContentLength(t *testing.T) {
	for name, front := range map[string]int{"Keystone itself": keystone, "HAProxy": haproxy, "HAProxy, retried": haproxyLimited, "nginx, retried": nginxLimited} {
		t.Run(name, func(t *testing.T) {
			tr := &iamhttp.Transport{}
			reports := reporting(tr)
			limited := front == haproxyLimited || front == nginxLimited
			if limited {
				// Keystone is so slow at logins that logins alone do not exceed the
				// limit.
				for range 10 {
					resp, err := http.Get(at(t, front) + "/")
					require.NoError(t, err)
					resp.Body.Close()
				}
			}
			s := admin(t, client(t, tr), at(t, front))
			if limited {
				require.NotEmpty(t, *reports, "the login was not throttled")
				assert.Equal(t, iamhttp.ErrTooManyRequests, code((*reports)[0]))
			}
			assert.NotEmpty(t, s.token)
		})
	}
}

func TestQuickstartRunsAgainstARealKeystone(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "run", "github.com/iamhttp/iamhttp/examples/quickstart")
	cmd.Env = append(os.Environ(), "OS_AUTH_URL="+at(t, nginx)+"/v3", "OS_USERNAME=admin", "OS_PASSWORD="+adminPassword, "OS_PROJECT_NAME=admin")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	for _, want := range []string{"409 Conflict", "404 NotFound", "401 Unauthorized"} {
		assert.Contains(t, string(out), want)
	}
	assert.NotContains(t, string(out), adminPassword)
	t.Logf("%s", out)
}
