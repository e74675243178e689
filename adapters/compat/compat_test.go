// Package compat runs unmodified SDKs through an [iamhttp.Transport], with and
// without PassThrough. It compares its measurements with TABLE.md and docs/sdks.md; with
// -update, it rewrites both files.
//
// Each SDK has its own file. The services are in memory, and time is virtual
// (testing/synctest), so an SDK that waits for a minute takes no real time.
//
// To add an SDK, write a file <name>_test.go with an sdk value, and add the value to the
// list sdks. The value contains a function that makes a call whose requests are counted,
// the name of the function that gives the SDK an http.Client, and the behaviors that the
// SDK has without a Transport, each one with a function that checks it. oauth2_test.go is
// a short example. If a setting keeps the SDK's own retries from multiplying the
// Transport's, put that setting into advice. Then run go mod tidy and go test -update,
// and commit the tables unchanged.
package compat

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/cenkalti/backoff/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
)

var update = flag.Bool("update", false, "rewrite TABLE.md and the tables in docs/sdks.md")

var sdks = []sdk{awsIAM, azureIdentity, keycloak, openStack, openStack1, oauth, openID, hashiVault}

// An sdk describes an SDK to this test suite.
type sdk struct {
	name   string // name of the package that makes the calls
	module string // the module's path, as in go.mod

	// fault returns a failing response's body, in the form that the SDK understands.
	fault func(code int) string

	// call connects, makes the service fail with w.failing, and makes one call. If
	// w.advised is true, call follows the advice; otherwise, it sets the SDK up as usual.
	call   func(ctx context.Context, w *world) error
	usual  string // the usual setup, as the table names it; empty for the SDK's defaults
	advice string // the setting that keeps the SDK's own retries from multiplying the Transport's; empty if none is needed

	connect string // the name of the function that gives the SDK the http.Client and, unless call does so, follows the advice if w.advised is true; the table shows its code

	behaviors []behavior
}

// A behavior is something that the SDK does, usually with a response. Every behavior must
// work without a Transport.
type behavior struct {
	name string
	run  func(ctx context.Context, w *world) outcome
}

// An outcome is the result of a call.
type outcome struct {
	err  error  // the error that the SDK returned
	lost string // how the SDK's behavior differed from the expected one; empty if the SDK behaved as expected
}

// fails returns the outcome of a call that should fail with an error of type T, for which
// says should return want.
func fails[T error](err error, says func(T) any, want any) outcome {
	if err == nil {
		return outcome{lost: "no error"}
	}
	var e T
	ok := errors.As(err, &e)
	if !ok {
		return outcome{err, fmt.Sprintf("`%T` without `%T`", err, e)}
	}
	if got := says(e); got != want {
		return outcome{err, fmt.Sprintf("`%T` says %#v, not %#v", e, got, want)}
	}
	return outcome{err: err}
}

// succeeds returns the outcome of a call that should succeed.
func succeeds(err error) outcome {
	if err != nil {
		return outcome{err, fmt.Sprintf("fails with `%T`", err)}
	}
	return outcome{}
}

// brings returns the outcome of a call that should succeed and return want.
func brings[T comparable](got T, err error, want T) outcome {
	o := succeeds(err)
	if err == nil && got != want {
		o.lost = fmt.Sprintf("%#v, not %#v", got, want)
	}
	return o
}

// A mode is a way to use a Transport, except for the mode named "alone", which uses none.
type mode struct {
	name string
	wrap func(base http.RoundTripper) http.RoundTripper
}

var (
	alone       = mode{"alone", func(base http.RoundTripper) http.RoundTripper { return base }}
	passThrough = mode{"PassThrough", func(base http.RoundTripper) http.RoundTripper {
		return &iamhttp.Transport{Base: base, Backoff: unwaited, MaxAttempts: 8, PassThrough: true}
	}}
	errorMode = mode{"error mode", func(base http.RoundTripper) http.RoundTripper {
		return &iamhttp.Transport{Base: base, Backoff: unwaited, MaxAttempts: 8}
	}}
	modes = []mode{alone, passThrough, errorMode}
)

const short = "../../docs/sdks.md"

// unwaited returns a schedule without waits. Without waits, the number of requests is the
// same in each run; random waits might exceed the timeouts that some SDKs have.
func unwaited() backoff.BackOff { return &backoff.ZeroBackOff{} }

