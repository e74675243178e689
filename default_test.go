package iamhttp_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
)

// opaque is a third-party wrapper that does not reveal the RoundTripper that it wraps.
type opaque struct{ http.RoundTripper }

func (o opaque) CloseIdleConnections() {
	if c, ok := o.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// wrapped reveals the RoundTripper that it wraps, as is the convention in Kubernetes.
type wrapped struct{ opaque }

func (w wrapped) WrappedRoundTripper() http.RoundTripper { return w.RoundTripper }

// detached replaces each request's context with context.Background().
type detached struct{ opaque }

func (d detached) RoundTrip(req *http.Request) (*http.Response, error) {
	return d.RoundTripper.RoundTrip(req.WithContext(context.Background()))
}

func TestTransportCanBeUsedInTheDefaultTransport(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/404" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer service.Close()
	original := http.DefaultTransport
	defer func() { http.DefaultTransport = original }()
	for name, rt := range map[string]http.RoundTripper{
		"alone": &iamhttp.Transport{},
		"around another Transport without a Base":     &iamhttp.Transport{Base: &iamhttp.Transport{}},
		"around two Transports without a Base":        &iamhttp.Transport{Base: &iamhttp.Transport{Base: &iamhttp.Transport{}}},
		"inside an opaque wrapper":                    opaque{&iamhttp.Transport{}},
		"inside a wrapper with WrappedRoundTripper":   wrapped{opaque{&iamhttp.Transport{}}},
		"around an opaque wrapper around a Transport": &iamhttp.Transport{Base: opaque{&iamhttp.Transport{}}},
		"inside a wrapper that replaces the context":  detached{opaque{&iamhttp.Transport{}}},
		"inside a wrapper that makes a new request": roundTripper(func(req *http.Request) (*http.Response, error) {
			again, err := http.NewRequest(req.Method, req.URL.String(), nil)
			require.NoError(t, err)
			return new(iamhttp.Transport).RoundTrip(again)
		}),
		"inside three wrappers":                 opaque{wrapped{opaque{&iamhttp.Transport{}}}},
		"with the original default as its Base": &iamhttp.Transport{Base: original},
	} {
		t.Run(name, func(t *testing.T) {
			http.DefaultTransport = rt
			resp, err := http.Get(service.URL)
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, 200, resp.StatusCode)
			_, err = http.Get(service.URL + "/404")
			assert.ErrorIs(t, err, iamhttp.ErrNotFound)
			_, err = (&http.Client{Transport: &iamhttp.Transport{}}).Get(service.URL + "/404")
			assert.ErrorIs(t, err, iamhttp.ErrNotFound, "a second Transport without a Base must work too")
			http.DefaultClient.CloseIdleConnections()
			var inner any = rt
			for range 10 { // some tools find the innermost RoundTripper this way
				w, ok := inner.(interface{ WrappedRoundTripper() http.RoundTripper })
				if !ok {
					return
				}
				inner = w.WrappedRoundTripper()
			}
			t.Error("WrappedRoundTripper never leads to an innermost RoundTripper")
		})
	}
}

func TestReplacedDefaultTransportIsUsed(t *testing.T) {
	original := http.DefaultTransport
	defer func() { http.DefaultTransport = original }()
	http.DefaultTransport = roundTripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("the new default") })
	_, err := (&iamhttp.Transport{}).RoundTrip(newRequest(t, "GET", ""))
	assert.EqualError(t, err, "the new default")
}

func TestTransportThatIsPartOfTheDefaultTransportActsOncePerCall(t *testing.T) {
	original := http.DefaultTransport
	defer func() { http.DefaultTransport = original }()
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	refused.Close()
	var reported failures
	http.DefaultTransport = opaque{&iamhttp.Transport{MaxAttempts: 3, Backoff: zero, RetryConnectionErrors: true, OnFailure: reported.add}}
	_, err = http.Get("http://" + refused.Addr().String())
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	assert.Len(t, reported, 3, "each of the 3 attempts must be reported once")
}

func TestFailureIsReportedOnceIfTheDefaultTransportReportsIt(t *testing.T) {
	original := http.DefaultTransport
	defer func() { http.DefaultTransport = original }()
	var reported failures
	http.DefaultTransport = &iamhttp.Transport{Base: script(answer(404, "")), OnFailure: reported.add}
	for name, tr := range map[string]*iamhttp.Transport{
		"without a Base": {OnFailure: reported.add},
		"around another Transport without a Base": {Base: &iamhttp.Transport{PassThrough: true}, OnFailure: reported.add},
	} {
		reported = nil
		_, err := tr.RoundTrip(newRequest(t, "GET", ""))
		require.ErrorIs(t, err, iamhttp.ErrNotFound, name)
		assert.Len(t, reported, 1, name)
	}
}

func TestCallFailsAtOnceIfThereIsNoDefaultTransport(t *testing.T) {
	original := http.DefaultTransport
	defer func() { http.DefaultTransport = original }()
	http.DefaultTransport = nil
	tr := &iamhttp.Transport{RetryConnectionErrors: true}
	body := watch(strings.NewReader("text"))
	req := newRequest(t, "PUT", "")
	req.Body = body
	_, err := tr.RoundTrip(req)
	require.EqualError(t, err, "iamhttp: there is neither a Base nor an http.DefaultTransport")
	_, closes := body.counts()
	assert.Equal(t, 1, closes)
	tr.CloseIdleConnections()
	assert.Nil(t, tr.WrappedRoundTripper())
}
