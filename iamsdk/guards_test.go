package iamsdk_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/iamsdk"
	"github.com/iamhttp/iamhttp/iamtest"
)

// These RoundTrippers hold the next one in various ways; Settings and closer are parts of
// them. Unless a comment says otherwise, they resend a request that got no response.
type (
	byValue       struct{ Rt http.RoundTripper }
	notComparable struct {
		Rt   http.RoundTripper
		Skip []string
	}
	concrete   struct{ Rt *logging }
	embedding  struct{ http.RoundTripper }
	Settings   struct{ Rt http.RoundTripper }
	inSettings struct{ Settings }
	inPointer  struct{ *Settings }
	namedField struct{ Rt closer }
	closer     interface {
		http.RoundTripper
		CloseIdleConnections()
	}
	// besideFunction may also send requests through a function, which does not reveal
	// where it sends them.
	besideFunction struct {
		Rt http.RoundTripper
		do func(*http.Request) (*http.Response, error)
	}
	// logging passes each request on once.
	logging struct{ Next http.RoundTripper }
	// hiding also passes each request on once, but has no exported field.
	hiding struct{ next http.RoundTripper }
	// unwrapping passes each request on once, and reveals the next RoundTripper by a
	// method.
	unwrapping struct{ next http.RoundTripper }
)

func resendAll(rt http.RoundTripper, req *http.Request) (*http.Response, error) {
	return (&signing{Rt: rt, MaxRetries: 2}).RoundTrip(req)
}

func (r byValue) RoundTrip(req *http.Request) (*http.Response, error) { return resendAll(r.Rt, req) }
func (r notComparable) RoundTrip(req *http.Request) (*http.Response, error) {
	return resendAll(r.Rt, req)
}
func (r *concrete) RoundTrip(req *http.Request) (*http.Response, error) { return resendAll(r.Rt, req) }
func (r *embedding) RoundTrip(req *http.Request) (*http.Response, error) {
	return resendAll(r.RoundTripper, req)
}
func (r *inSettings) RoundTrip(req *http.Request) (*http.Response, error) {
	return resendAll(r.Rt, req)
}
func (r *inPointer) RoundTrip(req *http.Request) (*http.Response, error) { return resendAll(r.Rt, req) }
func (r *namedField) RoundTrip(req *http.Request) (*http.Response, error) {
	return resendAll(r.Rt, req)
}
func (r *besideFunction) RoundTrip(req *http.Request) (*http.Response, error) {
	if r.do != nil {
		return r.do(req)
	}
	return resendAll(r.Rt, req)
}
func (r *logging) RoundTrip(req *http.Request) (*http.Response, error) { return r.Next.RoundTrip(req) }
func (r *logging) CloseIdleConnections()                               {}
func (r hiding) RoundTrip(req *http.Request) (*http.Response, error)   { return r.next.RoundTrip(req) }
func (r unwrapping) RoundTrip(req *http.Request) (*http.Response, error) {
	return r.next.RoundTrip(req)
}
func (r unwrapping) Unwrap() http.RoundTripper { return r.next }

