package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/iamtest"
)

// play runs the program with env as its environment.
func play(ctx context.Context, env map[string]string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(ctx, args, func(name string) string { return env[name] }, &out, &errs)
	return code, out.String(), errs.String()
}

// served returns a service, and the settings for reaching it through handler. If handler
// is nil, requests go directly to the service.
func served(t *testing.T, handler func(*service) http.HandlerFunc) (*service, map[string]string) {
	s := newService()
	h := http.Handler(s)
	if handler != nil {
		h = handler(s)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return s, map[string]string{
		"OS_AUTH_URL":     srv.URL,
		"OS_USERNAME":     s.account.UserName,
		"OS_PASSWORD":     s.account.Password,
		"OS_PROJECT_NAME": s.account.Project,
	}
}

func (s *service) left() []user {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.users
}

func readable(t *testing.T, transcript string) {
	for line := range strings.Lines(transcript) {
		assert.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")), 100, line)
		for _, r := range line {
			assert.True(t, r == '\n' || ' ' <= r && r <= '~', "%q in %q", r, line)
		}
	}
}

func TestQuickstartShowsWhatACallerSees(t *testing.T) {
	if testing.Short() {
		t.Skip("this test takes a few seconds, because it waits as long as the service asks")
	}
	t.Parallel()
	code, stdout, stderr := play(t.Context(), nil)
	require.Zero(t, code, stderr)
	assert.Empty(t, stderr)
	readable(t, stdout)
	for _, want := range []string{
		`-> admin is logged in to project demo`,
		`-> alice created, ID user-1`,
		`429 TooManyRequests, Retry-After: 1: retry in [12]\.\ds\n +-> bob created, ID user-2\n.* twice`,
		`408 Request Time-out: retry in [01]\.\ds\n +-> user-1 has the name alice\n.* twice`,
		`409 Conflict: no retry, not retryable\n +-> errors\.Is\(err, iamhttp\.ErrConflict\)`,
		`e\.Code: +404 NotFound\n +e\.Message: .*\n +e\.RequestID: req-[0-9a-f-]+\n +e\.Attempts: +1\n`,
		`errors\.As\(err, &code\): the code is 401 Unauthorized`,
		`503 ServiceUnavailable, Retry-After: 1: no retry, not retryable\n(.*\n)*?.* once`,
		`iamhttp\.StopDeadline: the call failed at once \(`,
		`429 TooManyRequests, Retry-After: 1: no retry, body not replayable\n(.*\n)*?.* once`,
		`err is: sdk: the request failed\n +-> rec\.Wrap\(err\) is: sdk: the request failed: iamhttp: 404 NotFound`,
		`-> alice deleted\n +-> bob deleted\n\nEverything went as expected\.\n$`,
	} {
		assert.Regexp(t, want, stdout)
	}
}

func TestQuickstartAgainstARealServiceSkipsOnlyTheStagedScenes(t *testing.T) {
	t.Parallel()
	var seen strings.Builder // all tokens that were sent
	s, env := served(t, func(s *service) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v3/auth/tokens" {
				assert.Empty(t, r.Header.Get("X-Auth-Token"))
			}
			seen.WriteString(r.Header.Get("X-Auth-Token"))
			s.ServeHTTP(w, r)
		}
	})
	code, stdout, stderr := play(t.Context(), env)
	require.Zero(t, code, stderr)
	assert.Empty(t, stderr)
	readable(t, stdout)
	for _, want := range []string{
		`the service at\s` + env["OS_AUTH_URL"] + `/v3`,
		`-> admin is logged in to project demo`,
		`-> quickstart-[a-z2-7]{12} created, ID user-1`,
		`user-1 is the ID of the only user with that name`,
		`409 Conflict`,
		`404 NotFound`,
		`401 Unauthorized`,
		`rec\.Wrap\(err\) is`,
		`-> quickstart-[a-z2-7]{12} deleted`,
	} {
		assert.Regexp(t, want, stdout)
	}
	assert.Equal(t, 5, strings.Count(stdout, "skipped: a real service does not send"), stdout)
	assert.NotRegexp(t, `\b(429|408|503)\b`, stdout) // as whole words, because a port or a request ID may contain these digits
	assert.Empty(t, s.left())

	require.Contains(t, seen.String(), s.token)
	assert.NotContains(t, stdout, s.token)
	assert.NotContains(t, stdout, s.account.Password)
}

func TestDomainsAreTakenFromTheEnvironment(t *testing.T) {
	t.Parallel()
	s, env := served(t, nil)
	s.account.UserDomain, s.account.ProjectDomain = "people", "things"
	code, _, stderr := play(t.Context(), env)
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "401 Unauthorized")
	assert.NotContains(t, stderr, s.account.Password)

	env["OS_USER_DOMAIN_NAME"], env["OS_PROJECT_DOMAIN_NAME"] = "people", "things"
	code, _, stderr = play(t.Context(), env)
	assert.Zero(t, code, stderr)
}

