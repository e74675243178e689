package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/examples/internal/account"
	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/iamtest"
)

// play runs the program in virtual time and returns its exit status and output.
func play(t *testing.T, terminal bool, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var out, errs bytes.Buffer
		code = run(t.Context(), args, func(string) string { return "" }, terminal, &out, &errs)
		stdout, stderr = out.String(), errs.String()
	})
	return code, stdout, stderr
}

// drawn returns the part of the output that follows the text about what to expect.
func drawn(t *testing.T, stdout string) string {
	t.Helper()
	_, rest, found := strings.Cut(stdout, "whenever the gate meets the limit")
	require.True(t, found, stdout)
	_, rest, _ = strings.Cut(rest, ".\n")
	return rest
}

func TestEveryLineFitsIn80Columns(t *testing.T) {
	_, stdout, _ := play(t, false, "-users", "2000", "-callers", "100")
	_, help, _ := play(t, false, "-h")
	_, bar, _ := play(t, true, "-users", "1000")
	bar = strings.NewReplacer("\r", "\n", "\x1b[?7l", "", "\x1b[?7h", "", "\x1b[K", "").Replace(bar)
	for line := range strings.Lines(stdout + help + bar) {
		assert.LessOrEqual(t, len(line), 1+80, line)
	}
}

func TestOnlyTheDefaultFlagsPromiseANumberOf429s(t *testing.T) {
	const promise = "usually fewer than 15 429s"
	assert.Contains(t, expected(500, 16), promise)
	for _, other := range [][2]int{{501, 16}, {500, 17}, {2000, 100}} {
		assert.NotContains(t, expected(other[0], other[1]), promise)
	}
}

func Test500UsersAreCreatedAtTheServicesPace(t *testing.T) {
	code, stdout, stderr := play(t, false)
	require.Zero(t, code, stderr)
	assert.Empty(t, stderr)
	final := regexp.MustCompile(`\ncreate: 500 of 500 users in (\S+) s
  (\d+) requests, (\d+) of them throttled \(429\), (\S+) accepted per second at the end
without a gate: (\d+) of 500 users in (\S+) s(?:, \d+ failed)?
  (\d+) requests, (\d+) of them throttled \(429\)\n$`)
	found := final.FindStringSubmatch(stdout)
	require.NotNil(t, found, stdout)
	var seconds, sent, throttled, pace, doneWithout, secondsWithout, sentWithout, throttledWithout float64
	for i, v := range []*float64{&seconds, &sent, &throttled, &pace, &doneWithout, &secondsWithout, &sentWithout, &throttledWithout} {
		require.NoError(t, json.Unmarshal([]byte(found[i+1]), v))
	}
	assert.Equal(t, 500+throttled, sent)
	assert.GreaterOrEqual(t, seconds, (500-burst)/rate, "the run was faster than the service allows")
	assert.Less(t, throttled, 30.0, "too many throttled requests with the gate")
	assert.Greater(t, throttledWithout, 3*throttled, "too few throttled requests without a gate")
	assert.Equal(t, doneWithout+throttledWithout, sentWithout)
	assert.InDelta(t, rate, pace, rate/4)
}

func TestLinesSayWhetherTheTaskIsWorkingOrWaiting(t *testing.T) {
	_, stdout, _ := play(t, false, "-users", "100")
	for line := range strings.Lines(drawn(t, stdout)) {
		assert.Regexp(t, `^create( +\d+\.\d s: \d+ of 100, (working|waiting).*|: 100 of 100 users .*)\n$|^  \d+ requests, |^without a gate: `, line)
	}
	assert.Regexp(t, `^create   0\.\d s: \d+ of 100, waiting [01]\.\d s\ncreate   1\.\d s: \d+ of 100, working\n`, drawn(t, stdout))
}

func TestBarIsRedrawnInPlaceAndEndsWithTheResult(t *testing.T) {
	code, stdout, _ := play(t, true, "-users", "100")
	require.Zero(t, code)
	drawing, result, found := strings.Cut(drawn(t, stdout), "\n")
	require.True(t, found)
	assert.Regexp(t, `^create: 100 of 100 users in \S+ s\n  `, result)
	frame := regexp.MustCompile(`^\x1b\[\?7lcreate \[(#*>*-* *)\] \d+/100 (?:working|waiting|ended)[^\x1b]*\x1b\[K\x1b\[\?7h$`)
	frames := strings.Split(drawing, "\r")[1:]
	for _, f := range frames {
		found := frame.FindStringSubmatch(f)
		require.NotNil(t, found, "%q", f)
		assert.Len(t, found[1], barWidth)
	}
	assert.Contains(t, drawing, "] 20/100 waiting 0.9 s")
	assert.Contains(t, frames[len(frames)-1], "["+strings.Repeat("#", barWidth)+"] 100/100 ended")
}

