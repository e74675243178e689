package iamtest_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/iamtest"
)

// overSocket starts a server and returns a client that sends every request to it, whatever
// host the request is for.
func overSocket(t *testing.T, h http.Handler) http.RoundTripper {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	client := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
	}}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		server.CloseClientConnections()
		server.Close()
	})
	return client
}

// outcome describes what the client and the server see of a request: the response or the
// error, the request as the handler gets it, and the requests that the Server recorded.
// The request is a GET for http://iam.example/ to which the changes were made.
func outcome(t *testing.T, memory bool, changes []func(*http.Request)) string {
	t.Helper()
	s := &iamtest.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %q, %#v, %s, host %q, header %q, length %d, encoding %v, trailer %q, close %v, body %q, error %v, address %v",
			r.Method, r.RequestURI, *r.URL, r.Proto, r.Host, chosen(r.Header), r.ContentLength, r.TransferEncoding, r.Trailer, r.Close, b, err, r.RemoteAddr != "")
	})}
	base := http.RoundTripper(s)
	if !memory {
		base = overSocket(t, s)
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://iam.example/", nil)
	require.NoError(t, err)
	for _, change := range changes {
		change(req)
	}
	got := result(base, req)
	for _, q := range s.Requests() {
		got += fmt.Sprintf("\nrecorded: %s %q, header %q, body %q", q.Method, q.Target, chosen(q.Header), q.Body)
	}
	return got
}

// chosen returns a header without the fields that http.Transport may have added.
func chosen(h http.Header) http.Header {
	h = h.Clone()
	h.Del("Accept-Encoding")
	h.Del("Content-Length")
	if h.Get("User-Agent") == "Go-http-client/1.1" {
		h.Del("User-Agent")
	}
	return h
}

