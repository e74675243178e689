package iamsdk_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/iamsdk"
	"github.com/iamhttp/iamhttp/iamtest"
)

// resendWait is how long the stand-in waits before it resends.
const resendWait = 500 * time.Millisecond

func TestEachOfSeveralIdenticalPOSTsIsSentOnce(t *testing.T) {
	const answered = 50 * time.Millisecond
	for _, gap := range []time.Duration{0, 200 * time.Millisecond, resendWait, resendWait + answered, resendWait + 2*answered, time.Second} {
		for _, callers := range []int{2, 10} {
			t.Run(fmt.Sprint(callers, " callers, ", gap, " apart"), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					service := newAccount()
					sdk := kinds[0].connect(t, service, nil)
					service.On("POST /v3/eips", iamtest.Answer{Status: 502, Delay: answered})
					start := time.Now()
					var wg sync.WaitGroup
					for i := range callers {
						wg.Go(func() {
							time.Sleep(time.Duration(i) * gap)
							_, err := sdk.Request("POST", "/eips", "{}")
							assert.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrBadGateway)
						})
					}
					wg.Wait()
					requests := service.Requests()[1:]
					require.Len(t, requests, callers)
					for i, r := range requests {
						assert.Equal(t, time.Duration(i)*gap, r.At.Sub(start), "the first request of each call must reach the service at once, and not get a response from memory")
					}
				})
			})
		}
	}
}

// The SDK resends to the address from which the request was redirected.
func TestAPOSTThatIsRedirectedReachesTheServiceOnce(t *testing.T) {
	for _, redirect := range []int{303, 307, 308} {
		for _, status := range []int{502, 504} {
			synctest.Test(t, func(t *testing.T) {
				service := newAccount()
				sdk := kinds[0].connect(t, service, nil)
				service.On("POST /v3/groups", iamtest.Answer{Status: redirect}.With("Location", endpoint+"/newer"))
				service.On("/v3/newer", iamtest.Answer{Status: redirect}.With("Location", endpoint+"/new"))
				service.On("/v3/new", iamtest.Page(status))
				for call := 1; call <= 2; call++ {
					_, err := sdk.Request("POST", "/groups", "{}")
					var e *iamhttp.StatusError
					require.ErrorAs(t, iamsdk.Wrap(err), &e)
					assert.Equal(t, iamhttp.Code(status), e.Code)
					assert.Equal(t, endpoint+"/new", e.URL)
					assert.Equal(t, 3*call, service.requests(), "want one POST and two redirected requests for each call; redirects: %d", redirect)
				}
			})
		}
	}
}

// asAnSDK calls send n times. Like an SDK that resends, it calls itself for each further
// send.
func asAnSDK(n int, send func(i int)) {
	var call func(i int)
	call = func(i int) {
		send(i)
		if i+1 < n {
			call(i + 1)
		}
	}
	call(0)
}

