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

// opaque is a RoundTripper of others around another one.
type opaque struct{ http.RoundTripper }

func (o opaque) CloseIdleConnections() {
	if c, ok := o.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// wrapped says what it is around, as Kubernetes' do.
type wrapped struct{ opaque }

func (w wrapped) WrappedRoundTripper() http.RoundTripper { return w.RoundTripper }

func TestTransportMayBecomeTheDefaultTransport(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/404" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer service.Close()
	original := http.DefaultTransport
	defer func() { http.DefaultTransport = original }()
	for name, rt := range map[string]http.RoundTripper{
		"alone":                               &iamhttp.Transport{},
		"around one without a Base":           &iamhttp.Transport{Base: &iamhttp.Transport{}},
		"around two":                          &iamhttp.Transport{Base: &iamhttp.Transport{Base: &iamhttp.Transport{}}},
		"inside of another wrapper":           opaque{&iamhttp.Transport{}},
		"inside of one that says so":          wrapped{opaque{&iamhttp.Transport{}}},
		"inside and outside of another":       &iamhttp.Transport{Base: opaque{&iamhttp.Transport{}}},
		"inside of two others":                opaque{wrapped{opaque{&iamhttp.Transport{}}}},
		"with the default before as its Base": &iamhttp.Transport{Base: original},
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
			assert.ErrorIs(t, err, iamhttp.ErrNotFound, "another one beside it")
			http.DefaultClient.CloseIdleConnections()
			var inner any = rt
			for range 10 { // as tools look for the innermost one
				w, ok := inner.(interface{ WrappedRoundTripper() http.RoundTripper })
				if !ok {
					return
				}
				inner = w.WrappedRoundTripper()
			}
			t.Error("no innermost one")
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
