package iamhttp_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

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

// lazy sends requests through the default transport of that moment, as an
// oauth2.Transport without a Base does. It marks each request that it passes on.
type lazy struct{}

func (lazy) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Add("Passed", "lazy")
	return http.DefaultTransport.RoundTrip(req)
}

// revealing is a lazy that reveals where it sends requests.
type revealing struct{ lazy }

func (revealing) WrappedRoundTripper() http.RoundTripper { return http.DefaultTransport }

// forgetful is a lazy that replaces each request's context.
type forgetful struct{ lazy }

func (f forgetful) RoundTrip(req *http.Request) (*http.Response, error) {
	return f.lazy.RoundTrip(req.WithContext(context.Background()))
}

// authenticating embeds a Transport, and so has its WrappedRoundTripper and
// CloseIdleConnections. It marks each request that it passes on.
type authenticating struct{ *iamhttp.Transport }

func (a authenticating) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Add("Passed", "authenticating")
	return a.Transport.RoundTrip(req)
}

// skipping reveals not the Transport that it wraps, but what is below.
type skipping struct{ next *iamhttp.Transport }

func (s skipping) RoundTrip(req *http.Request) (*http.Response, error) { return s.next.RoundTrip(req) }
func (s skipping) CloseIdleConnections()                               { s.next.CloseIdleConnections() }
func (s skipping) WrappedRoundTripper() http.RoundTripper              { return s.next.WrappedRoundTripper() }

// metering has a RoundTrip and fields of its own. It marks each request that it passes on.
type metering struct {
	calls int
	next  http.RoundTripper
}

func (m *metering) RoundTrip(req *http.Request) (*http.Response, error) {
	m.calls++
	req = req.Clone(req.Context())
	req.Header.Add("Passed", "metering")
	return m.next.RoundTrip(req)
}

// detached replaces each request's context with context.Background().
type detached struct{ opaque }

func (d detached) RoundTrip(req *http.Request) (*http.Response, error) {
	return d.RoundTripper.RoundTrip(req.WithContext(context.Background()))
}

// elsewhere runs each request in another goroutine, as circuit breakers do. It fails after
// 100 requests, in case they go round in a circle.
type elsewhere struct {
	next  http.RoundTripper
	calls *atomic.Int32
}

func (e elsewhere) RoundTrip(req *http.Request) (resp *http.Response, err error) {
	if e.calls.Add(1) > 100 {
		return nil, errors.New("too many requests")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		resp, err = e.next.RoundTrip(req)
	}()
	<-done
	return resp, err
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
		"inside three wrappers":                                                          opaque{wrapped{opaque{&iamhttp.Transport{}}}},
		"around a RoundTripper that uses the default transport":                          &iamhttp.Transport{Base: lazy{}},
		"inside a wrapper, around a RoundTripper that uses the default transport":        &metering{next: &iamhttp.Transport{Base: lazy{}}},
		"inside an opaque wrapper, around one that uses the default transport":           opaque{&iamhttp.Transport{Base: lazy{}}},
		"around a RoundTripper that uses the default transport and replaces the context": &iamhttp.Transport{Base: forgetful{}},
		"embedded in a RoundTripper":                                                     authenticating{&iamhttp.Transport{}},
		"embedded, around one that uses the default transport":                           authenticating{&iamhttp.Transport{Base: lazy{}}},
		"inside a wrapper that reveals what the Transport wraps":                         skipping{&iamhttp.Transport{}},
		"inside a wrapper around one that embeds it":                                     wrapped{opaque{authenticating{&iamhttp.Transport{}}}},
		"with the original default as its Base":                                          &iamhttp.Transport{Base: original},
		"inside a wrapper that changes the goroutine":                                    elsewhere{&iamhttp.Transport{}, new(atomic.Int32)},
		"inside one that changes the goroutine, around one that uses the default":        elsewhere{&iamhttp.Transport{Base: lazy{}}, new(atomic.Int32)},
		"around one that changes the goroutine and uses the default":                     opaque{&iamhttp.Transport{Base: elsewhere{lazy{}, new(atomic.Int32)}}},
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

func TestEachPartOfTheDefaultTransportRunsOncePerCall(t *testing.T) {
	var passed []string
	service := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { passed = r.Header["Passed"] }))
	defer service.Close()
	original := http.DefaultTransport
	defer func() { http.DefaultTransport = original }()
	for name, tt := range map[string]struct {
		rt   http.RoundTripper
		want []string
	}{
		"a wrapper that does not reveal it runs twice":      {&metering{next: &iamhttp.Transport{}}, []string{"metering", "metering"}},
		"a RoundTripper that embeds it":                     {authenticating{&iamhttp.Transport{}}, []string{"authenticating"}},
		"one that embeds it around one that uses it, twice": {authenticating{&iamhttp.Transport{Base: lazy{}}}, []string{"authenticating", "lazy", "authenticating"}},
		"a Transport around one that uses the default":      {&iamhttp.Transport{Base: lazy{}}, []string{"lazy"}},
		"two Transports around one that uses the default":   {&iamhttp.Transport{Base: &iamhttp.Transport{Base: lazy{}}}, []string{"lazy"}},
		"a Transport around one that reveals the default":   {&iamhttp.Transport{Base: revealing{}}, []string{"lazy"}},
		"a Transport with a Base that is an http.Transport": {&metering{next: &iamhttp.Transport{Base: original}}, []string{"metering"}},
	} {
		http.DefaultTransport = tt.rt
		for range 2 {
			resp, err := http.Get(service.URL)
			require.NoError(t, err, name)
			resp.Body.Close()
			assert.Equal(t, tt.want, passed, name)
		}
	}
}

