// Package compat runs unmodified SDKs through an [iamhttp.Transport], with and
// without PassThrough, and writes down what it measured: TABLE.md, and a short
// form of it in docs/sdks.md.
//
// Each SDK is one file, which adds itself to sdks. Services are in memory and
// time is that of testing/synctest: an SDK that waits a minute for its third
// send costs nothing.
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

var update = flag.Bool("update", false, "write TABLE.md and docs/sdks.md anew")

// sdks are added by the files of the SDKs.
var sdks []sdk

// An sdk is what the suite has to know of one.
type sdk struct {
	name   string // of the package that makes the calls
	module string // its path, as in go.mod

	// fault is the body of a failure in the form that the SDK understands.
	fault func(code int) string

	// call connects, lets the service fail with w.failing, and makes one call.
	// With w.advised it follows the advice; otherwise the SDK is as usual.
	call   func(ctx context.Context, w *world) error
	usual  string // "" for the SDK's defaults
	advice string // how to keep the SDK's own repeats from multiplying; "" if it has none

	connect string // the function that gives it the http.Client and follows the advice, to be shown

	behaviors []behavior
}

// A behavior is something that the SDK does with an answer, and that has to
// work without a Transport of ours.
type behavior struct {
	name string
	run  func(ctx context.Context, w *world) outcome
}

// An outcome is what came of a call.
type outcome struct {
	err  error  // what the SDK returned
	lost string // what it should have done and did not; "" if it did
}

// fails is the outcome of a call that should fail with a T that says want.
func fails[T error](err error, says func(T) any, want any) outcome {
	if err == nil {
		return outcome{lost: "no error"}
	}
	e, ok := errors.AsType[T](err)
	if !ok {
		return outcome{err, fmt.Sprintf("`%T`, no `%T`", err, e)}
	}
	if got := says(e); got != want {
		return outcome{err, fmt.Sprintf("`%T` says %#v, not %#v", e, got, want)}
	}
	return outcome{err: err}
}

// succeeds is the outcome of a call that should.
func succeeds(err error) outcome {
	if err != nil {
		return outcome{err, fmt.Sprintf("fails with `%T`", err)}
	}
	return outcome{}
}

// brings is the outcome of a call that should succeed and bring want.
func brings[T comparable](got T, err error, want T) outcome {
	o := succeeds(err)
	if err == nil && got != want {
		o.lost = fmt.Sprintf("%#v, not %#v", got, want)
	}
	return o
}

// A mode is a way to use a Transport.
type mode struct {
	name string
	wrap func(base http.RoundTripper) http.RoundTripper
}

var (
	alone       = mode{"alone", func(base http.RoundTripper) http.RoundTripper { return base }}
	passThrough = mode{"PassThrough", func(base http.RoundTripper) http.RoundTripper {
		return &iamhttp.Transport{Base: base, Backoff: unwaited, PassThrough: true}
	}}
	errorMode = mode{"error mode", func(base http.RoundTripper) http.RoundTripper {
		return &iamhttp.Transport{Base: base, Backoff: unwaited}
	}}
	modes = []mode{alone, passThrough, errorMode}
)

// unwaited leaves no room for chance: with waits at random, the timeouts inside
// some SDKs would let through a different number of requests each time.
func unwaited() backoff.BackOff { return &backoff.ZeroBackOff{} }

// A world is one SDK's: a service, and the mode that it is called in.
type world struct {
	mode    mode
	advised bool
	failing http.HandlerFunc // for call

	mu       sync.Mutex
	answer   http.HandlerFunc
	requests int
}

// client is the http.Client to give to the SDK.
func (w *world) client() *http.Client { return &http.Client{Transport: w.mode.wrap(w)} }

// serve makes h the service, and begins to count requests.
func (w *world) serve(h http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer, w.requests = h, 0
}

// RoundTrip is the service, reached without a network.
func (w *world) RoundTrip(req *http.Request) (*http.Response, error) {
	w.mu.Lock()
	w.requests++
	answer := w.answer
	w.mu.Unlock()
	served := req.Clone(req.Context())
	if req.Body != nil {
		// As net/http does it, or a repeat without its body would pass.
		body, err := io.ReadAll(req.Body)
		req.Body.Close()
		if err == nil && req.ContentLength > 0 && int64(len(body)) != req.ContentLength {
			err = fmt.Errorf("%d bytes of a body of %d", len(body), req.ContentLength)
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

// says answers with a status code and a body.
func says(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasPrefix(body, "<") {
			w.Header().Set("Content-Type", "text/xml")
		}
		if code == http.StatusTooManyRequests {
			// Not longer, or the timeouts inside some SDKs end the repeats early.
			w.Header().Set("Retry-After", "0")
		}
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}
}

// inTurn answers the first request with the first handler, and so on; the last
// one stays.
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

// What a cell says of the *StatusError.
const (
	typedBy = "typed by "
	untyped = "untyped"
)

// A measurement is an outcome, and what was seen around it.
type measurement struct {
	outcome
	requests int
	typed    string // what finds the *StatusError; "" if there was no answer, or no error to look in
}

func (w *world) measure(t *testing.T, run func(context.Context, *world) outcome) (m measurement) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, rec := iamhttp.WithRecorder(t.Context())
		m.outcome = run(ctx, w)
		synctest.Wait()
		m.requests = w.requests
		_, byAs := errors.AsType[*iamhttp.StatusError](m.err)
		_, byWrap := errors.AsType[*iamhttp.StatusError](rec.Wrap(m.err))
		switch {
		case m.err == nil || m.requests == 0 || w.mode.name == alone.name:
		case byAs:
			m.typed = typedBy + "`errors.As`"
		case byWrap:
			m.typed = typedBy + "`Recorder.Wrap`"
		default:
			m.typed = untyped
		}
	})
	return m
}

