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

func TestEachOfSeveralEqualPOSTsIsSentOnce(t *testing.T) {
	const answered = 50 * time.Millisecond
	for _, gap := range []time.Duration{0, 200 * time.Millisecond, resendWait, resendWait + answered, resendWait + 2*answered, time.Second} {
		for _, callers := range []int{2, 10} {
			t.Run(fmt.Sprint(callers, " callers, one each ", gap), func(t *testing.T) {
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
						assert.Equal(t, time.Duration(i)*gap, r.At.Sub(start), "a first send is never answered from memory")
					}
				})
			})
		}
	}
}

func TestOnlyTheResendIsAnsweredFromMemory(t *testing.T) {
	type call struct {
		body   io.Reader
		header http.Header
	}
	text := func(s string) io.Reader { return strings.NewReader(s) }
	stream := func(s string) io.Reader { return struct{ io.Reader }{strings.NewReader(s)} }
	header := func(name, value string) http.Header { return http.Header{name: {value}} }
	for name, tt := range map[string]struct {
		first, second call
		after         time.Duration
		want          int // requests
	}{
		"the resend":                       {call{body: text("a")}, call{body: text("a")}, resendWait, 1},
		"the resend, after some delay":     {call{body: text("a")}, call{body: text("a")}, resendWait + time.Second, 1},
		"the resend, without a body":       {call{}, call{}, resendWait, 1},
		"the resend, with the same header": {call{header: header("X-Auth-Token", "a")}, call{header: header("X-Auth-Token", "a")}, resendWait, 1},
		"at once":                          {call{body: text("a")}, call{body: text("a")}, 0, 2},
		"too early for a resend":           {call{body: text("a")}, call{body: text("a")}, resendWait - 100*time.Millisecond, 2},
		"too late for a resend":            {call{body: text("a")}, call{body: text("a")}, 3 * time.Second, 2},
		"another body":                     {call{body: text("a")}, call{body: text("b")}, resendWait, 2},
		"a body, and none":                 {call{body: text("a")}, call{}, resendWait, 2},
		"another stream":                   {call{body: stream("a")}, call{body: stream("b")}, resendWait, 2},
		"a stream, and no body":            {call{body: stream("a")}, call{}, resendWait, 2},
		"no body, and a stream":            {call{}, call{body: stream("a")}, resendWait, 2},
		"another token":                    {call{header: header("X-Auth-Token", "a")}, call{header: header("X-Auth-Token", "b")}, resendWait, 2},
		"another project":                  {call{header: header("X-Project-Id", "a")}, call{header: header("X-Project-Id", "b")}, resendWait, 2},
		"another domain":                   {call{header: header("X-Domain-Id", "a")}, call{header: header("X-Domain-Id", "b")}, resendWait, 2},
		"another key":                      {call{header: header("Idempotency-Key", "a")}, call{header: header("Idempotency-Key", "b")}, resendWait, 2},
		"a project in place of a domain":   {call{header: header("X-Project-Id", "a")}, call{header: header("X-Domain-Id", "a")}, resendWait, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var service iamtest.Server
				service.On("/", iamtest.Answer{Status: 502})
				client := &http.Client{Transport: &service}
				iamsdk.Install(client, nil, iamsdk.GopherTelekomCloud())
				for i, c := range []call{tt.first, tt.second} {
					time.Sleep(time.Duration(i) * tt.after)
					req, err := http.NewRequestWithContext(t.Context(), "POST", endpoint+"/groups", c.body)
					require.NoError(t, err)
					maps.Copy(req.Header, c.header)
					resp, err := client.Do(req)
					require.NoError(t, err)
					resp.Body.Close()
					assert.Equal(t, 502, resp.StatusCode)
				}
				service.AssertCount(t, tt.want)
			})
		})
	}
}

func TestAResponseThatNobodyAsksForIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		service.Next(iamtest.Answer{Status: 502})
		service.On("/", iamtest.Answer{Status: 201})
		client := &http.Client{Transport: &service}
		iamsdk.Install(client, nil, iamsdk.GopherTelekomCloud())
		compared := 0
		for i := range 4 {
			req, err := http.NewRequestWithContext(t.Context(), "POST", endpoint+"/groups/"+strconv.Itoa(i), nil)
			require.NoError(t, err)
			req.Body = io.NopCloser(strings.NewReader("a"))
			req.GetBody = func() (io.ReadCloser, error) {
				compared++
				return io.NopCloser(strings.NewReader("a")), nil
			}
			resp, err := client.Do(req)
			require.NoError(t, err)
			resp.Body.Close()
			time.Sleep(time.Minute)
		}
		assert.LessOrEqual(t, compared, 2, "to keep it, and once to find it too old")
	})
}

func TestALongResponseIsCutInMemoryAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		service.On("/", iamtest.Answer{Status: 502, Body: strings.Repeat("x", 100_000)}.With("X-Request-Id", "req-1").With("Content-Length", "100000"))
		client := &http.Client{Transport: &service}
		iamsdk.Install(client, nil, iamsdk.GopherTelekomCloud())
		for _, want := range []int{100_000, 64 << 10} {
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
			time.Sleep(resendWait)
		}
		service.AssertCount(t, 1)
	})
}

func TestOfManyResponsesAtTheSameTimeABoundedNumberIsKept(t *testing.T) {
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