// open is a metering that reveals the RoundTripper that it wraps.
type open struct{ *metering }

func (o open) WrappedRoundTripper() http.RoundTripper { return o.next }

func TestASecondTransportWithoutABaseUsesADefaultTransportThatHasAnother(t *testing.T) {
	var passed []string
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		passed = r.Header["Passed"]
		w.WriteHeader(http.StatusNotFound)
	}))
	defer service.Close()
	original := http.DefaultTransport
	defer func() { http.DefaultTransport = original }()
	var reported failures
	first := &iamhttp.Transport{OnFailure: reported.add}
	for name, tt := range map[string]struct {
		rt   http.RoundTripper
		want []string
	}{
		"alone":                                   {first, nil},
		"inside a wrapper that reveals it":        {open{&metering{next: first}}, []string{"metering"}},
		"embedded in a RoundTripper":              {authenticating{first}, []string{"authenticating"}},
		"inside a wrapper that reveals the lower": {skipping{first}, nil},
	} {
		http.DefaultTransport, reported = tt.rt, nil
		second := &iamhttp.Transport{PassThrough: true}
		assert.Equal(t, tt.rt, second.WrappedRoundTripper(), name)
		for _, client := range []*http.Client{http.DefaultClient, {Transport: second}} {
			_, err := client.Get(service.URL)
			require.ErrorIs(t, err, iamhttp.ErrNotFound, name)
			assert.Equal(t, tt.want, passed, name)
		}
		assert.Len(t, reported, 2, name)
	}
}

// The two wrappers have the same type, but only one of them contains the Transport.
func TestReplacedDefaultTransportIsUsedBelowAWrapperOfTheSameType(t *testing.T) {
	original := http.DefaultTransport
	defer func() { http.DefaultTransport = original }()
	base := script(answer(200, ""))
	http.DefaultTransport = &metering{next: base}
	_, err := (&metering{next: &iamhttp.Transport{}}).RoundTrip(newRequest(t, "GET", ""))
	require.NoError(t, err)
	assert.Equal(t, 1, base.count())
}

func TestIdleConnectionsOfTheOriginalDefaultAreClosedThroughEachReplacement(t *testing.T) {
	original := http.DefaultTransport
	defer func() { http.DefaultTransport = original }()
	for name, rt := range map[string]http.RoundTripper{
		"a Transport":                      &iamhttp.Transport{},
		"one that embeds it":               authenticating{&iamhttp.Transport{}},
		"one that reveals what is below":   skipping{&iamhttp.Transport{}},
		"an opaque wrapper":                opaque{&iamhttp.Transport{}},
		"a wrapper that reveals its inner": wrapped{opaque{&iamhttp.Transport{}}},
	} {
		closed := make(chan struct{})
		service := httptest.NewUnstartedServer(http.NotFoundHandler())
		service.Config.ConnState = func(_ net.Conn, s http.ConnState) {
			if s == http.StateClosed {
				close(closed)
			}
		}
		service.Start()
		http.DefaultTransport = rt
		_, err := http.Get(service.URL)
		require.ErrorIs(t, err, iamhttp.ErrNotFound, name)
		http.DefaultClient.CloseIdleConnections()
		select {
		case <-closed:
		case <-time.After(5 * time.Second):
			t.Errorf("%s: the connection is still open", name)
		}
		service.Close()
	}
}

func TestFailureIsReportedIfBaseRevealsADefaultTransportThatLeadsBack(t *testing.T) {
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	refused.Close()
	original := http.DefaultTransport
	defer func() { http.DefaultTransport = original }()
	var reported failures
	http.DefaultTransport = &iamhttp.Transport{Base: revealing{}, OnFailure: reported.add}
	_, err = http.Get("http://" + refused.Addr().String())
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	assert.Len(t, reported, 1)
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

// A pager may build the next request with the context of the previous response's request.
func TestContextOfAnEndedCallDoesNotMakeRequestsBypassTheTransport(t *testing.T) {
	original := http.DefaultTransport
	t.Cleanup(func() { http.DefaultTransport = original })
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			w.WriteHeader(http.StatusUnauthorized)
		} else if r.URL.Path == "/last" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer service.Close()
	signer := roundTripper(func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "x")
		return original.RoundTrip(r)
	})
	for name, install := range map[string]struct {
		byDefault http.RoundTripper
		client    *http.Client
	}{
		"the default transport hides what it wraps": {unrevealed{original}, &http.Client{Transport: &iamhttp.Transport{Base: signer}}},
		"the Transport is the default":              {&iamhttp.Transport{Base: signer}, http.DefaultClient},
		"a hidden Transport is the default":         {unrevealed{&iamhttp.Transport{Base: signer}}, http.DefaultClient},
	} {
		http.DefaultTransport = install.byDefault
		ctx := t.Context()
		for page := range 15 {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, service.URL, nil)
			require.NoError(t, err)
			resp, err := install.client.Do(req)
			require.NoError(t, err, "%s, page %d", name, page)
			resp.Body.Close()
			ctx = resp.Request.Context() //nolint:fatcontext // this is what the test is about
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, service.URL+"/last", nil)
		require.NoError(t, err)
		_, err = install.client.Do(req)
		assert.ErrorIs(t, err, iamhttp.ErrNotFound, name)
	}
}

// unrevealed is a RoundTripper that does not reveal which one it wraps.
type unrevealed struct{ rt http.RoundTripper }

func (u unrevealed) RoundTrip(r *http.Request) (*http.Response, error) { return u.rt.RoundTrip(r) }