func TestPlainPrintsLinesEvenInATerminal(t *testing.T) {
	code, stdout, _ := play(t, true, "-plain", "-users", "5")
	assert.Zero(t, code)
	const requests = "  5 requests, 0 of them throttled (429)\n"
	assert.Equal(t, "create: 5 of 5 users in 0.0 s\n"+requests+"without a gate: 5 of 5 users in 0.0 s\n"+requests, drawn(t, stdout))
}

func TestPaceIsMeasuredFromTheEndOfTheLatestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := new(progress)
		p.start(100)
		p.begin()
		send := func(o gate.Outcome) {
			r := gate.Request{Key: "k"}
			ticket, err := p.Wait(t.Context(), r)
			require.NoError(t, err)
			assert.Equal(t, 1, p.state().inFlight)
			p.Observe(r, ticket, o)
		}
		for range 31 { // ten per second
			send(gate.Outcome{Result: gate.Accepted})
			time.Sleep(100 * time.Millisecond)
		}
		assert.InDelta(t, 10, p.state().pace, 0.01)

		send(gate.Outcome{Result: gate.Throttled, RetryAfter: 30 * time.Second})
		time.Sleep(10 * time.Second)
		s := p.state()
		assert.True(t, s.paused)
		assert.Equal(t, 20*time.Second, s.pause)
		assert.InDelta(t, 10, s.pace, 0.01, "during a pause, the latest known pace must be kept")

		for range 16 {
			send(gate.Outcome{Result: gate.Accepted})
			time.Sleep(200 * time.Millisecond)
		}
		s = p.state()
		assert.False(t, s.paused)
		assert.InDelta(t, 5, s.pace, 0.01)
	})
}

// keystone returns a service that looks like a real one to the program, and the settings
// for reaching that service. The service accepts logins and deletions, and finds a user
// only in the first search. It creates the first user itself; the handler create gets all
// later requests to create a user.
func keystone(t *testing.T, create http.Handler) (*iamtest.Server, map[string]string) {
	s := new(iamtest.Server)
	s.On("POST /v3/auth/tokens", iamtest.Answer{Status: 201}.With("X-Subject-Token", "secret"))
	s.On("GET /v3/users", iamtest.Answer{Body: `{"users":[{"id":"2"}]}`}, iamtest.Answer{Body: `{"users":[]}`})
	s.On("DELETE /v3/users/{id}", iamtest.Answer{Status: 204})
	s.Handler = create
	first := true
	mux := http.NewServeMux()
	mux.Handle("/", s)
	mux.HandleFunc("POST /v3/users", func(w http.ResponseWriter, r *http.Request) {
		if first {
			s.Next(iamtest.Answer{Status: 201, Body: `{"user":{"id":"1"}}`})
		}
		first = false
		s.ServeHTTP(w, r)
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return s, map[string]string{"OS_AUTH_URL": srv.URL, "OS_USERNAME": "admin", "OS_PASSWORD": "p", "OS_PROJECT_NAME": "demo"}
}

// playAt runs the program with env as its environment.
func playAt(ctx context.Context, env map[string]string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(ctx, args, func(name string) string { return env[name] }, false, &out, &errs)
	return code, out.String(), errs.String()
}

func TestUsersInARealServiceAreDeletedAfterwards(t *testing.T) {
	s, env := keystone(t, iamtest.Answer{Status: 201, Body: `{"user":{"id":"1"}}`})
	code, stdout, stderr := playAt(t.Context(), env, "-users", "3", "-callers", "1")
	require.Zero(t, code, stderr)
	assert.Regexp(t, `^create: 3 of 3 .*\n  3 requests.*\ndelete: 3 of 3 .*\n  3 requests.*\n$`, stdout)
	s.AssertRequests(t, "POST /v3/auth/tokens", "POST /v3/users", "POST /v3/users", "POST /v3/users",
		"DELETE /v3/users/1", "DELETE /v3/users/1", "DELETE /v3/users/1")
	assert.Equal(t, "secret", s.Requests()[1].Header.Get("X-Auth-Token"))
}

func TestFirstFailureEndsTheRunAndAllUsersThatMayExistAreDeleted(t *testing.T) {
	s, env := keystone(t, iamtest.Keystone(500, "It broke."))
	code, stdout, stderr := playAt(t.Context(), env, "-users", "9", "-callers", "1")
	assert.Equal(t, 1, code)
	assert.Regexp(t, `^bulk: create user "bulk-\w{8}-0002": iamhttp: 500 InternalServerError: "It broke\."`, stderr)
	assert.Regexp(t, `^create: 1 of 9 .*, 1 failed\n.*\ndelete: 2 of 2 .*\n.*\n$`, stdout)
	deleted := 0
	for _, r := range s.Requests() {
		if r.Method == http.MethodDelete {
			deleted++
		}
	}
	assert.Equal(t, 2, deleted)
}

func TestDeletingContinuesAfterAFailureAndTheErrorNamesWhatMayBeLeftBehind(t *testing.T) {
	s, env := keystone(t, iamtest.Answer{Status: 201, Body: `{"user":{"id":"1"}}`})
	s.On("DELETE /v3/users/{id}", iamtest.Keystone(404, "Gone already."), iamtest.Page(503), iamtest.Answer{Status: 204})
	code, stdout, stderr := playAt(t.Context(), env, "-users", "3", "-callers", "1")
	assert.Equal(t, 1, code)
	assert.Regexp(t, `^bulk: users with names like bulk-\w{8}-0001 may be left behind: delete user "1": iamhttp: 503`, stderr)
	assert.Regexp(t, `\ndelete: 2 of 3 .*, 1 failed\n.*\n$`, stdout)
}

func TestUsersAreDeletedAfterAnInterrupt(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	_, env := keystone(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		interrupt()
		iamtest.Answer{Fault: iamtest.Stall}.ServeHTTP(w, r)
	}))
	code, stdout, stderr := playAt(ctx, env, "-users", "9", "-callers", "1")
	assert.Equal(t, 1, code)
	assert.Equal(t, "bulk: interrupted\n", stderr)
	assert.Regexp(t, `\ndelete: 2 of 2 `, stdout)
}

