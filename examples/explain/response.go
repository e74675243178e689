package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/cenkalti/backoff/v4"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/internal/answer"
)

// A response is parsed from the output of a program such as curl -i.
type response struct {
	status int
	header http.Header
	body   []byte
}

// mostInput is the maximum number of bytes that are read from standard input.
const mostInput = 1 << 20

var statusLine = regexp.MustCompile(`^HTTP/[0-9](?:\.[0-9])? ([1-9][0-9]{2})(?: [^\r\n]*)?(?:\r?\n|$)`)

// style matches the escape sequences with which curl prints header names in bold on a
// terminal, and other programs print them in color.
var style = regexp.MustCompile(`\x1b\[[0-9;]*m`)

// readResponse parses the last response in the first mostInput bytes of r. curl can print
// several responses: after a 100 Continue, a CONNECT to a proxy, a redirect or a retry.
func readResponse(r io.Reader) (*response, error) {
	input, err := io.ReadAll(io.LimitReader(r, mostInput))
	if err != nil {
		return nil, err
	}
	input = bytes.TrimLeft(bytes.TrimPrefix(input, []byte("\ufeff")), " \t\r\n")
	if len(input) == 0 {
		return nil, errors.New("standard input is empty")
	}
	if !statusLine.Match(input) {
		return nil, fmt.Errorf("standard input begins with %s, which is not a status line\nsuch as HTTP/1.1 429; call curl with -i", quote(input))
	}
	for {
		resp, rest, err := parseResponse(input)
		if err != nil {
			return nil, err
		}
		next := nextResponse(resp, rest)
		if next == nil {
			resp.body = rest
			if strings.EqualFold(resp.header.Get("Transfer-Encoding"), "chunked") {
				resp.body = dechunked(rest)
			}
			return resp, nil
		}
		input = next
	}
}

// dechunked joins the chunks of a body that curl --raw has printed. It returns any other
// body unchanged: usually, curl prints a body as a whole although its header says chunked.
func dechunked(body []byte) []byte {
	var whole []byte
	for rest := body; ; {
		line, after, _ := bytes.Cut(rest, []byte("\n"))
		size, _, _ := bytes.Cut(line, []byte(";"))
		n, err := strconv.ParseUint(string(bytes.TrimSpace(size)), 16, 31)
		switch {
		case err != nil || int(n) > len(after):
			return body
		case n == 0:
			return whole
		}
		whole = append(whole, after[:n]...)
		end, next, found := bytes.Cut(after[n:], []byte("\n"))
		if !found || len(bytes.TrimSpace(end)) > 0 {
			return body
		}
		rest = next
	}
}

// nextResponse returns the input from the next response on, or nil if there is none. rest
// is what follows resp's header. If the Content-Length is unknown or does not lead to a
// status line, the body ends at the first status line that is followed by a header or an
// empty line, and that does not follow a space, a tab or a quotation mark.
func nextResponse(resp *response, rest []byte) []byte {
	if statusLine.Match(rest) {
		return rest // resp has no body
	}
	if n, err := strconv.Atoi(resp.header.Get("Content-Length")); err == nil && n > 0 {
		rest = rest[min(n, len(rest)):]
		if statusLine.Match(rest) {
			return rest
		}
	}
	for i := 0; ; i++ {
		next := bytes.Index(rest[i:], []byte("HTTP/"))
		if next < 0 {
			return nil
		}
		i += next
		if i > 0 && strings.IndexByte(" \t\"'`", rest[i-1]) >= 0 {
			continue // part of a sentence
		}
		if line := statusLine.Find(rest[i:]); bytes.HasSuffix(line, []byte("\n")) {
			after := rest[i+len(line):]
			found, _, err := parseResponse(rest[i:])
			if err == nil && len(found.header) > 0 || bytes.HasPrefix(after, []byte("\r\n")) || bytes.HasPrefix(after, []byte("\n")) {
				return rest[i:]
			}
		}
	}
}

// parseResponse parses the status line and the header at the start of input.
func parseResponse(input []byte) (resp *response, rest []byte, err error) {
	line := statusLine.FindSubmatch(input)
	status, err := strconv.Atoi(string(line[1]))
	if err != nil {
		return nil, nil, err
	}
	resp, rest = &response{status: status, header: http.Header{}}, input[len(line[0]):]
	last, long := "", []byte(nil) // the previous field's name, and its value if that is folded
	header := resp.header
	unfold := func() {
		if values := header[last]; long != nil {
			values[len(values)-1], long = string(long), nil
		}
	}
	defer unfold()
	for len(rest) > 0 {
		field, after, _ := bytes.Cut(rest, []byte("\n"))
		rest, field = after, bytes.TrimSuffix(field, []byte("\r"))
		if bytes.IndexByte(field, 0x1b) >= 0 {
			field = style.ReplaceAll(field, nil)
		}
		if len(field) == 0 {
			break
		}
		if values := resp.header[last]; (field[0] == ' ' || field[0] == '\t') && len(values) > 0 { // a folded line
			if long == nil {
				long = []byte(values[len(values)-1])
			}
			long = append(append(long, ' '), bytes.TrimSpace(field)...)
			continue
		}
		unfold()
		name, value, found := bytes.Cut(field, []byte(":"))
		if !found || len(name) == 0 || bytes.ContainsAny(name, " \"<>{}()") || bytes.ContainsFunc(name, unicode.IsControl) {
			return nil, nil, fmt.Errorf("standard input contains %s\ninstead of a header field (Name: value) or an empty line", quote(field))
		}
		last = http.CanonicalHeaderKey(string(name))
		resp.header.Add(last, string(bytes.TrimSpace(value)))
	}
	return resp, rest, nil
}