func TestAResendIsRecognizedByTheStackTheURLAndTheBody(t *testing.T) {
	type call struct {
		body   io.Reader
		header http.Header
	}
	text := func(s string) io.Reader { return strings.NewReader(s) }
	stream := func(s string) io.Reader { return struct{ io.Reader }{strings.NewReader(s)} }
	type test struct {
		path          string
		first, second call
		want          int // number of requests that reach the service
	}
	tests := func() map[string]test {
		read := strings.NewReader("a") // the SDK does not rewind a RawBody, so its resend has no body
		return map[string]test{
			"the same body":          {"/groups", call{body: text("a")}, call{body: text("a")}, 1},
			"no body":                {"/groups", call{}, call{}, 1},
			"a body that was read":   {"/groups", call{body: read}, call{body: read}, 1},
			"a stream":               {"/groups", call{body: stream("a")}, call{body: stream("a")}, 1},
			"a stream that was read": {"/groups", call{body: stream("a")}, call{}, 1},
			"a renewed token":        {"/groups", call{header: http.Header{"X-Auth-Token": {"a"}}}, call{header: http.Header{"X-Auth-Token": {"b"}}}, 1},
			"another body":           {"/groups", call{body: text("a")}, call{body: text("b")}, 2},
			"a longer body":          {"/groups", call{body: text("a")}, call{body: text("aa")}, 2},
			"another path":           {"/users", call{}, call{}, 2},
			"another query":          {"/groups?domain=b", call{}, call{}, 2},
		}
	}
	for name := range tests() {
		for _, wait := range []time.Duration{0, resendWait, time.Hour} {
			t.Run(name+", after "+wait.String(), func(t *testing.T) {
				for _, resends := range []bool{false, true} {
					synctest.Test(t, func(t *testing.T) {
						tt := tests()[name]
						var service iamtest.Server
						service.On("/", iamtest.Answer{Status: 502})
						client := &http.Client{Transport: &service}
						iamsdk.Install(client, nil, iamsdk.GopherTelekomCloud())
						post := func(i int) {
							time.Sleep(time.Duration(i) * wait)
							c := []call{tt.first, tt.second}[i]
							req, err := http.NewRequestWithContext(t.Context(), "POST", endpoint+[]string{"/groups", tt.path}[i], c.body)
							require.NoError(t, err)
							maps.Copy(req.Header, c.header)
							resp, err := client.Do(req)
							require.NoError(t, err)
							resp.Body.Close()
							assert.Equal(t, 502, resp.StatusCode)
						}
						want := 2
						if resends {
							asAnSDK(2, post)
							if wait < time.Hour { // an SDK does not wait that long
								want = tt.want
							}
						} else { // two separate calls by the same program
							post(0)
							post(1)
						}
						service.AssertCount(t, want)
					})
				}
			})
		}
	}
}

// An sdk makes one call of a program, and returns the status.
type sdk func(client *http.Client, method, path, token, body string, resends int) (int, error)

// sdks are two SDKs that work in the same way.
var sdks = map[string]sdk{
	"SDK in a package of its own": func(client *http.Client, method, path, token, body string, resends int) (int, error) {
		return iamsdk.Request(client, method, endpoint+path, token, body, resends)
	},
	ownSDK: request,
}

// With ownSDK, only what the requests contain can tell a program that calls itself from an
// SDK that does.
const ownSDK = "SDK in the program's package"

func request(client *http.Client, method, path, token, body string, resends int) (int, error) {
	req, err := http.NewRequest(method, endpoint+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	if token != "" {
		req.Header.Set("X-Auth-Token", token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusBadGateway && resends > 0 {
		time.Sleep(resendWait)
		return request(client, method, path, token, body, resends-1)
	}
	return resp.StatusCode, nil
}

// walk is a program that calls itself, through walkOn or directly, for each further item.
func walk(through bool, items []string, call func(item string)) {
	call(items[0])
	switch rest := items[1:]; {
	case len(rest) == 0:
	case through:
		walkOn(rest, call)
	default:
		walk(false, rest, call)
	}
}

func walkOn(items []string, call func(item string)) { walk(true, items, call) }

func TestEachPOSTOfAProgramThatCallsItselfIsSentOnce(t *testing.T) {
	for name, sdk := range sdks {
		for what, bodies := range map[string][]string{
			"creates a tree": {"root", "child", "grandchild"},
			"retries":        {"a", "a", "a", "a"},
		} {
			for _, resends := range []int{0, 1} {
				if name == ownSDK && what == "retries" && resends == 0 {
					continue // the second call looks like an SDK's resend
				}
				for _, through := range []bool{false, true} {
					for _, wrapped := range []bool{false, true} {
						t.Run(fmt.Sprintf("%s, program %s, %d resends, through another function %t, wrapped Transport %t", name, what, resends, through, wrapped), func(t *testing.T) {
							synctest.Test(t, func(t *testing.T) {
								var service iamtest.Server
								service.On("/", iamtest.Page(502))
								tr := &iamhttp.Transport{Base: &service}
								client := &http.Client{Transport: tr}
								if wrapped {
									client.Transport = &logging{tr}
								}
								iamsdk.Install(client, tr, iamsdk.GopherTelekomCloud())
								walk(through, bodies, func(body string) {
									status, err := sdk(client, "POST", "/groups", "token", body, resends)
									assert.NoError(t, err)
									assert.Equal(t, 502, status)
								})
								service.AssertCount(t, len(bodies))
							})
						})
					}
				}
			}
		}
	}
}

func TestAPOSTIsSentOnceHoweverItsResponseIsRead(t *testing.T) {
	for name, read := range map[string]func(*http.Response){
		"closed at once":          func(r *http.Response) { r.Body.Close() },
		"read and closed":         func(r *http.Response) { _, _ = io.ReadAll(r.Body); r.Body.Close() },
		"read but not closed":     func(r *http.Response) { _, _ = io.ReadAll(r.Body) },
		"neither read nor closed": func(*http.Response) {},
	} {
		for _, takes := range []time.Duration{0, 3 * time.Second, 50 * time.Second} {
			synctest.Test(t, func(t *testing.T) {
				sent := 0
				client := &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
					sent++
					return &http.Response{StatusCode: 502, Body: io.NopCloser(slowBody{takes}), Request: req}, nil
				})}
				iamsdk.Install(client, nil, iamsdk.GopherTelekomCloud())
				asAnSDK(2, func(int) {
					resp, err := client.Post(endpoint+"/groups", "", strings.NewReader("a"))
					require.NoError(t, err)
					read(resp) //nolint:bodyclose // the SDK may leave it open
					time.Sleep(resendWait)
				})
				assert.Equal(t, 1, sent, "wrong number of sends; body: %s, takes %v", name, takes)
				time.Sleep(takes) // wait until the Read of the body has returned
			})
		}
	}
}