func TestAPOSTWithoutAResponseIsSentOnceIfAnExportedFieldHoldsTheNextRoundTripper(t *testing.T) {
	for name, build := range map[string]func(http.RoundTripper) http.RoundTripper{
		"a struct value":                     func(rt http.RoundTripper) http.RoundTripper { return byValue{rt} },
		"a struct that is not comparable":    func(rt http.RoundTripper) http.RoundTripper { return notComparable{rt, nil} },
		"a field of a concrete type":         func(rt http.RoundTripper) http.RoundTripper { return &concrete{&logging{rt}} },
		"an embedded interface":              func(rt http.RoundTripper) http.RoundTripper { return &embedding{rt} },
		"a field of an embedded struct":      func(rt http.RoundTripper) http.RoundTripper { return &inSettings{Settings{rt}} },
		"a field behind an embedded pointer": func(rt http.RoundTripper) http.RoundTripper { return &inPointer{&Settings{rt}} },
		"a field of another interface type":  func(rt http.RoundTripper) http.RoundTripper { return &namedField{&logging{rt}} },
		"below a logging RoundTripper":       func(rt http.RoundTripper) http.RoundTripper { return &logging{byValue{rt}} },
		"above a logging RoundTripper":       func(rt http.RoundTripper) http.RoundTripper { return byValue{&logging{rt}} },
		"two RoundTrippers that resend":      func(rt http.RoundTripper) http.RoundTripper { return &signing{Rt: byValue{rt}, MaxRetries: 2} },
		"a field beside a function":          func(rt http.RoundTripper) http.RoundTripper { return &besideFunction{Rt: rt} },
		"below a Transport": func(rt http.RoundTripper) http.RoundTripper {
			return &iamhttp.Transport{Base: byValue{rt}, PassThrough: true}
		},
		"below a Transport in error mode":                func(rt http.RoundTripper) http.RoundTripper { return &iamhttp.Transport{Base: byValue{rt}} },
		"below a Transport below a logging RoundTripper": func(rt http.RoundTripper) http.RoundTripper { return &logging{&iamhttp.Transport{Base: byValue{rt}}} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var service iamtest.Server
				service.Next(iamtest.Answer{Fault: iamtest.Reset}, iamtest.Answer{Fault: iamtest.Reset})
				client := &http.Client{Transport: build(&service)}
				iamsdk.Install(client, nil, iamsdk.ProviderHuaweiCloud())
				for _, body := range []string{"", "{}"} {
					_, err := client.Post(endpoint+"/groups", "", strings.NewReader(body)) //nolint:bodyclose // there is no response
					assert.ErrorIs(t, err, syscall.ECONNRESET)
				}
				service.AssertCount(t, 2)
				resp, err := client.Post(endpoint+"/groups", "", nil)
				require.NoError(t, err)
				resp.Body.Close()
			})
		})
	}
}

func TestATransportBelowReportsThatThereWasNoResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		service.On("/", iamtest.Answer{Fault: iamtest.Reset})
		var failures []iamhttp.Failure
		own := &iamhttp.Transport{Base: &service, PassThrough: true, OnFailure: func(_ context.Context, f iamhttp.Failure) { failures = append(failures, f) }}
		client := &http.Client{Transport: own}
		iamsdk.Install(client, nil, iamsdk.ProviderOpenTelekomCloud())
		_, err := client.Post(endpoint+"/groups", "", strings.NewReader("{}")) //nolint:bodyclose // there is no response
		assert.ErrorIs(t, err, syscall.ECONNRESET)
		require.Len(t, failures, 1)
		assert.ErrorIs(t, failures[0].Err, syscall.ECONNRESET)
	})
}

// A ring is a RoundTripper with many fields that lead back to it, and one that leads on.
// Its type could send requests in many ways, too.
type ring struct {
	A, B, C, D, E, F, G, H, I, J http.RoundTripper
	Rt                           http.RoundTripper
	*node                        //nolint:unused // Install looks at all fields
}

type node struct{ a, b, c, d, e, f, g, h, i, j *node } //nolint:unused // as above

func (r *ring) RoundTrip(req *http.Request) (*http.Response, error) { return resendAll(r.Rt, req) }

func TestInstallReturnsSoonEvenIfManyFieldsOfARoundTripperLeadBackToIt(t *testing.T) {
	var service iamtest.Server
	service.On("/", iamtest.Answer{Fault: iamtest.Reset})
	r := &ring{Rt: &service}
	r.A, r.B, r.C, r.D, r.E, r.F, r.G, r.H, r.I, r.J = r, r, r, r, r, r, r, r, r, r
	client := &http.Client{Transport: r}
	done := make(chan struct{})
	go func() {
		iamsdk.Install(client, nil, iamsdk.ProviderHuaweiCloud())
		iamsdk.Install(client, nil, iamsdk.ProviderHuaweiCloud())
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("Install must return")
	}
	_, err := client.Post(endpoint+"/groups", "", strings.NewReader("{}")) //nolint:bodyclose // there is no response
	assert.ErrorIs(t, err, syscall.ECONNRESET)
	service.AssertCount(t, 1)
}

// fetching is a RoundTripper that gets its keys before each request, in at most two
// attempts.
type fetching struct{ Rt http.RoundTripper }

