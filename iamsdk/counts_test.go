package iamsdk_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/iamsdk"
	"github.com/iamhttp/iamhttp/iamtest"
)

var update = flag.Bool("update", false, "rewrite the table of stand-ins in docs/sdks.md")

// A situation is a call to a service that always responds to it in the same way.
type situation struct {
	name         string
	method, body string
	answer       iamtest.Answer // response to each request that is not a login
	login        iamtest.Answer // response to each login after the first
	answered     bool           // whether there is a response to the requests that are not logins
}

var loggedIn = iamtest.Answer{Status: 201, Delay: delay}.With("X-Subject-Token", "token")

const delay = 100 * time.Millisecond // how long the service waits before each response

func situations() []situation {
	get := func(name string, a iamtest.Answer) situation {
		a.Delay = delay
		return situation{name, "GET", "", a, loggedIn, true}
	}
	post := func(name string, a iamtest.Answer) situation {
		s := get(name, a)
		s.method, s.body = "POST", `{"group":{"name":"g"}}`
		return s
	}
	unauthorized := iamtest.Keystone(401, "The request you have made requires authentication.")
	refused := get("401, and the login gets a 401 too", unauthorized)
	refused.login = iamtest.Keystone(401, "The account is locked.")
	refused.login.Delay = delay
	reset := post("none (connection reset), for a POST", iamtest.Answer{Fault: iamtest.Reset})
	reset.answered = false
	action := reset
	action.name, action.body = "none (connection reset), for a POST without a body", ""
	return []situation{
		get("401, but the login succeeds", unauthorized),
		refused,
		get("403", iamtest.Keystone(403, "You are not authorized.")),
		get("404", iamtest.Keystone(404, "Could not find group.")),
		get("408", iamtest.Keystone(408, "Too slow.")),
		post("409 for a POST", iamtest.Keystone(409, "It exists.")),
		get("429, Retry-After: 1", iamtest.Throttled(time.Second)),
		get("429, no Retry-After", iamtest.Throttled(0)),
		post("502 for a POST", iamtest.Page(502).With("X-Request-Id", "req-502")),
		get("502 for a GET", iamtest.Page(502).With("X-Request-Id", "req-502")),
		post("503 for a POST", iamtest.Page(503).With("X-Request-Id", "req-503")),
		post("504 for a POST", iamtest.Page(504).With("X-Request-Id", "req-504")),
		reset,
		action,
	}
}

func situationOf(t *testing.T, name string) situation {
	t.Helper()
	all := situations()
	i := slices.IndexFunc(all, func(s situation) bool { return s.name == name })
	require.GreaterOrEqual(t, i, 0)
	return all[i]
}

// A result is the outcome of one call.
type result struct {
	err              error
	requests, logins int // how many requests and logins the call sent to the service
	took             time.Duration
}

// A setting is how the SDK is set up.
type setting uint8

const (
	asItIs      setting = iota // the unmodified SDK
	transport                  // a Transport with PassThrough, and nothing else
	asDescribed                // Install, with the SDK's own retries switched off
)

// run logs in and makes one call.
func run(t *testing.T, k kind, s situation, how setting) (r result) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		tokens := make([]iamtest.Answer, 1, 300)
		tokens[0] = loggedIn.With("X-Subject-Token", "token-1")
		for i := range 250 {
			a := s.login
			if a.Status < 300 {
				a = a.With("X-Subject-Token", "token-"+strconv.Itoa(i+2))
			}
			tokens = append(tokens, a)
		}
		service.On("POST /v3/auth/tokens", tokens...)
		service.On("/", s.answer)
		sdk := k.newStandIn(&wire{RoundTripper: &service})
		k.usual(sdk)
		switch how {
		case asItIs:
		case transport:
			sdk.HTTPClient.Transport = &iamhttp.Transport{PassThrough: true, Base: sdk.HTTPClient.Transport}
		case asDescribed:
			k.advised(sdk)
			iamsdk.Install(&sdk.HTTPClient, nil, k.options)
		}
		require.NoError(t, sdk.LogIn())
		start := time.Now()
		_, r.err = sdk.Request(s.method, "/groups", s.body)
		r.took = time.Since(start)
		for _, req := range service.Requests()[1:] {
			if strings.HasSuffix(req.Target, "/auth/tokens") {
				r.logins++
			} else {
				r.requests++
			}
		}
	})
	return r
}

func (r result) endless() bool { return errors.Is(r.err, errEndless) || errors.Is(r.err, errHangs) }

func (r result) String() string {
	switch {
	case errors.Is(r.err, errEndless):
		return "endless"
	case errors.Is(r.err, errHangs):
		return "hangs"
	case r.logins == 1:
		return fmt.Sprint(r.requests, " + 1 login")
	case r.logins > 1:
		return fmt.Sprint(r.requests, " + ", r.logins, " logins")
	}
	return strconv.Itoa(r.requests)
}