// A caller may pass the same options to several calls. The SDK then counts its resends
// across those calls.
func TestEachCallIsSentEvenIfSeveralCallsShareTheirOptions(t *testing.T) {
	for _, resent := range []int{0, 1} {
		for _, pause := range []time.Duration{0, resendWait, time.Second, time.Hour} {
			synctest.Test(t, func(t *testing.T) {
				service := newAccount()
				sdk := kinds[0].connect(t, service, nil)
				service.On("POST /v3/eips", iamtest.Answer{Status: 502})
				options := &call{resent: resent}
				for i := range 4 {
					_, err := sdk.send("POST", "/eips", "{}", options)
					assert.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrBadGateway)
					assert.Equal(t, i+1, service.requests())
					time.Sleep(pause)
				}
			})
		}
	}
}

func TestAPOSTIsSentOnceEvenIfAnotherCallerLogsInBeforeItsResend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := newAccount()
		sdk := kinds[0].connect(t, service, nil)
		service.On("POST /v3/eips", iamtest.Answer{Status: 502})
		var other sync.WaitGroup
		other.Go(func() {
			time.Sleep(resendWait / 2)
			service.expire()
			_, err := sdk.Request("GET", "/groups", "")
			assert.NoError(t, err)
		})
		_, err := sdk.Request("POST", "/eips", "{}")
		assert.ErrorIs(t, iamsdk.Wrap(err), iamhttp.ErrBadGateway)
		other.Wait()
		assert.Equal(t, 1+2, service.requests())
	})
}

// slowBody is an empty body whose Read returns io.EOF after a delay.
type slowBody struct{ time.Duration }

func (b slowBody) Read([]byte) (int, error) {
	time.Sleep(b.Duration)
	return 0, io.EOF
}

func TestPrintingAClientShowsNoSecretOfTheRequestsItRemembers(t *testing.T) {
	var service iamtest.Server
	service.On("POST /", iamtest.Answer{Status: 502, Body: "secret-body"})
	service.On("GET /", iamtest.Keystone(401, "secret-message"))
	client := &http.Client{Transport: &service}
	iamsdk.Install(client, nil, iamsdk.GopherTelekomCloud())
	for _, method := range []string{"POST", "GET"} {
		req, err := http.NewRequestWithContext(t.Context(), method, endpoint+"/secret-path?sig=secret-query", strings.NewReader("secret-text"))
		require.NoError(t, err)
		req.Header.Set("X-Auth-Token", "secret-token")
		resp, err := client.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
	}
	client.Transport.(interface{ WrappedRoundTripper() http.RoundTripper }).WrappedRoundTripper().(*iamhttp.Transport).Base = nil // removes the service, which holds all requests
	printed := fmt.Sprintf("%+v %#v", client.Transport, client.Transport)
	assert.Contains(t, printed, "goroutine", "the printed text must contain what the client remembers")
	for _, secret := range []string{"secret-query", "secret-text", "secret-token", "secret-body"} {
		assert.NotContains(t, printed, secret)
	}
}