func (f *fetching) RoundTrip(req *http.Request) (*http.Response, error) {
	for range 2 {
		keys, err := http.NewRequestWithContext(req.Context(), http.MethodGet, "http://metadata.example/keys", nil)
		if err != nil {
			return nil, err
		}
		if resp, err := f.Rt.RoundTrip(keys); err == nil {
			resp.Body.Close()
			break
		}
	}
	return f.Rt.RoundTrip(req)
}

func TestARequestIsSentEvenIfTheRoundTrippersOwnRequestGotNoResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		service.On("GET /keys", iamtest.Answer{Fault: iamtest.Reset})
		service.On("POST /", iamtest.Answer{Status: 201})
		client := &http.Client{Transport: &fetching{&service}}
		iamsdk.Install(client, nil, iamsdk.ProviderOpenTelekomCloud())
		resp, err := client.Post(endpoint+"/groups", "", strings.NewReader("{}"))
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, 201, resp.StatusCode)
		service.AssertCount(t, 3)
	})
}

// impatient is a RoundTripper that waits at most a second for an error. It is used where
// there is no response.
type impatient struct{ Rt http.RoundTripper }

func (i *impatient) RoundTrip(req *http.Request) (*http.Response, error) {
	failed := make(chan error, 1)
	go func() {
		_, err := i.Rt.RoundTrip(req) //nolint:bodyclose // there is no response
		failed <- err
	}()
	select {
	case err := <-failed:
		return nil, err
	case <-time.After(time.Second):
		return nil, errors.New("too slow")
	}
}

func TestARoundTripperMayReturnBeforeTheOneBelowIt(t *testing.T) { // the race detector finds unsynchronized writes
	synctest.Test(t, func(t *testing.T) {
		client := &http.Client{Transport: &impatient{roundTripper(func(*http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return nil, errors.New("reset")
		})}}
		iamsdk.Install(client, nil, iamsdk.ProviderOpenTelekomCloud())
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				_, err := client.Post(endpoint+"/groups", "", strings.NewReader("{}")) //nolint:bodyclose // there is no response
				assert.Error(t, err)
			})
		}
		wg.Wait()
		time.Sleep(time.Second)
	})
}

// A counter is a gate that counts the requests that ask it.
type counter struct{ asked atomic.Int32 }

func (c *counter) Wait(context.Context, gate.Request) (gate.Ticket, error) {
	c.asked.Add(1)
	return 0, nil
}

func (c *counter) Observe(gate.Request, gate.Ticket, gate.Outcome) {}

func TestEachAttemptAsksTheGateOnceAfterThreeCallsToInstall(t *testing.T) {
	wrappers := map[string]func(http.RoundTripper) http.RoundTripper{
		"nothing in between": func(rt http.RoundTripper) http.RoundTripper { return rt },
		"an exported field":  func(rt http.RoundTripper) http.RoundTripper { return &logging{rt} },
		"a method":           func(rt http.RoundTripper) http.RoundTripper { return unwrapping{rt} },
		"a hidden field":     func(rt http.RoundTripper) http.RoundTripper { return hiding{rt} },
		"a function":         func(rt http.RoundTripper) http.RoundTripper { return roundTripper(rt.RoundTrip) },
	}
	for name, wrap := range wrappers {
		for transports, next := range map[string]func(first *iamhttp.Transport) *iamhttp.Transport{
			"the same Transport":                   func(first *iamhttp.Transport) *iamhttp.Transport { return first },
			"another Transport with the same gate": func(first *iamhttp.Transport) *iamhttp.Transport { return &iamhttp.Transport{Gate: first.Gate} },
			"no Transport":                         func(*iamhttp.Transport) *iamhttp.Transport { return nil },
		} {
			if transports == "no Transport" && (name == "a hidden field" || name == "a function") {
				continue // the new Transport would have the default settings, so no Gate
			}
			for _, ownBase := range []bool{false, true} {
				t.Run(name+", "+transports, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						service := newAccount()
						if !ownBase {
							old := http.DefaultTransport
							http.DefaultTransport = service
							defer func() { http.DefaultTransport = old }()
						}
						sdk := endlessKind.newStandIn(service)
						if !ownBase {
							sdk.HTTPClient.Transport = nil
						}
						endlessKind.advised(sdk)
						asked := new(counter)
						tr := &iamhttp.Transport{Gate: asked}
						for i := range 3 {
							if i > 0 {
								sdk.HTTPClient.Transport = wrap(sdk.HTTPClient.Transport)
								tr = next(tr)
							}
							iamsdk.Install(&sdk.HTTPClient, tr, endlessKind.options)
						}
						require.NoError(t, sdk.LogIn())
						_, err := sdk.Request("GET", "/users", "")
						require.NoError(t, err)
						assert.EqualValues(t, 2, asked.asked.Load())
						service.AssertCount(t, 2)

						service.On("GET /v3/groups", iamtest.Keystone(401, "No."))
						_, err = sdk.Request("GET", "/groups", "")
						assert.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrUnauthorized)
						service.AssertCount(t, 2+3)
						service.On("POST /v3/groups", iamtest.Page(502))
						_, err = sdk.Request("POST", "/groups", "{}")
						assert.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrBadGateway)
						service.AssertCount(t, 2+3+1)
						service.On("GET /v3/slow", iamtest.Throttled(0))
						_, err = sdk.Request("GET", "/slow", "")
						assert.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrTooManyRequests)
						service.AssertCount(t, 2+3+1+8)
						assert.EqualValues(t, 2+3+1+8, asked.asked.Load())
						sdk.HTTPClient.CloseIdleConnections()
					})
				})
			}
		}
	}
}