// codes are the failures that requests are counted for.
var codes = [...]int{403, 404, 429, 503}

// counts are the requests for one call that meets each of codes.
type counts [len(codes)]int

// most is what a Transport with its defaults sends where nothing above it
// repeats: everything once, but for the 429.
var most = counts{1, 1, 8, 1}

func (c counts) String() string {
	return strings.ReplaceAll(strings.Trim(fmt.Sprint([len(codes)]int(c)), "[]"), " ", "/")
}

// A report is what was measured of one SDK.
type report struct {
	sdk
	version string
	source  string            // of connect
	usually map[string]counts // by the name of the mode
	advised map[string]counts
	typed   map[string]string
	rows    []row // one for each behavior
}

type row struct {
	name    string
	usually map[string]measurement // by the name of the mode
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
			assert.LessOrEqual(t, n, most[i], "what is advised keeps a %d from multiplying: %s", codes[i], m.name)
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
		assert.Empty(t, row.usually[alone.name].lost, "%q has to work without a Transport: %v", b.name, row.usually[alone.name].err)
		r.rows = append(r.rows, row)
	}
	return r
}

// count makes the call once for each code, and returns how many requests that
// took and where the *StatusError was.
func (s sdk) count(t *testing.T, m mode, advised bool) (n counts, typed string) {
	var places []string
	for i, code := range codes {
		w := &world{mode: m, advised: advised, failing: says(code, s.fault(code))}
		got := w.measure(t, func(ctx context.Context, w *world) outcome { return outcome{err: s.call(ctx, w)} })
		assert.Error(t, got.err, "%s: the service answers with %d", m.name, code)
		n[i] = got.requests
		if got.typed != "" && !slices.Contains(places, got.typed) {
			places = append(places, got.typed)
		}
	}
	return n, strings.Join(places, ", ")
}

// versionOf looks a module up in go.mod.
func versionOf(t *testing.T, module string) string {
	gomod, err := os.ReadFile("go.mod")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(gomod), "\t"+module+" ")
	require.True(t, ok, "%s is not in go.mod", module)
	return strings.Fields(rest)[0]
}

// sourceOf returns the code of a function of this package.
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

func TestTheTableIsWhatTheSDKsDo(t *testing.T) {
	// The environment of whoever runs the tests must not configure the SDKs.
	for _, v := range os.Environ() {
		name, value, _ := strings.Cut(v, "=")
		if prefix, _, ok := strings.Cut(name, "_"); ok && slices.Contains([]string{"AWS", "AZURE", "VAULT"}, prefix) {
			t.Setenv(name, value) // which puts it back in the end
			os.Unsetenv(name)
		}
	}
	slices.SortFunc(sdks, func(a, b sdk) int { return cmp.Compare(a.name, b.name) })
	var reports []report
	for _, s := range sdks {
		t.Run(s.name, func(t *testing.T) { reports = append(reports, measureSDK(t, s)) })
	}
	if len(reports) < len(sdks) {
		t.Skip("some were left out: there is no table to compare")
	}
	const short = "../../docs/sdks.md"
	old, err := os.ReadFile(short)
	require.NoError(t, err)
	head, rest, found := strings.Cut(string(old), begin)
	require.True(t, found, "sdks.md has no line %q", begin)
	_, tail, found := strings.Cut(rest, end)
	require.True(t, found, "sdks.md has no line %q", end)

	for path, want := range map[string]string{
		"TABLE.md": table(reports),
		short:      head + begin + "\n\n" + summary(reports) + "\n" + end + tail,
	} {
		if *update {
			require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
		}
		is, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.True(t, want == string(is), "%s does not say what was measured; %s writes it anew.\n%s", path, rewrite, difference(string(is), want))
	}
}

// difference lists the lines that only one of two texts has: testify would
// print both in full.
func difference(is, want string) string {
	var b strings.Builder
	only := func(sign, text, other string) {
		others := strings.Split(other, "\n")
		for line := range strings.SplitSeq(text, "\n") {
			if !slices.Contains(others, line) {
				fmt.Fprintln(&b, sign, line)
			}
		}
	}
	only("-", is, want)
	only("+", want, is)
	return b.String()
}