func TestRequestsInMemoryAreTheSameAsOverASocket(t *testing.T) {
	type changes = []func(*http.Request)
	method := func(m string) func(*http.Request) { return func(r *http.Request) { r.Method = m } }
	link := func(s string) func(*http.Request) {
		return func(r *http.Request) {
			u, err := url.Parse(s)
			require.NoError(t, err)
			r.URL = u
		}
	}
	part := func(change func(*url.URL)) func(*http.Request) { return func(r *http.Request) { change(r.URL) } }
	host := func(h string) func(*http.Request) { return func(r *http.Request) { r.Host = h } }
	field := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[name] = values }
	}
	trailer := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Trailer = http.Header{name: {value}} }
	}
	stream := func(readers ...io.Reader) func(*http.Request) { // a body whose length is not known
		return func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(io.MultiReader(readers...)), -1 }
	}
	// net/http does not send the header of such a body early, so that a wrong length is
	// always noticed before the server responds.
	text := func(s string) func(*http.Request) {
		return func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader(s)), -1 }
	}
	length := func(n int64) func(*http.Request) { return func(r *http.Request) { r.ContentLength = n } }
	encoding := func(e string) func(*http.Request) {
		return func(r *http.Request) { r.TransferEncoding = []string{e} }
	}
	noBody := func(r *http.Request) { r.Body = http.NoBody }
	closes := func(r *http.Request) { r.Close = true }
	post, large := method("POST"), strings.Repeat("x", 300<<10)
	for name, c := range map[string]changes{
		"no path":                        {link("http://iam.example")},
		"no path, but a query":           {link("http://iam.example?a=b")},
		"a path and a query":             {link("http://iam.example/v3/users?name=a%20b&c;d")},
		"an empty query":                 {link("http://iam.example/v3?")},
		"a query with a space":           {link("http://iam.example/v3?name=a b")},
		"a query that is not ASCII":      {link("http://iam.example/v3?name=ä")},
		"a query with a newline":         {part(func(u *url.URL) { u.RawQuery = "a\nb" })},
		"a fragment":                     {link("http://iam.example/v3#f")},
		"an escaped path":                {link("http://iam.example/v3/a%2Fb%20c/ä")},
		"a path that is not clean":       {link("http://iam.example//v3/../a/./b//")},
		"a path without a slash":         {part(func(u *url.URL) { u.Path = "v3" })},
		"a path with a newline":          {part(func(u *url.URL) { u.Path = "/a\nb" })},
		"a RawPath that does not fit":    {part(func(u *url.URL) { u.Path, u.RawPath = "/a", "/%62" })},
		"an opaque path":                 {part(func(u *url.URL) { u.Opaque = "/a%2Fb" })},
		"an opaque URL":                  {part(func(u *url.URL) { u.Opaque = "//other.example/a%2Fb" })},
		"an opaque text":                 {part(func(u *url.URL) { u.Opaque = "a:b" })},
		"a user":                         {link("http://a:b@iam.example/")},
		"no host":                        {part(func(u *url.URL) { u.Host = "" })},
		"no host, but a Host":            {part(func(u *url.URL) { u.Host = "" }), host("iam.example")},
		"a scheme that is not HTTP":      {link("ftp://iam.example/"), field("X A", "secret")},
		"no scheme":                      {link("//iam.example/")},
		"a scheme in capitals":           {part(func(u *url.URL) { u.Scheme = "HTTP" })},
		"a port":                         {link("http://iam.example:80/"), host("")},
		"an empty port":                  {link("http://iam.example:/"), host("")},
		"a host in capitals":             {link("http://IAM.example/"), host("")},
		"a Host":                         {host("other.example")},
		"a Host that is not ASCII":       {host("bücher.example")},
		"a Host with a space":            {host("a b/c")},
		"a Host that IDNA does not have": {host("ü\u202e.example")},
		"a Host with a zone":             {host("[fe80::1%25en0]:80")},
		"no method":                      {method("")},
		"a method in lower case":         {method("get")},
		"an invalid method":              {method("A B")},
		"an invalid method and no host":  {method("A B"), part(func(u *url.URL) { u.Host = "" })},
		"an unknown method":              {method("REPORT"), text("abc")},
		"HEAD":                           {method("HEAD")},
		"HEAD with a body":               {method("HEAD"), text("abc"), length(3)},
		"OPTIONS":                        {method("OPTIONS")},
		"TRACE":                          {method("TRACE")},
		"DELETE":                         {method("DELETE")},
		"DELETE with a stream":           {method("DELETE"), text("abc")},
		"GET with a body":                {text("abc"), length(3)},
		"GET with a stream":              {text("abc")},
		"GET with an empty stream":       {text("")},
		"PUT without a body":             {method("PUT")},
		"POST without a body":            {post},
		"POST with a body":               {post, text("abc"), length(3)},
		"POST with a stream":             {post, text("abc")},
		"POST with an empty stream":      {post, text("")},
		"POST with NoBody":               {post, noBody},
		"a large body":                   {post, text(large), length(300 << 10)},
		"a large stream":                 {post, text(large)},
		"a body that is too short":       {post, text("abc"), length(4)},
		"a body that is too long":        {post, text("abc"), length(2)},
		"a body that has been read":      {post, text(""), length(3)},
		"a body with the length 0":       {post, text("abc"), length(0)},
		"a length without a body":        {post, length(3)},
		"a negative length":              {post, length(-1)},
		"a length and NoBody":            {post, noBody, length(3)},
		"a body that fails":              {post, stream(strings.NewReader("abc"), broken{})},
		"a body that fails at once":      {stream(broken{})},
		"chunked, despite a length":      {post, text("abc"), length(3), encoding("chunked")},
		"chunked without a body":         {post, encoding("chunked")},
		"identity":                       {method("DELETE"), encoding("identity")},
		"a trailer":                      {post, text("abc"), trailer("X-A", "1")},
		"a trailer despite a length":     {post, text("abc"), length(3), trailer("X-A", "1")},
		"a trailer that is forbidden":    {post, text("abc"), trailer("Trailer", "1")},
		"a trailer with a wrong name":    {post, text("abc"), trailer("X A", "1")},
		"a trailer with a wrong value":   {post, text("abc"), trailer("X-A", "secret\n")},
		"a name in lower case":           {field("x-auth-token", "token")},
		"a name in two spellings":        {field("x-a", "1"), field("X-A", "2")},
		"a value with spaces":            {field("X-A", " a  b\t")},
		"two values":                     {field("X-A", "a", "b")},
		"an empty value":                 {field("X-A", "")},
		"no values":                      {field("Idempotency-Key")},
		"a value that is not ASCII":      {field("X-A", "ä\xff")},
		"a wrong value":                  {field("X-A", "secret\x00")},
		"a wrong name":                   {field("X:A", "b")},
		"a large value":                  {field("X-A", large)},
		"Host":                           {field("Host", "other.example")},
		"host":                           {field("host", "other.example")},
		"Content-Length":                 {post, text("abc"), length(3), field("Content-Length", "99")},
		"content-length":                 {post, text("abc"), length(3), field("content-length", "99")},
		"Transfer-Encoding":              {post, text("abc"), length(3), field("Transfer-Encoding", "gzip")},
		"Trailer":                        {post, text("abc"), field("Trailer", "X-A")},
		"User-Agent":                     {field("User-Agent", " test ")},
		"two User-Agents":                {field("User-Agent", "a", "b")},
		"an empty User-Agent":            {field("User-Agent", "")},
		"Request.Close":                  {closes},
		"Request.Close and Connection":   {closes, field("Connection", "x-a")},
		"Connection: close":              {field("Connection", "close")},
		"Connection: X-A, Close":         {field("Connection", "X-A, Close")},
		"Connection: keep-alive":         {field("Connection", "keep-alive")},
		"Pragma: no-cache":               {field("Pragma", "no-cache")},
		"Upgrade":                        {field("Connection", "Upgrade"), field("Upgrade", "x")},
		"Expect":                         {post, text("abc"), length(3), field("Expect", "100-continue")},
	} {
		t.Run(name, func(t *testing.T) {
			socket := outcome(t, false, c)
			// After an error of the body, net/http closes the connection, and sometimes
			// reports what this does to its own read instead of the error.
			for tries := 0; tries < 20 && strings.Contains(socket, net.ErrClosed.Error()); tries++ {
				socket = outcome(t, false, c)
			}
			assert.Equal(t, socket, outcome(t, true, c))
		})
	}
}

func TestHandlersInMemorySeeOnlyTheHeaderFieldsThatTheCallerSet(t *testing.T) {
	for _, h := range []http.Header{
		{},
		{"X-Auth-Token": {"token"}},
		{"User-Agent": {"Go-http-client/1.1"}, "Accept-Encoding": {"gzip"}},
	} {
		var s iamtest.Server
		req, err := http.NewRequestWithContext(t.Context(), "POST", "http://iam.example/", strings.NewReader("abc"))
		require.NoError(t, err)
		req.Header = h
		result(&s, req)
		assert.Equal(t, h, s.Requests()[0].Header)
	}
}