func TestARequestAsksTheGateOnceAndPassesEachWrapperHoweverInstallIsCalledAgain(t *testing.T) {
	const none = -1 // no Transport
	for _, transports := range [][]int{{0, 0, 1}, {0, none, 1}, {0, 1, 0}, {0, 1, 1}, {0, 1, none}, {0, 1, 2}} {
		for wrappers := 1; wrappers <= 2; wrappers++ { // between the calls to Install, from the first on
			t.Run(fmt.Sprint("Transports ", transports, ", wrappers ", wrappers), func(t *testing.T) {
				var service iamtest.Server
				asked := new(counter)
				all := map[int]*iamhttp.Transport{0: {Gate: asked}, 1: {Gate: asked}, 2: {Gate: asked}}
				client := &http.Client{Transport: &service}
				passed := 0
				for i, tr := range transports {
					iamsdk.Install(client, all[tr], iamsdk.GopherTelekomCloud())
					if i < wrappers {
						client.Transport = &visible{client.Transport, &passed}
					}
				}
				resp, err := client.Get(endpoint)
				require.NoError(t, err)
				resp.Body.Close()
				assert.EqualValues(t, 1, asked.asked.Load())
				assert.Equal(t, wrappers, passed)
				service.AssertCount(t, 1)
			})
		}
	}
}

// visible counts the requests of all RoundTrippers that share a number.
type visible struct {
	Next   http.RoundTripper
	passed *int
}

func (v *visible) RoundTrip(req *http.Request) (*http.Response, error) {
	*v.passed++
	return v.Next.RoundTrip(req)
}

func TestARequestAsksTheGateOnceIfTheClientHadATransportBeforeInstall(t *testing.T) {
	var service iamtest.Server
	asked := new(counter)
	client := &http.Client{Transport: &iamhttp.Transport{Base: &service, Gate: asked}}
	iamsdk.Install(client, &iamhttp.Transport{Gate: asked}, iamsdk.GolangSDK())
	resp, err := client.Get(endpoint)
	require.NoError(t, err)
	resp.Body.Close()
	assert.EqualValues(t, 1, asked.asked.Load())
	service.AssertCount(t, 1)
}

// promoting has the Transport's WrappedRoundTripper, which reveals only what is below.
type promoting struct{ *iamhttp.Transport }

func (p promoting) RoundTrip(req *http.Request) (*http.Response, error) {
	return p.Transport.RoundTrip(req)
}