func TestInterruptDuringTheLoginIsNamed(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		interrupt()
		iamtest.Answer{Fault: iamtest.Stall}.ServeHTTP(w, r)
	}))
	defer srv.Close()
	env := map[string]string{"OS_AUTH_URL": srv.URL, "OS_USERNAME": "admin", "OS_PASSWORD": "p", "OS_PROJECT_NAME": "demo"}
	code, _, stderr := playAt(ctx, env)
	assert.Equal(t, 1, code)
	assert.Equal(t, "bulk: interrupted\n", stderr)
}

// The test runs in virtual time, so that it sees how long the program waits.
func TestUnreachableServiceIsReportedWithinSeconds(t *testing.T) {
	for want, base := range map[string]roundTripper{
		"connection refused": func(*http.Request) (*http.Response, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
		},
		"no response within 5s": func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, context.Cause(r.Context())
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			_, err := logIn(t.Context(), "http://iam.example/v3", account.Account{}, &iamhttp.Transport{Base: base, RetryConnectionErrors: true})
			assert.ErrorContains(t, err, "log in: ")
			assert.ErrorContains(t, err, want)
			assert.LessOrEqual(t, time.Since(began), 5*time.Second)
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestInvalidFlagsAndSettingsAreRefused(t *testing.T) {
	for _, args := range [][]string{
		{"-users", "0"}, {"-users", "9223372036854775807"}, {"-callers", "x"}, {"-callers", "-1"}, {"-callers", "1000000000000"}, {"-plain=maybe"}, {"-what"}, {"alice"},
	} {
		code, stdout, stderr := playAt(t.Context(), nil, args...)
		assert.Equal(t, 2, code)
		assert.Empty(t, stdout)
		assert.Regexp(t, `^bulk: .*; -h lists the settings\n$`, stderr)
	}
	code, _, stderr := playAt(t.Context(), map[string]string{"OS_PASSWORD": "secret"})
	assert.Equal(t, 2, code)
	assert.NotContains(t, stderr, "secret")
	code, _, stderr = playAt(t.Context(), map[string]string{"OS_PASSWORD": "secret"}, "-what")
	assert.Equal(t, 2, code)
	assert.Equal(t, 1, strings.Count(stderr, "\n"), "want one line about two mistakes: %s", stderr)

	code, stdout, _ := playAt(t.Context(), nil, "-h")
	assert.Zero(t, code)
	assert.Equal(t, usage, stdout)
}
