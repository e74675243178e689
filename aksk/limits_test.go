package aksk_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/aksk"
)

// stub is a RoundTripper that responds at once and does not allocate.
type stub struct{ resp http.Response }

func newStub() *stub {
	return &stub{http.Response{StatusCode: 200, Body: http.NoBody, Header: http.Header{"Date": {time.Now().UTC().Format(http.TimeFormat)}}}}
}

func (s *stub) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		req.Body.Close()
	}
	return &s.resp, nil
}

func over(base http.RoundTripper) *aksk.Transport {
	return &aksk.Transport{Base: base, SignUnsigned: true, Credentials: func(*http.Request) (aksk.Credentials, error) { return permanent, nil }}
}

// sdkRequest returns a signed request with the headers that huaweicloud-sdk-go-v3 sends.
func sdkRequest(t testing.TB, method, body string) *http.Request {
	t.Helper()
	req := newRequest(t, method, users+"?name=bob&limit=100", body)
	for _, k := range []string{"X-Project-Id", "X-Domain-Id", "Accept"} {
		req.Header.Set(k, "0123456789abcdef0123456789abcdef")
	}
	req.Header.Set("User-Agent", "huaweicloud-usdk-go/3.0")
	req.Header.Set("Content-Type", "application/json")
	require.NoError(t, aksk.Sign(req, permanent, time.Now()))
	return req
}

func allocs(rt http.RoundTripper, req *http.Request) float64 {
	return testing.AllocsPerRun(200, func() { _, _ = rt.RoundTrip(req) })
}

func TestARequestThatIsSentUnchangedCostsNoAllocation(t *testing.T) {
	base := newStub()
	token := newRequest(t, "GET", users, "")
	token.Header.Set("X-Auth-Token", "token")
	unsigned := newRequest(t, "GET", users, "")
	tr := over(base)
	assert.Zero(t, allocs(tr, token)-allocs(base, token), "sending a request with a token must not allocate")
	assert.Zero(t, allocs(tr, sdkRequest(t, "GET", "")), "sending a request with a fresh signature must not allocate")
	assert.Zero(t, allocs(tr, sdkRequest(t, "POST", "body")), "sending a request with a fresh signature and a body must not allocate")
	tr = over(base)
	tr.SignUnsigned = false
	assert.Zero(t, allocs(tr, unsigned), "sending an unsigned request must not allocate")
}

func TestSigningAgainCostsAtMost25Allocations(t *testing.T) {
	base := newStub()
	for name, req := range map[string]*http.Request{
		"a GET":           sdkRequest(t, "GET", ""),
		"a body of 1 KiB": sdkRequest(t, "POST", strings.Repeat("x", 1<<10)),
	} {
		require.NoError(t, aksk.Sign(req, permanent, time.Now().Add(-time.Hour)))
		n := allocs(over(base), req)
		t.Logf("%s: %v allocations", name, n)
		assert.LessOrEqual(t, n, 25.0, "too many allocations for "+name)
	}
}

func TestTheMemoryUsedForSigningDoesNotGrowWithTheBody(t *testing.T) {
	path := filepath.Join(t.TempDir(), "upload")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	open := func() (io.ReadCloser, error) { return os.Open(path) }
	cost := func(size int64) uint64 {
		require.NoError(t, os.Truncate(path, size))
		body, err := open()
		require.NoError(t, err)
		req := newRequest(t, "PUT", users, "")
		req.Body, req.GetBody, req.ContentLength = body, open, size
		tr := over(newStub())
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err = tr.RoundTrip(req)
		runtime.ReadMemStats(&after)
		require.NoError(t, err)
		return after.TotalAlloc - before.TotalAlloc
	}
	small, large := cost(1<<10), cost(64<<20)
	t.Logf("allocated %d bytes for a 1 KiB body and %d bytes for a 64 MiB body", small, large)
	assert.Less(t, large, uint64(64<<10))
}

func BenchmarkRoundTrip(b *testing.B) {
	token := newRequest(b, "GET", users, "")
	token.Header.Set("X-Auth-Token", "token")
	stale := sdkRequest(b, "POST", strings.Repeat("x", 1<<10))
	require.NoError(b, aksk.Sign(stale, permanent, time.Now().Add(-time.Hour)))
	base := newStub()
	for name, tt := range map[string]struct {
		rt    http.RoundTripper
		req   *http.Request
		fresh bool
	}{
		"the stub alone":      {base, sdkRequest(b, "GET", ""), true},
		"a token":             {over(base), token, false},
		"a fresh signature":   {over(base), sdkRequest(b, "GET", ""), true},
		"signed again, 1 KiB": {over(base), stale, false},
		"signed again, no body": {over(base), func() *http.Request {
			r := sdkRequest(b, "GET", "")
			_ = aksk.Sign(r, permanent, time.Now().Add(-time.Hour))
			return r
		}(), false},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			if tt.fresh {
				require.NoError(b, aksk.Sign(tt.req, permanent, time.Now()))
				base.resp.Header["Date"][0] = time.Now().UTC().Format(http.TimeFormat)
			}
			for b.Loop() {
				_, _ = tt.rt.RoundTrip(tt.req)
			}
		})
	}
}