func TestARoundTripperThatLeadsBackToTheTransportWorksIfVisibleAndFailsIfHidden(t *testing.T) {
	for name, tt := range map[string]struct {
		wrap func(http.RoundTripper) http.RoundTripper
		ok   bool
	}{
		"in an exported field":     {func(rt http.RoundTripper) http.RoundTripper { return &logging{rt} }, true},
		"in nested fields":         {func(rt http.RoundTripper) http.RoundTripper { return &logging{&logging{rt}} }, true},
		"in a struct value":        {func(rt http.RoundTripper) http.RoundTripper { return byValue{rt} }, true},
		"as an embedded field":     {func(rt http.RoundTripper) http.RoundTripper { return promoting{rt.(*iamhttp.Transport)} }, true},
		"by a method":              {func(rt http.RoundTripper) http.RoundTripper { return unwrapping{rt} }, true},
		"in a hidden field":        {func(rt http.RoundTripper) http.RoundTripper { return hiding{rt} }, false},
		"in a function":            {func(rt http.RoundTripper) http.RoundTripper { return roundTripper(rt.RoundTrip) }, false},
		"in a function in a field": {func(rt http.RoundTripper) http.RoundTripper { return &indirect{do: rt.RoundTrip} }, false},
		"in a client": {func(rt http.RoundTripper) http.RoundTripper {
			return &indirect{own: &settings{client: &http.Client{Transport: rt}}}
		}, false},
		"in an interface": {func(rt http.RoundTripper) http.RoundTripper {
			return &indirect{own: &settings{doer: &http.Client{Transport: rt}}}
		}, false},
		"in an exported field of a hidden struct": {func(rt http.RoundTripper) http.RoundTripper { return &indirect{own: &settings{Next: rt}} }, false},
		"in a list": {func(rt http.RoundTripper) http.RoundTripper {
			return &indirect{Hosts: map[string][]http.RoundTripper{"": {rt}}}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var service iamtest.Server
			old := http.DefaultTransport
			http.DefaultTransport = &service
			defer func() { http.DefaultTransport = old }()
			asked := new(counter)
			tr := &iamhttp.Transport{Gate: asked, MaxAttempts: 1}
			wrapper := tt.wrap(tr)
			client := &http.Client{Transport: wrapper}
			iamsdk.Install(client, tr, iamsdk.ProviderOpenTelekomCloud())
			for _, c := range []*http.Client{client, {Transport: wrapper}} {
				resp, err := c.Get(endpoint)
				if !tt.ok {
					assert.ErrorContains(t, err, "leads back to the Transport")
					continue
				}
				require.NoError(t, err)
				resp.Body.Close()
			}
			if tt.ok {
				assert.EqualValues(t, 2, asked.asked.Load())
			}
		})
	}
}

func TestARoundTripperThatHidesTheTransportAndReplacesTheContextGetsAnError(t *testing.T) {
	for name, replace := range map[string]func(*http.Request) *http.Request{
		"the context": func(req *http.Request) *http.Request { return req.WithContext(context.Background()) },
		"the path":    deeper,
		"both":        func(req *http.Request) *http.Request { return deeper(req).WithContext(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			tr := &iamhttp.Transport{MaxAttempts: 1}
			client := &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) { return tr.RoundTrip(replace(req)) })}
			iamsdk.Install(client, tr, iamsdk.ProviderOpenTelekomCloud())
			_, err := client.Get(endpoint) //nolint:bodyclose // there is no response
			assert.ErrorContains(t, err, "leads back to the Transport")
		})
	}
}

func deeper(req *http.Request) *http.Request {
	clone := req.Clone(req.Context())
	clone.URL.Path += "/x"
	return clone
}

// The hidden RoundTripper fetches a token through the client itself.
func TestATokenRequestWithTheContextOfAnAttemptIsNotALoop(t *testing.T) {
	for _, direct := range []bool{false, true} {
		var service iamtest.Server
		service.On("/", iamtest.Answer{})
		tr := new(iamhttp.Transport)
		client := &http.Client{}
		client.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
			if req.Method == "GET" {
				token, err := http.NewRequestWithContext(req.Context(), "POST", req.URL.String(), nil)
				require.NoError(t, err)
				resp, err := client.Do(token)
				require.NoError(t, err)
				resp.Body.Close()
			}
			return service.RoundTrip(req)
		})
		iamsdk.Install(client, tr, iamsdk.ProviderOpenTelekomCloud())
		if direct {
			client.Transport = tr
		}
		for range 2 {
			resp, err := client.Get(endpoint)
			require.NoError(t, err)
			resp.Body.Close()
			resp, err = client.Do(resp.Request) // its context is that of the first attempt
			require.NoError(t, err)
			resp.Body.Close()
		}
		service.AssertCount(t, 8)
	}
}