func TestNoFailureWithAHugeHeaderIsKept(t *testing.T) {
	for size, kept := range map[int]bool{60 << 10: true, 70 << 10: false} {
		var service iamtest.Server
		large := func(status int) iamtest.Answer {
			return iamtest.Keystone(status, "No.").With("X-Openstack-Request-Id", "req-1").With("X-Large", strings.Repeat("x", size/2)).With("Y-Large", strings.Repeat("x", size/2))
		}
		service.On("POST /", large(502))
		service.On("GET /", large(404))
		client := &http.Client{Transport: &service}
		iamsdk.Install(client, nil, iamsdk.GopherTelekomCloud())
		asAnSDK(2, func(int) {
			resp, err := client.Post(endpoint+"/groups", "", strings.NewReader("a"))
			require.NoError(t, err)
			resp.Body.Close()
		})
		assert.Equal(t, kept, len(service.Requests()) == 1, "a header of %d bytes", size)
		url := fmt.Sprint(endpoint, "/users/", size)
		resp, err := client.Get(url)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		resp.Body.Close()
		var e *iamhttp.StatusError
		require.ErrorAs(t, iamsdk.Wrap(unexpected{url, "GET", []int{200}, 404, body}), &e)
		assert.Equal(t, kept, e.Attempts == 1, "a header of %d bytes", size)
	}
}

func TestAKeptResponseIsTruncatedTo64KiB(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		service.On("/", iamtest.Answer{Status: 502, Body: strings.Repeat("x", 100_000)}.With("X-Request-Id", "req-1").With("Content-Length", "100000"))
		client := &http.Client{Transport: &service}
		iamsdk.Install(client, nil, iamsdk.GopherTelekomCloud())
		asAnSDK(2, func(i int) {
			want := []int{100_000, 64 << 10}[i]
			resp, err := client.Post(endpoint+"/groups", "", strings.NewReader("a"))
			require.NoError(t, err)
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			resp.Body.Close()
			assert.Len(t, body, want)
			assert.Equal(t, "req-1", resp.Header.Get("X-Request-Id"))
			if length := resp.Header.Get("Content-Length"); length != "" {
				assert.Equal(t, strconv.Itoa(want), length)
			}
		})
		service.AssertCount(t, 1)
	})
}

func TestAtMost1000ResponsesAreKeptAtATime(t *testing.T) {
	const most, more = 1000, 10
	synctest.Test(t, func(t *testing.T) {
		service := newAccount()
		sdk := kinds[0].connect(t, service, nil)
		service.On("POST /v3/eips", iamtest.Answer{Status: 502})
		var wg sync.WaitGroup
		for range most + more {
			wg.Go(func() {
				_, err := sdk.Request("POST", "/eips", "{}")
				assert.Error(t, err)
			})
		}
		wg.Wait()
		assert.Equal(t, most+more+more, service.requests())
	})
}

func TestResponsesOlderThanAMinuteMakeRoomForNewOnes(t *testing.T) {
	const most = 1000
	synctest.Test(t, func(t *testing.T) {
		service := newAccount()
		sdk := kinds[0].connect(t, service, nil)
		service.On("POST /v3/eips", iamtest.Answer{Status: 502})
		var wg sync.WaitGroup
		for range most {
			wg.Go(func() {
				resp, err := sdk.HTTPClient.Post("https://iam.example/v3/eips", "application/json", strings.NewReader("{}"))
				if assert.NoError(t, err) {
					resp.Body.Close()
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Minute + time.Second)
		_, err := sdk.Request("POST", "/eips", "{}")
		assert.Error(t, err)
		assert.Equal(t, most+1, service.requests())
	})
}
