// Package e2e tests the Transport against real servers: OpenStack Keystone, and nginx and
// HAProxy with and without Keystone behind them. README.md explains how to start them.
package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
)

// The servers, in the order of their ports: see the script servers.
const (
	keystone = iota
	nginx
	nginxLimited
	haproxy
	haproxyLimited
	haproxyBuffered
	upstream // served by a test
	hang     // served by a test: accepts connections and never responds
	dead     // nothing listens
	nginxJob
	nginxGate
	haproxyGate
)

func address(t testing.TB, server int) string {
	t.Helper()
	first := 15000
	if s := os.Getenv("IAMHTTP_E2E_PORT"); s != "" {
		var err error
		first, err = strconv.Atoi(s)
		require.NoError(t, err, "IAMHTTP_E2E_PORT")
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(first+server))
}

// at returns the URL of a server. If Keystone is not running, at skips the test, or fails
// it if IAMHTTP_E2E is "required".
func at(t testing.TB, server int) string {
	t.Helper()
	c, err := net.Dial("tcp", address(t, keystone))
	if err != nil {
		if os.Getenv("IAMHTTP_E2E") == "required" {
			t.Fatal("the servers are not running: ", err)
		}
		t.Skip("the servers are not running: start them with e2e/servers up, or use e2e/run, which starts and stops them")
	}
	c.Close()
	return "http://" + address(t, server)
}

// fronts contains Keystone and the servers that forward to it without a rate limit.
var fronts = map[string]int{"Keystone itself": keystone, "nginx": nginx, "HAProxy": haproxy}

// client returns an http.Client that uses tr, and gives tr a Base with its own
// connections.
func client(t testing.TB, tr *iamhttp.Transport) *http.Client {
	base := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(base.CloseIdleConnections)
	tr.Base = base
	return &http.Client{Transport: tr}
}

// iam is a session with Keystone.
type iam struct {
	http  *http.Client
	url   string
	token string
}

const (
	adminPassword = "e2e-admin-password"
	nobodysID     = "0123456789abcdef0123456789abcdef"
)

type object = map[string]any

// login opens a session. If project is empty, Keystone uses the user's default project,
// if there is one.
func login(t testing.TB, c *http.Client, url, user, password, project string) (*iam, error) {
	t.Helper()
	auth := object{"identity": object{
		"methods":  []string{"password"},
		"password": object{"user": object{"name": user, "password": password, "domain": object{"name": "Default"}}},
	}}
	if project != "" {
		auth["scope"] = object{"project": object{"name": project, "domain": object{"name": "Default"}}}
	}
	s := &iam{http: c, url: url}
	resp, err := s.do(t, "POST", "/v3/auth/tokens", object{"auth": auth})
	if err != nil {
		return nil, err
	}
	require.Equal(t, 201, resp.StatusCode)
	s.token = resp.Header.Get("X-Subject-Token")
	require.NotEmpty(t, s.token)
	return s, nil
}

// admin opens a session as the administrator.
func admin(t testing.TB, c *http.Client, url string) *iam {
	t.Helper()
	s, err := login(t, c, url, "admin", adminPassword, "admin")
	require.NoError(t, err)
	return s
}

// do sends a request and returns the response; decode reads its body.
func (s *iam) do(t testing.TB, method, path string, body any) (*http.Response, error) {
	t.Helper()
	return s.doContext(t.Context(), t, method, path, body)
}

func (s *iam) doContext(ctx context.Context, t testing.TB, method, path string, body any) (*http.Response, error) {
	t.Helper()
	var b []byte
	if body != nil {
		var err error
		b, err = json.Marshal(body)
		require.NoError(t, err)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, bytes.NewReader(b))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	if s.token != "" {
		req.Header.Set("X-Auth-Token", s.token)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp, nil
}

// create creates a user or project, and deletes it after the test.
func (s *iam) create(t testing.TB, kind string, fields object) (id string) {
	t.Helper()
	resp, err := s.do(t, "POST", "/v3/"+kind+"s", object{kind: fields})
	require.NoError(t, err)
	require.Equal(t, 201, resp.StatusCode)
	var answer map[string]struct{ ID string }
	decode(t, resp, &answer)
	id = answer[kind].ID
	t.Cleanup(func() {
		_, err := s.doContext(context.Background(), t, "DELETE", "/v3/"+kind+"s/"+id, nil)
		require.NoError(t, err)
	})
	return id
}

func decode(t testing.TB, resp *http.Response, into any) {
	t.Helper()
	require.NoError(t, json.NewDecoder(resp.Body).Decode(into))
}

// unique returns a random name that starts with prefix.
func unique(prefix string) string { return prefix + "-" + strings.ToLower(rand.Text()[:10]) }

// reporting sets tr.OnFailure to a function that collects the failures, and returns the
// collection.
func reporting(tr *iamhttp.Transport) *[]iamhttp.Failure {
	reports := new([]iamhttp.Failure)
	tr.OnFailure = func(_ context.Context, f iamhttp.Failure) { *reports = append(*reports, f) }
	return reports
}

// code returns the status code of a failure, or 0 if there was no response.
func code(f iamhttp.Failure) iamhttp.Code {
	if e, ok := f.Status(); ok {
		return e.Code
	}
	return 0
}