// A retrying RoundTripper may not wait for an attempt that it has canceled, and a hedging one
// sends each request twice at once.
func TestSeveralPassesOfOneRequestAtOnceAreNotALoop(t *testing.T) {
	for name, wrap := range map[string]func(http.RoundTripper) http.RoundTripper{
		"hedging":             func(rt http.RoundTripper) http.RoundTripper { return &hedging{Next: rt} },
		"retrying on its own": func(rt http.RoundTripper) http.RoundTripper { return &hedging{Next: rt, after: time.Second} },
	} {
		for base, hide := range map[string]func(http.RoundTripper) http.RoundTripper{
			"an opaque one": func(rt http.RoundTripper) http.RoundTripper { return hiding{rt} },
			"a server":      func(rt http.RoundTripper) http.RoundTripper { return rt },
		} {
			t.Run(name+", base: "+base, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var service iamtest.Server
					service.On("/", iamtest.Answer{Delay: 1500 * time.Millisecond}, iamtest.Answer{Delay: 1400 * time.Millisecond})
					client := &http.Client{Transport: hide(&service)}
					iamsdk.Install(client, nil, iamsdk.Gophercloud())
					client.Transport = wrap(client.Transport)
					iamsdk.Install(client, new(iamhttp.Transport), iamsdk.Gophercloud())
					resp, err := client.Get(endpoint)
					require.NoError(t, err)
					resp.Body.Close()
					service.AssertCount(t, 2)
				})
			})
		}
	}
}

// hedging sends each request a second time and returns the result of that. It sends it at
// once or, after some time, cancels the first one without waiting for its end.
type hedging struct {
	Next  http.RoundTripper
	after time.Duration
}

func (h *hedging) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	go func() {
		if resp, err := h.Next.RoundTrip(req.Clone(ctx)); err == nil {
			resp.Body.Close()
		}
	}()
	if h.after > 0 {
		time.Sleep(h.after)
		cancel()
	}
	resp, err := h.Next.RoundTrip(req.Clone(req.Context()))
	cancel()
	return resp, err
}

func TestAClientInTheDefaultTransportWorksBelowAnotherInstall(t *testing.T) {
	service := httptest.NewServer(http.NotFoundHandler())
	defer service.Close()
	original := http.DefaultTransport
	defer func() { http.DefaultTransport = original }()
	for name, hide := range map[string]func(http.RoundTripper) http.RoundTripper{
		"alone":             func(rt http.RoundTripper) http.RoundTripper { return rt },
		"in a function":     func(rt http.RoundTripper) http.RoundTripper { return roundTripper(rt.RoundTrip) },
		"below a Transport": func(rt http.RoundTripper) http.RoundTripper { return &iamhttp.Transport{Base: rt} },
		"in a function below it": func(rt http.RoundTripper) http.RoundTripper {
			return &iamhttp.Transport{Base: roundTripper(rt.RoundTrip)}
		},
	} {
		http.DefaultTransport = original
		first := new(http.Client)
		iamsdk.Install(first, new(iamhttp.Transport), iamsdk.Options{})
		http.DefaultTransport = hide(first.Transport)
		second := new(http.Client)
		iamsdk.Install(second, new(iamhttp.Transport), iamsdk.Options{})
		iamsdk.Install(first, new(iamhttp.Transport), iamsdk.Options{})
		for _, client := range []*http.Client{first, second, http.DefaultClient} {
			resp, err := client.Get(service.URL)
			if err != nil { // in error mode, which the third one may have
				assert.ErrorIs(t, err, iamhttp.ErrNotFound, name)
				continue
			}
			resp.Body.Close()
			assert.Equal(t, 404, resp.StatusCode, name)
			client.CloseIdleConnections()
		}
	}
}