// quote returns the beginning of the first line of b in quotes, for use in an error
// message.
func quote(b []byte) string {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	return strconv.Quote(answer.Cut(string(bytes.TrimSpace(line)), 40))
}

func explainResponse(w io.Writer, resp *response) {
	s := iamhttp.Classify(resp.status)
	explainMeaning(w, s)
	if failure(s) {
		e := iamhttp.NewStatusError(resp.status, resp.header, resp.body)
		for _, f := range [...]struct{ name, text string }{
			{"code", answer.Label(e.ServiceCode)},
			{"message", quoted(e.Message)},
			{"request", answer.Label(e.RequestID)},
			{"Retry-After", positive(e.RetryAfter)},
			{"limit", answer.Label(e.Limit.String())},
		} {
			if f.text != "" {
				field(w, f.name, f.text)
			}
		}
		if r := e.Reason(); r != iamhttp.ReasonUnknown {
			field(w, "reason", r.Error())
			field(w, "decision", decisions[r])
		}
	}
	field(w, "Transport", wouldDo(s, resp))
}

func quoted(s string) string {
	if s == "" {
		return ""
	}
	return strconv.Quote(answer.Cut(s, 200))
}

func positive(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return d.String()
}

// longestWait is longer than any realistic deadline. Retry-After can be even longer.
const longestWait = 100 * 365 * 24 * time.Hour

// wouldDo describes what a Transport would do with a response. To find out, it passes the
// response to a Transport.
func wouldDo(s iamhttp.Semantics, resp *response) string {
	patient := decided(resp, math.MaxInt64)
	if patient.Stop == iamhttp.StopWaitTooLong || patient.Wait > longestWait {
		return "returns a *StatusError, because the Retry-After is later than any realistic deadline"
	}
	if !failure(s) || !patient.Retry {
		return inFull(s)
	}
	const retries = "retries the request, whatever its method"
	if patient.Wait == 0 {
		return retries + ", after a backoff of 1 s, doubled each time, ±50%, at most 30 s"
	}
	e := iamhttp.NewStatusError(resp.status, resp.header, resp.body)
	why, tooLate := "the Retry-After", "with an earlier deadline, the call fails at once"
	if e.RetryAfter == 0 {
		why, tooLate = "until the limit allows requests again", "with an earlier deadline, it uses the backoff instead"
		if e.Limit.Reset == 0 {
			why = "a third of the limit's window, because the end of the window is not known"
		}
	}
	text := fmt.Sprintf("%s, after %v (%s) plus random jitter; %s", retries, patient.Wait, why, tooLate)
	switch usual := decided(resp, 0); {
	case !usual.Retry:
		text += fmt.Sprintf("; without a deadline and with the default MaxWait, it does not retry: %v", usual.Stop)
	case usual.Wait < patient.Wait:
		text += fmt.Sprintf("; without a deadline and with the default MaxWait, it waits %v", usual.Wait)
	}
	return text
}

// decided returns the Failure that a Transport reports if the first attempt gets resp, or
// the zero Failure if it reports none. The Failure's Wait is the shortest possible,
// because the Backoff adds nothing to it.
func decided(resp *response, maxWait time.Duration) (first iamhttp.Failure) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	t := &iamhttp.Transport{
		Base:    answering{resp},
		MaxWait: maxWait,
		Backoff: func() backoff.BackOff { return &backoff.ZeroBackOff{} },
		OnFailure: func(_ context.Context, f iamhttp.Failure) {
			if ctx.Err() == nil {
				first = f
			}
			cancel() // ends the wait
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://iam.example/", nil)
	if err != nil {
		return first
	}
	if got, err := t.RoundTrip(req); err == nil {
		got.Body.Close()
	}
	return first
}

// answering is a RoundTripper that always returns the same response.
type answering struct{ *response }

func (a answering) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: a.status, Header: a.header.Clone(), Request: req,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: io.NopCloser(strings.NewReader(string(a.body))), ContentLength: int64(len(a.body)),
	}, nil
}
