// Package points compares an iamhttp.Transport with other ways to retry requests, point
// by point. It checks the table in docs/comparison.md or, with -update, writes it. Each
// cell of the table contains what a test observed.
package points

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/PuerkitoBio/rehttp"
	"github.com/failsafe-go/failsafe-go/failsafehttp"
	"github.com/failsafe-go/failsafe-go/retrypolicy"
	"github.com/hashicorp/go-retryablehttp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/iamtest"
)

var update = flag.Bool("update", false, "rewrite the table in docs/comparison.md")

const (
	rewrite = "GOWORK=off go -C bench test ./points -update"
	begin   = "<!-- comparison, written by: " + rewrite + " -->\n"
	end     = "<!-- end of comparison -->"
)

// contestants use their default settings, except rehttp, which has no defaults, and the
// hand-written loop: these two are set up to retry 408 and 429.
var contestants = []struct {
	name string
	wrap func(http.RoundTripper) http.RoundTripper
}{
	{"iamhttp", func(base http.RoundTripper) http.RoundTripper { return &iamhttp.Transport{Base: base} }},
	{"go-retryablehttp", func(base http.RoundTripper) http.RoundTripper {
		c := retryablehttp.NewClient()
		c.HTTPClient.Transport = base
		c.Logger = nil
		return &retryablehttp.RoundTripper{Client: c}
	}},
	{"failsafe-go", func(base http.RoundTripper) http.RoundTripper {
		return failsafehttp.NewRoundTripper(base, failsafehttp.NewRetryPolicyBuilder().Build())
	}},
	{"rehttp", func(base http.RoundTripper) http.RoundTripper {
		return rehttp.NewTransport(base,
			rehttp.RetryAll(rehttp.RetryMaxRetries(3), rehttp.RetryStatuses(408, 429)),
			rehttp.ExpJitterDelay(time.Second, 10*time.Second))
	}},
	{"by hand", func(base http.RoundTripper) http.RoundTripper { return byHand{base} }},
}

// byHand is the loop that people write if they know the rules. It sends a request at most
// four times, retries 408 and 429, obeys Retry-After in seconds, gets the body from
// GetBody, and stops waiting when the context ends.
type byHand struct{ base http.RoundTripper }