func TestAResponseToOneOfTwoPassesIsReturnedEvenIfTheOtherPassGotNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		service.On("/", iamtest.Answer{Fault: iamtest.Reset, Delay: time.Second}, iamtest.Answer{Status: 201, Delay: 2 * time.Second})
		client := &http.Client{Transport: &twice{Next: &service}}
		iamsdk.Install(client, nil, iamsdk.ProviderOpenTelekomCloud())
		resp, err := client.Post(endpoint+"/groups", "", strings.NewReader("{}"))
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, 201, resp.StatusCode)
		service.AssertCount(t, 2)
	})
}

// twice sends each request twice at once, and returns a response that is not a 5xx, if there
// is one.
type twice struct{ Next http.RoundTripper }

func (w *twice) RoundTrip(req *http.Request) (*http.Response, error) {
	good := make(chan *http.Response, 2)
	var passes sync.WaitGroup
	for range 2 {
		again := req.Clone(req.Context())
		again.Body, _ = req.GetBody()
		passes.Go(func() {
			if resp, err := w.Next.RoundTrip(again); err == nil && resp.StatusCode < 500 {
				good <- resp
			} else if err == nil {
				resp.Body.Close()
			}
		})
	}
	passes.Wait()
	req.Body.Close()
	select {
	case resp := <-good:
		return resp, nil
	default:
		return nil, errors.New("no response")
	}
}

// The RoundTripper above the Transport replaces each response.
func TestACallReturnsEvenIfTheRoundTripperAboveTheTransportReturnsNoResponseOrNoBody(t *testing.T) {
	for name, status := range map[string]int{"no response": 0, "no body": 401} {
		for _, o := range []iamsdk.Options{{}, {EndlessLogin: true}, {LoginHangs: true}, iamsdk.ProviderOpenTelekomCloud()} {
			t.Run(fmt.Sprintf("%s, %+v", name, o), func(t *testing.T) {
				var service iamtest.Server
				service.On("/", locked)
				tr := &iamhttp.Transport{Base: &service}
				client := &http.Client{Transport: &replacing{tr, status}}
				iamsdk.Install(client, tr, o)
				asAnSDK(3, func(int) {
					resp, err := client.Post(endpoint+"/auth/tokens", "", nil)
					if status == 0 {
						assert.ErrorContains(t, err, "neither response nor error")
						return
					}
					if err == nil {
						resp.Body.Close()
						assert.Equal(t, status, resp.StatusCode)
					}
				})
			})
		}
	}
}

// replacing returns a response without a body, or none if status is 0.
type replacing struct {
	Next   http.RoundTripper
	status int
}

func (r *replacing) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.Next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body.Close()
	if r.status == 0 {
		return nil, nil
	}
	return &http.Response{StatusCode: r.status, Request: req}, nil
}

func TestInstallForSeveralSDKsOnOneClientKeepsTheOptionsOfAll(t *testing.T) {
	for _, order := range [][]iamsdk.Options{
		{iamsdk.GopherTelekomCloud(), iamsdk.GolangSDK()},
		{iamsdk.GolangSDK(), iamsdk.GopherTelekomCloud()},
		{iamsdk.GopherTelekomCloud(), iamsdk.Gophercloud()},
		{{EndlessLogin: true}, {LoginHangs: true, Resends: []iamhttp.Code{iamhttp.ErrBadGateway}}, {ClosesConnections: true, Resends: []iamhttp.Code{iamhttp.ErrGatewayTimeout}}},
	} {
		synctest.Test(t, func(t *testing.T) {
			service := newAccount()
			w := &wire{RoundTripper: service}
			sdk := endlessKind.newStandIn(w)
			endlessKind.advised(sdk)
			for _, o := range order {
				iamsdk.Install(&sdk.HTTPClient, nil, o)
			}
			require.NoError(t, sdk.LogIn())
			service.On("GET /v3/groups", iamtest.Keystone(401, "No."))
			_, err := sdk.Request("GET", "/groups", "")
			assert.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrUnauthorized)
			for _, status := range []int{502, 504} {
				before := service.requests()
				service.On("POST /v3/groups", iamtest.Page(status))
				_, err = sdk.Request("POST", "/groups", "{}")
				assert.Error(t, err)
				assert.Equal(t, 1, service.requests()-before)
			}
			service.On("POST /v3/auth/tokens", locked)
			_, err = sdk.Request("GET", "/groups", "")
			assert.NotErrorIs(t, err, errHangs)
			assert.Zero(t, w.closing.Load())
		})
	}
}

