package iamhttp_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
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
		"inside three wrappers":                       opaque{wrapped{opaque{&iamhttp.Transport{}}}},
		"with the original default as its Base":       &iamhttp.Transport{Base: original},
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
			assert.ErrorIs(t, err, iamhttp.ErrNotFound, "a second Transport without a Base must work as well")
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