func (h byHand) RoundTrip(req *http.Request) (*http.Response, error) {
	for attempt := 1; ; attempt++ {
		resp, err := h.base.RoundTrip(req)
		if err != nil || attempt == 4 || resp.StatusCode != 408 && resp.StatusCode != 429 {
			return resp, err
		}
		resp.Body.Close()
		wait := time.Second << attempt
		if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
			wait = time.Duration(s) * time.Second
		}
		select {
		case <-time.After(wait):
		case <-req.Context().Done():
			return nil, req.Context().Err()
		}
		if req.GetBody != nil {
			req = req.Clone(req.Context())
			if req.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// In a trial, one contestant calls a service in virtual time.
type trial struct {
	*testing.T
	service iamtest.Server
	wrap    func(http.RoundTripper) http.RoundTripper
	client  *http.Client
}

// points are the rows of the table. The function see tests a contestant, and returns the
// text of the contestant's cell.
var points = []struct {
	name, says string // the name of the subtest, and the text of the row's first cell
	see        func(*trial) string
}{
	{"503", "requests sent by one call if the service is down (503)", func(t *trial) string {
		t.service.On("/", iamtest.Keystone(503, "down"))
		t.get(t.Context())
		return t.sends()
	}},
	{"408", "a 408 is retried", func(t *trial) string {
		t.service.Next(iamtest.Page(408))
		t.get(t.Context())
		return yes(len(t.service.Requests()) > 1)
	}},
	{"RetryAfterInSeconds", "Retry-After: 30 is obeyed", func(t *trial) string {
		t.service.Next(iamtest.Throttled(30 * time.Second))
		t.get(t.Context())
		return yes(t.spacing() >= 30*time.Second)
	}},
	{"RetryAfterAsADate", "HTTP-date formats that are understood in Retry-After (of 3)", func(t *trial) string {
		understood := 0
		for _, layout := range []string{http.TimeFormat, "Monday, 02-Jan-06 15:04:05 GMT", time.ANSIC} {
			t.service = iamtest.Server{}
			date := time.Now().Add(30 * time.Second).UTC().Format(layout)
			t.service.Next(iamtest.Throttled(0).With("Retry-After", date))
			t.get(t.Context())
			if t.spacing() >= 29*time.Second {
				understood++
			}
		}
		return strconv.Itoa(understood)
	}},
	{"Deadline", "with Retry-After: 30 and a deadline in 10 s, the call ends", func(t *trial) string {
		t.service.On("/", iamtest.Throttled(30*time.Second))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		status, _ := t.get(ctx)
		switch took := time.Since(start); {
		case status != 429:
			return fmt.Sprintf("after %.0f s, no 429", took.Seconds())
		case took == 0:
			return "at once, with the 429"
		default:
			return "later, with the 429"
		}
	}},
	{"RetryAfterOfADay", "with a Retry-After of a day and no deadline, the call takes", func(t *trial) string {
		t.service.Next(iamtest.Throttled(24 * time.Hour))
		start := time.Now()
		t.get(t.Context())
		switch took := time.Since(start); {
		case took >= 24*time.Hour:
			return "a day"
		case took == 0:
			return "no time"
		case len(t.service.Requests()) == 2:
			return "seconds: it ignores Retry-After"
		default:
			return took.String()
		}
	}},
	{"FinalError", "if all attempts are throttled, the caller gets", func(t *trial) string {
		t.service.On("/", iamtest.Throttled(0))
		status, err := t.get(t.Context())
		switch {
		case err == nil:
			return "the response"
		case status == 0:
			var e retrypolicy.ExceededError
			if errors.As(err, &e) && e.LastResult != nil {
				return "an error containing the response"
			}
			return "an error without status"
		}
		var e *iamhttp.StatusError
		errors.As(err, &e)
		if e.Message == "" || e.RequestID == "" || e.Attempts == 0 || e.Stop == iamhttp.StopUnset {
			return "a typed error"
		}
		return "a typed error: message, request ID, attempts, stop reason"
	}},
	{"BodyThatCanBeReadOnce", "after a 429, a body that can be read only once", func(t *trial) string {
		t.service.Next(iamtest.Throttled(0))
		req, err := http.NewRequestWithContext(t.Context(), "POST", "https://iam.example/v3/users", io.MultiReader(strings.NewReader("body")))
		require.NoError(t, err)
		t.do(req)
		arrived := t.service.Requests()
		switch {
		case len(arrived) == 1:
			return "is sent once"
		case arrived[1].Body == "body":
			return "is held in memory"
		}
		return "is sent again empty"
	}},
	{"ResponseBodiesAreClosed", "the response bodies of failed attempts are closed", func(t *trial) string {
		t.service.Next(iamtest.Throttled(0), iamtest.Throttled(0))
		opened, closed := 0, 0
		t.use(roundTripper(func(req *http.Request) (*http.Response, error) {
			resp, err := t.service.RoundTrip(req)
			if err == nil {
				opened++
				resp.Body = &counted{ReadCloser: resp.Body, closed: &closed}
			}
			return resp, err
		}))
		t.get(t.Context())
		return yes(opened == closed)
	}},
	{"CanceledWait", "if the caller cancels during a wait, errors.Is finds context.Canceled", func(t *trial) string {
		t.service.On("/", iamtest.Throttled(30*time.Second))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		req, err := http.NewRequestWithContext(ctx, "GET", "https://iam.example/v3/users", nil)
		require.NoError(t, err)
		_, err = t.client.Transport.RoundTrip(req) // without http.Client, which would wrap the error
		return yes(errors.Is(err, context.Canceled))
	}},
	{"Redirect", "redirects are left to http.Client and its CheckRedirect", func(t *trial) string {
		t.service.Next(iamtest.Answer{Status: 302}.With("Location", "https://elsewhere.example/"))
		req, err := http.NewRequestWithContext(t.Context(), "GET", "https://iam.example/v3/users", nil)
		require.NoError(t, err)
		resp, err := t.client.Transport.RoundTrip(req)
		require.NoError(t, err)
		resp.Body.Close()
		return yes(resp.StatusCode == 302)
	}},
	{"404IsAResponse", "a 404 is returned as a response, as http.RoundTripper requires", func(t *trial) string {
		t.service.On("/", iamtest.Keystone(404, "Could not find user."))
		_, err := t.get(t.Context())
		if err == nil {
			return "yes"
		}
		t.client = &http.Client{Transport: &iamhttp.Transport{Base: &t.service, PassThrough: true}}
		_, err = t.get(t.Context())
		require.NoError(t, err)
		return "with PassThrough"
	}},
	{"ConnectionReset", "a GET whose connection breaks is retried", func(t *trial) string {
		t.service.Next(iamtest.Answer{Fault: iamtest.Reset})
		if _, err := t.get(t.Context()); err == nil {
			return "yes"
		}
		if _, ours := t.client.Transport.(*iamhttp.Transport); !ours {
			return "no"
		}
		t.service.Next(iamtest.Answer{Fault: iamtest.Reset})
		t.client = &http.Client{Transport: &iamhttp.Transport{Base: &t.service, RetryConnectionErrors: true}}
		_, err := t.get(t.Context())
		require.NoError(t, err)
		return "with RetryConnectionErrors"
	}},
	{"Allocations", "allocations added to a successful call", func(t *trial) string {
		resp := &http.Response{StatusCode: 200, Body: http.NoBody}
		base := roundTripper(func(*http.Request) (*http.Response, error) { return resp, nil })
		req, err := http.NewRequestWithContext(t.Context(), "GET", "https://iam.example/v3/users", nil)
		require.NoError(t, err)
		rt := t.wrap(base)
		return fmt.Sprint(testing.AllocsPerRun(100, func() { _, _ = rt.RoundTrip(req) }))
	}},
	{"TwoStacked", "requests sent by one call through two stacked transports, if all attempts are throttled", func(t *trial) string {
		t.service.On("/", iamtest.Throttled(0))
		t.client.Transport = t.wrap(t.wrap(&t.service))
		t.get(t.Context())
		return t.sends()
	}},
	{"FiftyCallers", "requests per caller while an account with 50 callers is told to wait 10 s", func(t *trial) string {
		// Only iamhttp has a gate.
		without := t.herd(t.client)
		if _, ours := t.client.Transport.(*iamhttp.Transport); !ours {
			return without
		}
		t.service = iamtest.Server{}
		gated := &iamhttp.Transport{Base: &t.service, Gate: new(gate.Adaptive)}
		return t.herd(&http.Client{Transport: gated}) + " with a gate, else " + without
	}},
}

func TestPoints(t *testing.T) {
	var table strings.Builder
	table.WriteString("\n| |")
	for _, c := range contestants {
		table.WriteString(" " + c.name + " |")
	}
	table.WriteString("\n|---|" + strings.Repeat("---|", len(contestants)) + "\n")
	complete := true
	for _, p := range points {
		table.WriteString("| " + p.says + " |")
		ran := t.Run(p.name, func(t *testing.T) {
			for _, c := range contestants {
				synctest.Test(t, func(t *testing.T) {
					x := &trial{T: t, wrap: c.wrap}
					x.use(&x.service)
					seen := p.see(x)
					t.Logf("%s: %s", c.name, seen)
					table.WriteString(" " + seen + " |")
				})
			}
			table.WriteString("\n")
		})
		complete = complete && ran && strings.HasSuffix(table.String(), " |\n")
	}
	table.WriteString("\n")
	if !complete {
		t.Skip("the table cannot be compared, because some rows failed or were not run")
	}

	const document = "../../docs/comparison.md"
	is, err := os.ReadFile(document)
	require.NoError(t, err)
	head, rest, found := strings.Cut(string(is), begin)
	require.True(t, found, document+" does not contain the line %q", begin)
	old, tail, found := strings.Cut(rest, end)
	require.True(t, found, document+" does not contain the line %q", end)
	if *update {
		require.NoError(t, os.WriteFile(document, []byte(head+begin+table.String()+end+tail), 0o644))
		return
	}
	assert.Equal(t, table.String(), old, document+" is out of date; run: "+rewrite)
}

// excerpt maps the first cell of each row in README.md's table to a point's name.
var excerpt = map[string]string{
	"service down (503): sends":               "503",
	"Retry-After: 30, deadline in 10 s: ends": "Deadline",
	"all attempts throttled: returns":         "FinalError",
}

func TestREADMEHasTheSameCellsAsTheComparison(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	table, err := os.ReadFile("../../docs/comparison.md")
	require.NoError(t, err)
	row := func(document []byte, first string) []string {
		_, rest, found := strings.Cut(string(document), "\n| "+first+" | ")
		require.True(t, found, "there is no row that begins with %q", first)
		line, _, _ := strings.Cut(rest, " |\n")
		return strings.Split(line, " | ")[:3]
	}
	for words, name := range excerpt {
		for _, p := range points {
			if p.name == name {
				assert.Equal(t, row(table, p.says)[1:], row(readme, words)[1:], words)
				ours, _, _ := strings.Cut(row(table, p.says)[0], ":")
				assert.Equal(t, ours, row(readme, words)[0], words)
			}
		}
	}
	allocations := row(table, "allocations added to a successful call")[0]
	assert.Contains(t, string(readme), "["+allocations+" allocations](docs/comparison.md)")
	sent := row(table, "requests sent by one call if the service is down (503)")[1]
	assert.Contains(t, string(readme), "["+strings.Replace(sent, "requests", "times", 1)+"](docs/comparison.md)")
}

// use makes the client send its requests through the contestant to base.
func (t *trial) use(base http.RoundTripper) { t.client = &http.Client{Transport: t.wrap(base)} }

func (t *trial) get(ctx context.Context) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, "GET", "https://iam.example/v3/users", nil)
	require.NoError(t, err)
	return t.do(req)
}