const (
	rewrite = "(cd adapters/compat && GOWORK=off go test -update)"
	begin   = "<!-- sdk table, written by: " + rewrite + " -->"
	end     = "<!-- end of sdk table -->"
)

// summary is one row for each SDK.
func summary(reports []report) string {
	var b strings.Builder
	b.WriteString("| SDK | what to set |")
	for _, m := range modes[1:] {
		fmt.Fprintf(&b, " %s: requests at 403/404/429/503 | lost | typed by |", m.name)
	}
	b.WriteString("\n|---|---|---|---|---|---|---|---|\n")
	for _, r := range reports {
		fmt.Fprintf(&b, "| %s %s | %s |", r.name, r.version, cmp.Or(r.advice, "nothing"))
		for _, m := range modes[1:] {
			lost, lostAdvised, hidden := 0, 0, 0
			for _, row := range r.rows {
				if row.usually[m.name].lost != "" {
					lost++
				}
				if row.advised[m.name].lost != "" {
					lostAdvised++
				}
				if row.usually[m.name].typed == untyped {
					hidden++
				}
			}
			fmt.Fprintf(&b, " %s | %s of %d | %s", arrow(r.usually[m.name], r.advised[m.name]), arrow(lost, lostAdvised), len(r.rows), strings.ReplaceAll(r.typed[m.name], typedBy, ""))
			if hidden > 0 {
				fmt.Fprintf(&b, ", %d %s", hidden, untyped)
			}
			b.WriteString(" |")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// arrow tells what following the advice changes.
func arrow[T comparable](usually, advised T) string {
	if usually == advised {
		return fmt.Sprint(usually)
	}
	return fmt.Sprint(usually, " → ", advised)
}

// table is all that was measured.
func table(reports []report) string {
	var b strings.Builder
	b.WriteString(preface + summary(reports))
	for _, r := range reports {
		fmt.Fprintf(&b, "\n## %s %s\n\n```go\n%s\n```\n\n", r.name, r.version, r.source)
		b.WriteString("| | 403 | 404 | 429 | 503 | the error |\n|---|---|---|---|---|---|\n")
		for _, m := range modes {
			line := func(setting string, n counts) {
				fmt.Fprintf(&b, "| %s, %s |", m.name, setting)
				for _, n := range n {
					fmt.Fprintf(&b, " %d |", n)
				}
				fmt.Fprintf(&b, " %s |\n", r.typed[m.name])
			}
			line(cmp.Or(r.usual, "defaults"), r.usually[m.name])
			if r.advice != "" {
				line(r.advice, r.advised[m.name])
			}
		}
		b.WriteString("\n| behavior |")
		for _, m := range modes {
			fmt.Fprintf(&b, " %s |", m.name)
			if r.advice != "" && m.name != alone.name {
				fmt.Fprintf(&b, " %s, %s |", m.name, r.advice)
			}
		}
		b.WriteString("\n|---|---|---|---|" + strings.Repeat("---|", 2*min(len(r.advice), 1)) + "\n")
		for _, row := range r.rows {
			fmt.Fprintf(&b, "| %s |", row.name)
			for _, m := range modes {
				fmt.Fprintf(&b, " %s |", row.usually[m.name])
				if r.advice != "" && m.name != alone.name {
					fmt.Fprintf(&b, " %s |", row.advised[m.name])
				}
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

// String is a cell of the table.
func (m measurement) String() string {
	s := "works"
	if m.lost != "" {
		s = "**lost**: " + m.lost
	}
	s += fmt.Sprintf(" (%d)", m.requests)
	if m.typed != "" {
		s += ", " + m.typed
	}
	return s
}

const preface = `# What SDKs do with a Transport

Measured by the tests of this directory on unmodified SDKs, and written by them; they fail when a cell changes:

    ` + rewrite + `

"Requests" are those that reach a service that keeps answering 403, 404, 429 and 503, in this order, for one call of the SDK.
The Transport has its defaults, save that nothing waits: it sends a 429 eight times and the others once. More means that the
SDK repeats as well, and the two multiply. Fewer means that it may not: the AWS SDK's bodies have no GetBody, so that a 429 is sent
once by the Transport too, and the 3 are the SDK's own. An arrow leads from the SDK as it is usually set up to the SDK with "what to set".

"Lost" counts the behaviors of the tables below that no longer work. A behavior that is lost behind an arrow is the price of
what is set: the SDK no longer repeats a 503, say. "Typed by" says what finds the ` + "`*iamhttp.StatusError`" + `: errors.As in the
SDK's error, or only a Recorder; "untyped", neither.

Then, for each SDK, how it is given the http.Client, and what to set, as the tests do it. There ` + "`w.client()`" + ` is an http.Client on
the Transport, ` + "`w.advised`" + ` asks for what is to be set, and ` + "`must`" + ` panics at an error. "Alone" is the SDK without a Transport,
where every behavior has to work to be in the table; a number in brackets is the requests it took.

`

// must is for what fails only if the suite itself is wrong.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