// A world is the environment of one SDK: a service, and the mode in which the SDK calls
// it.
type world struct {
	mode    mode
	advised bool
	failing http.HandlerFunc // the service's response to the requests of sdk.call

	mu       sync.Mutex
	answer   http.HandlerFunc
	requests int
}

// client returns the http.Client to give to the SDK.
func (w *world) client() *http.Client { return &http.Client{Transport: w.mode.wrap(w)} }

// serve makes h the service, and resets the request count to 0.
func (w *world) serve(h http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer, w.requests = h, 0
}

// RoundTrip calls the service without a network.
func (w *world) RoundTrip(req *http.Request) (*http.Response, error) {
	w.mu.Lock()
	w.requests++
	answer := w.answer
	w.mu.Unlock()
	served := req.Clone(req.Context())
	if req.Body != nil {
		// net/http makes this check too. Without the check, a retry that lost its body
		// would go unnoticed.
		body, err := io.ReadAll(req.Body)
		req.Body.Close()
		if err == nil && req.ContentLength > 0 && int64(len(body)) != req.ContentLength {
			err = fmt.Errorf("the body has %d bytes instead of %d", len(body), req.ContentLength)
		}
		if err != nil {
			return nil, err
		}
		served.Body = io.NopCloser(bytes.NewReader(body))
	}
	rec := httptest.NewRecorder()
	answer(rec, served)
	resp := rec.Result()
	resp.Request = req
	return resp, nil
}

// says returns a handler that responds with a status code and a body.
func says(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasPrefix(body, "<") {
			w.Header().Set("Content-Type", "text/xml")
			w.Header().Set("X-Amzn-Requestid", "req-1") // the AWS SDK has looked for the request ID here since November 2026
		}
		if code == http.StatusTooManyRequests {
			// During a longer wait, the timeouts inside some SDKs would end the retries.
			w.Header().Set("Retry-After", "0")
		}
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}
}

// inTurn returns a handler that passes each request to the next answer. The last answer
// gets all further requests.
func inTurn(answers ...http.HandlerFunc) http.HandlerFunc {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		h := answers[0]
		answers = answers[min(1, len(answers)-1):]
		mu.Unlock()
		h(w, r)
	}
}

// These are the texts of the table cells that say how to get the *StatusError out of the
// SDK's error.
const (
	typedBy   = "typed error via "
	typedByAs = typedBy + "`errors.As`"
	untyped   = "no typed error"
)

// A measurement is the outcome of a call, with the number of requests that the call sent
// and the way to get the typed error.
type measurement struct {
	outcome
	requests int
	typed    string // how to get the *StatusError, or untyped; empty if there was no error, no request or no Transport
}

func (w *world) measure(t *testing.T, run func(context.Context, *world) outcome) (m measurement) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, rec := iamhttp.WithRecorder(t.Context())
		m.outcome = run(ctx, w)
		synctest.Wait()
		m.requests = w.requests
		byAs := errors.As(m.err, new(*iamhttp.StatusError))
		byWrap := errors.As(rec.Wrap(m.err), new(*iamhttp.StatusError))
		switch {
		case m.err == nil || m.requests == 0 || w.mode.name == alone.name:
		case byAs:
			m.typed = typedByAs
		case byWrap:
			m.typed = typedBy + "`Recorder.Wrap`"
		default:
			m.typed = untyped
		}
	})
	return m
}

// codes are the failures for which requests are counted.
var codes = [...]int{403, 404, 429, 503}

// counts holds the number of requests that one call sends, for each code in codes.
type counts [len(codes)]int

// most is the number of requests that a Transport with its defaults sends if nothing
// above it retries: eight for a 429, and one for each of the other codes.
var most = counts{1, 1, 8, 1}

// A report is everything that was measured about one SDK.
type report struct {
	sdk
	version string
	source  string            // source code of the function connect
	usually map[string]counts // requests with the usual setup, keyed by mode name
	advised map[string]counts
	typed   map[string]string
	rows    []row // one row for each behavior
}

type row struct {
	name    string
	usually map[string]measurement // measurements with the usual setup, keyed by mode name
	advised map[string]measurement
}