// do returns the status of the response, or of an error that wraps an iamhttp.Code. It
// returns the status 0 with any other error.
func (t *trial) do(req *http.Request) (status int, err error) {
	resp, err := t.client.Do(req)
	if err != nil {
		var code iamhttp.Code
		errors.As(err, &code)
		return int(code), err
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return resp.StatusCode, nil
}

func (t *trial) sends() string {
	n := len(t.service.Requests())
	if n == 1 {
		return "1 request"
	}
	return fmt.Sprint(n, " requests")
}

// spacing is the time between the first two requests, or 0 if there is only one.
func (t *trial) spacing() time.Duration {
	r := t.service.Requests()
	if len(r) < 2 {
		return 0
	}
	return r[1].At.Sub(r[0].At)
}

// herd starts 50 callers, one every 100 ms. The service throttles all requests for 10 s.
// herd returns the number of requests in these 10 s, not counting the first, divided by
// 49, the number of callers that did not send it.
func (t *trial) herd(client *http.Client) string {
	opens := time.Now().Add(10 * time.Second)
	t.service.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if left := time.Until(opens); left > 0 {
			iamtest.Throttled(left).ServeHTTP(w, r)
		}
	})
	var callers sync.WaitGroup
	for range 50 {
		callers.Go(func() {
			resp, err := client.Get("https://iam.example/v3/users")
			if err == nil {
				resp.Body.Close()
			}
		})
		time.Sleep(100 * time.Millisecond)
	}
	callers.Wait()
	early := -1 // the first request is always sent, so it is not counted
	for _, r := range t.service.Requests() {
		if r.At.Before(opens) {
			early++
		}
	}
	return fmt.Sprintf("%.0f", float64(early)/49) // rounded, because rehttp's waits are random
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// counted is a response body that increments closed when it is first closed.
type counted struct {
	io.ReadCloser
	once   sync.Once
	closed *int
}

func (c *counted) Close() error {
	c.once.Do(func() { *c.closed++ })
	return c.ReadCloser.Close()
}