func TestUnexpectedFailureEndsTheQuickstartAndTheUserIsDeleted(t *testing.T) {
	t.Parallel()
	s, env := served(t, func(s *service) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && r.URL.Path == "/v3/users/user-1" {
				iamtest.Keystone(500, "Something broke.").ServeHTTP(w, r)
				return
			}
			s.ServeHTTP(w, r)
		}
	})
	code, stdout, stderr := play(t.Context(), env)
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, `quickstart: scene 3, "Get the user, and find it by name": get user user-1: `)
	assert.Contains(t, stderr, `iamhttp: 500 InternalServerError: "Something broke."`)
	assert.Regexp(t, `-> quickstart-\w+ deleted`, stdout)
	assert.NotContains(t, stdout, "Everything went as expected")
	assert.Empty(t, s.left())
}

func TestCallThatUnexpectedlySucceedsEndsTheQuickstart(t *testing.T) {
	t.Parallel()
	s, env := served(t, func(s *service) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && r.URL.Path == "/v3/users/nobody" {
				reply(w, 200, object{"user": user{ID: "nobody"}})
				return
			}
			s.ServeHTTP(w, r)
		}
	})
	code, _, stderr := play(t.Context(), env)
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "expected 404 NotFound, but there was no error")
	assert.Empty(t, s.left())
}

func TestUserIsDeletedAfterAnInterrupt(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	s, env := served(t, func(s *service) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			s.ServeHTTP(w, r)
			if r.Method == http.MethodPost && r.URL.Path == "/v3/users" {
				interrupt() // the response may or may not arrive
			}
		}
	})
	code, _, stderr := play(ctx, env)
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, context.Canceled.Error())
	assert.Empty(t, s.left())
}

func TestErrorNamesAUserThatCannotBeDeleted(t *testing.T) {
	t.Parallel()
	_, env := served(t, func(s *service) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodDelete && r.URL.Path == "/v3/users/user-1" {
				iamtest.Keystone(403, "Not yours.").ServeHTTP(w, r)
				return
			}
			s.ServeHTTP(w, r)
		}
	})
	code, _, stderr := play(t.Context(), env)
	assert.Equal(t, 1, code)
	assert.Regexp(t, `user quickstart-\w+ may be left behind: delete user user-1: .* 403 Forbidden`, stderr)
}

func TestPasswordIsNotSentToARedirectTarget(t *testing.T) {
	t.Parallel()
	_, env := served(t, func(*service) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			assert.NotEqual(t, "/elsewhere", r.URL.Path)
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}
	})
	code, _, stderr := play(t.Context(), env)
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "the service redirects")
}

func TestErrorNamesTheMissingSettings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		set     []string
		missing string
	}{
		{[]string{"OS_AUTH_URL"}, "OS_USERNAME, OS_PASSWORD, OS_PROJECT_NAME"},
		{[]string{"OS_AUTH_URL", "OS_USERNAME", "OS_PASSWORD"}, "OS_PROJECT_NAME"},
		{[]string{"OS_USERNAME", "OS_PASSWORD", "OS_PROJECT_NAME"}, "OS_AUTH_URL"},
		{[]string{"OS_PASSWORD"}, "OS_AUTH_URL, OS_USERNAME, OS_PROJECT_NAME"},
	} {
		env := map[string]string{}
		for _, name := range c.set {
			env[name] = "a secret"
		}
		code, stdout, stderr := play(t.Context(), env)
		assert.Equal(t, 2, code)
		assert.Empty(t, stdout)
		assert.Contains(t, stderr, strings.Join(c.set, ", ")+" set, but not "+c.missing+";")
		assert.NotContains(t, stderr, "a secret")
	}
}

func TestInvalidAddressIsRefusedWithoutShowingIt(t *testing.T) {
	t.Parallel()
	_, env := served(t, nil)
	env["OS_AUTH_URL"] = "https://me:pw@iam.example.com"
	code, stdout, stderr := play(t.Context(), env)
	assert.Equal(t, 2, code)
	assert.Empty(t, stdout)
	assert.Equal(t, "quickstart: OS_AUTH_URL must look like https://iam.example.com/v3\n", stderr)
}

func TestHelpListsTheSettings(t *testing.T) {
	t.Parallel()
	for _, flag := range []string{"-h", "-help", "--help"} {
		code, stdout, stderr := play(t.Context(), nil, flag)
		assert.Zero(t, code)
		assert.Empty(t, stderr)
		assert.Contains(t, stdout, "OS_USER_DOMAIN_NAME")
		readable(t, stdout)
	}
}

func TestUnknownFlagIsRefused(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := play(t.Context(), nil, "-v")
	assert.Equal(t, 2, code)
	assert.Empty(t, stdout)
	assert.Equal(t, "quickstart: unexpected argument \"-v\"; -h lists the settings\n", stderr)
}

func TestLongLineIsWrappedAtASpaceIfPossible(t *testing.T) {
	t.Parallel()
	word := strings.Repeat("x", 60)
	var out bytes.Buffer
	tr := transcript{out: &out}
	tr.say("%s %s %s%s", word, word, word, word)
	assert.Equal(t, ""+
		"      "+word+"\n"+
		"           "+word+"\n"+
		"           "+strings.Repeat("x", 69)+"\n"+
		"           "+strings.Repeat("x", 51)+"\n", out.String())
}