func TestEachCallSendsTheNumberOfRequestsInTheTable(t *testing.T) {
	var b strings.Builder
	b.WriteString("| the response |")
	for _, k := range kinds {
		b.WriteString(" " + k.name + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(kinds)) + "\n")
	for _, s := range situations() {
		b.WriteString("| " + s.name + " |")
		for _, k := range kinds {
			before, after := run(t, k, s, asItIs), run(t, k, s, asDescribed)
			if before.String() == after.String() {
				b.WriteString(" " + after.String() + " |")
			} else {
				b.WriteString(" " + before.String() + " → " + after.String() + " |")
			}
			t.Run(k.name+", "+s.name, func(t *testing.T) { check(t, s, before, after) })
		}
		b.WriteString("\n")
	}
	b.WriteString("| 429, with PassThrough and the SDK's own retries both on |")
	for _, k := range kinds {
		own, multiplied := run(t, k, situationOf(t, "429, no Retry-After"), asItIs), run(t, k, situationOf(t, "429, no Retry-After"), transport)
		assert.Equal(t, 8*own.requests, multiplied.requests)
		b.WriteString(" " + own.String() + " → **" + multiplied.String() + "** |")
	}
	b.WriteString("\n")
	writeTable(t, b.String())
}

// check asserts that a call of an SDK set up with Install has the right result. That result
// is after; before is the unmodified SDK's.
func check(t *testing.T, s situation, before, after result) {
	t.Helper()
	assert.False(t, after.endless(), "%v", after.err)
	switch {
	case s.answer.Status == 429 || s.answer.Status == 408:
		assert.Equal(t, 8, after.requests, "want the Transport's 8 attempts and no retries by the SDK")
	case s.answer.Status == 401 && s.login.Status == 201:
		assert.Equal(t, 2, after.requests)
		assert.Equal(t, 1, after.logins)
	case s.answer.Status == 401:
		assert.Equal(t, 1, after.requests)
		assert.Equal(t, 1, after.logins)
		assert.LessOrEqual(t, after.took, 2*delay, "the call must end when its login is refused")
	case s.method == "GET":
		assert.Equal(t, before.requests, after.requests)
	default:
		assert.Equal(t, 1, after.requests, "a POST must be sent only once")
	}
	if !before.endless() {
		assert.Equal(t, fmt.Sprintf("%T", before.err), fmt.Sprintf("%T", after.err), "the type of the SDK's error must be the same as without Install")
	}
	wrapped := iamsdk.Wrap(after.err)
	assertHolds(t, wrapped, after.err)
	assert.EqualError(t, wrapped, after.err.Error())
	var e *iamhttp.StatusError
	if !s.answered {
		assert.NotErrorAs(t, wrapped, &e)
		return
	}
	require.ErrorAs(t, wrapped, &e)
	want := s.answer
	if s.login.Status == 401 {
		want = s.login
		assert.Equal(t, "The account is locked.", e.Message)
	}
	assert.Equal(t, iamhttp.Code(want.Status), e.Code)
	assert.NotEmpty(t, e.RequestID)
	assert.Positive(t, e.Attempts)
	assert.NotEqual(t, iamhttp.StopUnset, e.Stop)
}

// assertHolds asserts that errors.As finds an error equal to want in err. errors.Is would
// not do, because some of these errors are values that cannot be compared.
func assertHolds(t *testing.T, err, want error) {
	t.Helper()
	found := reflect.New(reflect.TypeOf(want))
	if assert.ErrorAs(t, err, found.Interface()) {
		assert.Equal(t, want, found.Elem().Interface())
	}
}

const (
	sdksDoc = "../docs/sdks.md"
	begin   = "<!-- table of stand-ins, written by: go test ./iamsdk -update -->"
	end     = "<!-- end of the table of stand-ins -->"
)

func writeTable(t *testing.T, table string) {
	t.Helper()
	old, err := os.ReadFile(sdksDoc)
	require.NoError(t, err)
	head, rest, found := strings.Cut(string(old), begin)
	require.True(t, found, "%s has no line %q", sdksDoc, begin)
	_, tail, found := strings.Cut(rest, end)
	require.True(t, found, "%s has no line %q", sdksDoc, end)
	want := head + begin + "\n\n" + table + "\n" + end + tail
	if *update {
		require.NoError(t, os.WriteFile(sdksDoc, []byte(want), 0o644))
		return
	}
	assert.Equal(t, want, string(old), "docs/sdks.md is out of date; to rewrite it, run: go test ./iamsdk -update")
}