func TestTheSDKGetsResponsesEvenIfATransportBelowReturnsErrors(t *testing.T) {
	for name, build := range map[string]func(service http.RoundTripper) (client http.RoundTripper, t *iamhttp.Transport){
		"the client has a Transport": func(s http.RoundTripper) (http.RoundTripper, *iamhttp.Transport) {
			return &iamhttp.Transport{Base: s}, nil
		},
		"the client has a wrapped Transport": func(s http.RoundTripper) (http.RoundTripper, *iamhttp.Transport) {
			return hiding{&iamhttp.Transport{Base: s}}, nil
		},
		"Base is a Transport": func(s http.RoundTripper) (http.RoundTripper, *iamhttp.Transport) {
			return nil, &iamhttp.Transport{Base: &iamhttp.Transport{Base: s}}
		},
		"the client's Transport is replaced": func(s http.RoundTripper) (http.RoundTripper, *iamhttp.Transport) {
			return &iamhttp.Transport{Base: s}, new(iamhttp.Transport)
		},
		"http.DefaultTransport is a Transport": func(s http.RoundTripper) (http.RoundTripper, *iamhttp.Transport) {
			http.DefaultTransport = &iamhttp.Transport{Base: s}
			return nil, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, k kind) {
				old := http.DefaultTransport
				defer func() { http.DefaultTransport = old }()
				service := newAccount()
				sdk := k.newStandIn(service)
				rt, tr := build(service)
				sdk.HTTPClient.Transport = rt
				k.advised(sdk)
				iamsdk.Install(&sdk.HTTPClient, tr, k.options)
				require.NoError(t, sdk.LogIn())
				service.expire()
				_, err := sdk.Request("GET", "/users", "")
				require.NoError(t, err)
				service.On("GET /v3/groups", iamtest.Keystone(404, "No such group."))
				_, err = sdk.Request("GET", "/groups", "")
				_, own := err.(default404)
				assert.True(t, own, "%T", err)
				var e *iamhttp.StatusError
				require.ErrorAs(t, iamsdk.Wrap(err), &e)
				assert.Equal(t, "No such group.", e.Message)
				assert.Equal(t, 1, e.Attempts)
				assert.NotEmpty(t, e.RequestID)
				service.On("GET /v3/slow", iamtest.Throttled(0))
				before := service.requests()
				_, err = sdk.Request("GET", "/slow", "")
				assert.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrTooManyRequests)
				assert.Equal(t, 8, service.requests()-before)
			})
		})
	}
}

func TestTheSDKGetsAResponseEvenIfItsRoundTripperIsBelowAnotherTransport(t *testing.T) {
	var service iamtest.Server
	service.On("/", iamtest.Keystone(404, "No such group."))
	client := new(http.Client)
	reported := 0
	iamsdk.Install(client, &iamhttp.Transport{
		Base:      &iamhttp.Transport{Base: &service},
		OnFailure: func(context.Context, iamhttp.Failure) { reported++ },
	}, iamsdk.ProviderOpenTelekomCloud())
	client.Transport = &iamhttp.Transport{Base: client.Transport, PassThrough: true}
	resp, err := client.Get(endpoint + "/groups")
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, 404, resp.StatusCode)
	assert.Equal(t, 1, reported)
}

// indirect is a RoundTripper that sends requests through whichever of its fields is set.
type indirect struct {
	do    func(*http.Request) (*http.Response, error)
	own   *settings
	Hosts map[string][]http.RoundTripper
}

type settings struct {
	client *http.Client
	doer   interface {
		Do(req *http.Request) (*http.Response, error)
	}
	Next http.RoundTripper
}

func (r *indirect) RoundTrip(req *http.Request) (*http.Response, error) {
	switch {
	case r.do != nil:
		return r.do(req)
	case r.Hosts != nil:
		return r.Hosts[""][0].RoundTrip(req)
	case r.own.client != nil:
		return r.own.client.Do(req)
	case r.own.doer != nil:
		return r.own.doer.Do(req)
	}
	return r.own.Next.RoundTrip(req)
}