func measureSDK(t *testing.T, s sdk) report {
	r := report{
		sdk: s, version: versionOf(t, s.module), source: sourceOf(t, s.connect),
		usually: map[string]counts{}, advised: map[string]counts{}, typed: map[string]string{},
	}
	for _, m := range modes {
		r.usually[m.name], r.typed[m.name] = s.count(t, m, false)
		r.advised[m.name] = r.usually[m.name]
		if s.advice != "" {
			r.advised[m.name], _ = s.count(t, m, true)
		}
		for i, n := range r.advised[m.name] {
			assert.LessOrEqual(t, n, most[i], "retries of a %d must not multiply if the advice is followed: %s", codes[i], m.name)
		}
	}
	for _, b := range s.behaviors {
		row := row{b.name, map[string]measurement{}, map[string]measurement{}}
		for _, m := range modes {
			row.usually[m.name] = (&world{mode: m}).measure(t, b.run)
			row.advised[m.name] = row.usually[m.name]
			if s.advice != "" {
				row.advised[m.name] = (&world{mode: m, advised: true}).measure(t, b.run)
			}
		}
		assert.Empty(t, row.usually[alone.name].lost, "the behavior %q must work without a Transport: %v", b.name, row.usually[alone.name].err)
		r.rows = append(r.rows, row)
	}
	return r
}

// count makes the call once for each code, and returns how many requests each call took
// and how to get the *StatusError.
func (s sdk) count(t *testing.T, m mode, advised bool) (n counts, typed string) {
	var places []string
	for i, code := range codes {
		w := &world{mode: m, advised: advised, failing: says(code, s.fault(code))}
		got := w.measure(t, func(ctx context.Context, w *world) outcome { return outcome{err: s.call(ctx, w)} })
		assert.Error(t, got.err, "%s: a call must fail if the service returns %d", m.name, code)
		n[i] = got.requests
		if got.typed != "" && !slices.Contains(places, got.typed) {
			places = append(places, got.typed)
		}
	}
	return n, strings.Join(places, ", ")
}

// versionOf returns a module's version in go.mod.
func versionOf(t *testing.T, module string) string {
	gomod, err := os.ReadFile("go.mod")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(gomod), "\t"+module+" ")
	require.True(t, ok, "%s is not in go.mod", module)
	return strings.Fields(rest)[0]
}

// sourceOf returns the source code of a function in this package.
func sourceOf(t *testing.T, name string) string {
	files, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	for _, file := range files {
		code, err := os.ReadFile(file)
		require.NoError(t, err)
		if _, rest, ok := strings.Cut(string(code), "\nfunc "+name+"("); ok {
			body, _, _ := strings.Cut(rest, "\n}\n")
			return "func " + name + "(" + body + "\n}"
		}
	}
	require.Fail(t, "there is no func "+name)
	return ""
}

func TestTheTablesMatchWhatTheSDKsDo(t *testing.T) {
	// Environment variables must not configure the SDKs.
	for _, v := range os.Environ() {
		name, value, _ := strings.Cut(v, "=")
		if prefix, _, ok := strings.Cut(name, "_"); ok && slices.Contains([]string{"AWS", "AZURE", "VAULT"}, prefix) {
			t.Setenv(name, value) // restores the value after the test
			os.Unsetenv(name)
		}
	}
	slices.SortFunc(sdks, func(a, b sdk) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.module, b.module)) })
	var reports []report
	for _, s := range sdks {
		t.Run(s.name, func(t *testing.T) { reports = append(reports, measureSDK(t, s)) })
	}
	if len(reports) < len(sdks) {
		t.Skip("some SDKs were not measured, so there is no table to compare")
	}
	old, err := os.ReadFile(short)
	require.NoError(t, err)
	head, rest, found := strings.Cut(string(old), begin)
	require.True(t, found, "docs/sdks.md has no line %q", begin)
	_, tail, found := strings.Cut(rest, end)
	require.True(t, found, "docs/sdks.md has no line %q", end)

	for path, want := range map[string]string{
		"TABLE.md": table(reports),
		short:      head + begin + "\n\n" + summary(reports) + "\n" + end + tail,
	} {
		if *update {
			require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
		}
		is, err := os.ReadFile(path)
		require.NoError(t, err)
		if want != string(is) {
			t.Errorf("%s does not match the measurements; to rewrite it, run %s.\n%s", path, rewrite, difference(string(is), want))
		}
	}
}

// must panics if there is an error. It is for steps that should never fail.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
