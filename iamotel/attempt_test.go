package iamotel_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/iamtest"
)

func TestEachAttemptIsASpanThatFollowsTheConventions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		service.Next(iamtest.Throttled(0), iamtest.Answer{Status: 408, Delay: time.Second}, iamtest.Keystone(404, "No."))
		r := record()
		tr := r.transport(&service)
		require.ErrorIs(t, r.call(t, tr, "GET", "https://iam.example/v3/users/bob?q=1", ""), iamhttp.ErrNotFound)
		require.NoError(t, r.call(t, tr, "GET", "http://iam.example:8080/", ""))

		calls, attempts := r.spans("call"), r.spans("GET")
		require.Len(t, attempts, 4)
		const request = "http.request.method=GET"
		const bob = "network.protocol.version=1.1,server.address=iam.example,server.port=443,url.full=https://iam.example/v3/users/bob"
		for i, want := range []string{
			"error.type=429," + request + ",http.response.status_code=429," + bob,
			"error.type=408," + request + ",http.request.resend_count=1,http.response.status_code=408," + bob,
			"error.type=404," + request + ",http.request.resend_count=2,http.response.status_code=404," + bob,
			request + ",http.response.status_code=200,network.protocol.version=1.1,server.address=iam.example,server.port=8080,url.full=http://iam.example:8080/",
		} {
			s := attempts[i]
			assert.Equal(t, want, text(s.Attributes...))
			assert.Equal(t, trace.SpanKindClient, s.SpanKind)
			assert.Equal(t, sdktrace.Status{Code: map[bool]codes.Code{true: codes.Error, false: codes.Unset}[i < 3]}, s.Status)
			assert.Equal(t, calls[i/3].SpanContext.SpanID(), s.Parent.SpanID())
			assert.Equal(t, "https://opentelemetry.io/schemas/1.43.0", s.InstrumentationScope.SchemaURL)
		}
		assert.Equal(t, time.Second, attempts[1].EndTime.Sub(attempts[1].StartTime), "the span must cover the attempt but not the wait")
	})
}

func TestSpanOfAnAttemptWithoutAResponseHasAnErrorType(t *testing.T) {
	for want, fault := range map[string]func(*iamtest.Server, context.CancelFunc){
		"*net.OpError": func(s *iamtest.Server, _ context.CancelFunc) { s.Next(iamtest.Answer{Fault: iamtest.Reset}) },
		"timeout":      func(s *iamtest.Server, _ context.CancelFunc) { s.Next(iamtest.Answer{Fault: iamtest.Stall}) },
		"canceled": func(s *iamtest.Server, cancel context.CancelFunc) {
			s.Next(iamtest.Answer{Fault: iamtest.Stall})
			time.AfterFunc(time.Second, cancel)
		},
	} {
		t.Run(want, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var service iamtest.Server
				r := record()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				fault(&service, cancel)
				req, err := http.NewRequestWithContext(ctx, "GET", "https://iam.example/", nil)
				require.NoError(t, err)
				_, err = r.transport(&service).RoundTrip(req)
				require.Error(t, err)
				s := r.spans("GET")[0]
				assert.Contains(t, s.Attributes, attribute.String("error.type", want))
				assert.Equal(t, sdktrace.Status{Code: codes.Error}, s.Status)
			})
		})
	}
}

// A panic's text may contain anything, such as a token.
func TestSpanOfAnAttemptThatPanickedIsAnErrorWithoutThePanicsText(t *testing.T) {
	r := record()
	rt := r.Spans(roundTripper(func(*http.Request) (*http.Response, error) { panic("the text") }))
	assert.PanicsWithValue(t, "the text", func() { _ = r.call(t, rt, "GET", "https://iam.example/", "") })
	s := r.spans("GET")[0]
	assert.Empty(t, events(s))
	assert.Contains(t, s.Attributes, attribute.String("error.type", "_OTHER"))
	assert.Equal(t, sdktrace.Status{Code: codes.Error}, s.Status)
	assert.NotContains(t, fmt.Sprint(s), "the text")
}

func TestSpanOfAnAttemptThatFailedWithANilPointerIsAnErrorOfAnotherType(t *testing.T) {
	for _, err := range []error{(*iamhttp.StatusError)(nil), (*net.OpError)(nil)} {
		r := record()
		rt := r.Spans(roundTripper(func(*http.Request) (*http.Response, error) { return nil, err }))
		req, reqErr := http.NewRequestWithContext(t.Context(), "GET", "https://iam.example/", nil)
		require.NoError(t, reqErr)
		_, got := rt.RoundTrip(req) //nolint:bodyclose // there is no response
		assert.Same(t, err, got)
		assert.Contains(t, r.spans("GET")[0].Attributes, attribute.String("error.type", "_OTHER"), "%T", err)
	}
}

func TestErrorTypeOfAProxyRefusalIsTheProxysStatusCode(t *testing.T) {
	r := record()
	refused := iamhttp.NewStatusError(407, nil, nil)
	rt := r.Spans(roundTripper(func(*http.Request) (*http.Response, error) { return nil, fmt.Errorf("proxy: %w", refused) }))
	require.ErrorIs(t, r.call(t, rt, "GET", "https://iam.example/", ""), refused)
	assert.Contains(t, r.spans("GET")[0].Attributes, attribute.String("error.type", "407"))
}

func TestMethodUnknownToTheConventionsIsRecordedAsOther(t *testing.T) {
	for method, want := range map[string]string{
		"":      "GET http.request.method=GET",
		"PATCH": "PATCH http.request.method=PATCH",
		"patch": "HTTP http.request.method=_OTHER,http.request.method_original=patch",
	} {
		r := record()
		req, err := http.NewRequestWithContext(t.Context(), "GET", "https://iam.example/", nil)
		require.NoError(t, err)
		req.Method = method
		_, err = r.Spans(new(iamtest.Server)).RoundTrip(req)
		require.NoError(t, err)
		s := r.exporter.GetSpans()[0]
		assert.True(t, strings.HasPrefix(s.Name+" "+text(s.Attributes...), want+",http.response.status_code=200"), "%s %s", s.Name, text(s.Attributes...))
	}
}

func TestProtocolVersionIsTakenFromTheResponse(t *testing.T) {
	srv := httptest.NewUnstartedServer(new(iamtest.Server))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	r := record()
	require.NoError(t, r.call(t, r.Spans(srv.Client().Transport), "GET", srv.URL, ""))
	assert.Contains(t, r.spans("GET")[0].Attributes, attribute.String("network.protocol.version", "2"))
}

func TestSpanContextIsPropagatedWithoutChangingTheCallersRequest(t *testing.T) {
	for name, header := range map[string]http.Header{"request without a header": nil, "request with a header": {"X-Auth-Token": {"t"}}} {
		t.Run(name, func(t *testing.T) {
			var service iamtest.Server
			r := record()
			req, err := http.NewRequestWithContext(t.Context(), "GET", "https://iam.example/", nil)
			require.NoError(t, err)
			req.Header = header.Clone()
			_, err = r.Spans(&service).RoundTrip(req)
			require.NoError(t, err)
			s, arrived := r.spans("GET")[0].SpanContext, service.Requests()[0].Header
			assert.Equal(t, fmt.Sprintf("00-%v-%v-01", s.TraceID(), s.SpanID()), arrived.Get("Traceparent"))
			assert.Equal(t, header.Get("X-Auth-Token"), arrived.Get("X-Auth-Token"))
			assert.Equal(t, header, req.Header)
		})
	}
}

func TestRequestWithoutAURLIsPassedToTheBase(t *testing.T) {
	own := errors.New("no URL")
	rt := record().Spans(roundTripper(func(*http.Request) (*http.Response, error) { return nil, own }))
	_, err := rt.RoundTrip(new(http.Request))
	assert.Same(t, own, err)
}

func TestCloseIdleConnectionsReachesTheBase(t *testing.T) {
	base := new(idle)
	(&iamhttp.Transport{Base: record().Spans(base)}).CloseIdleConnections()
	assert.Equal(t, 1, base.closed)
	(&iamhttp.Transport{Base: record().Resends(new(iamtest.Server))}).CloseIdleConnections()
}

type idle struct {
	http.RoundTripper
	closed int
}

func (i *idle) CloseIdleConnections() { i.closed++ }

func TestServerAddressInSpansAndMetricsIsTheURLsHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		service.Next(iamtest.Throttled(time.Second), iamtest.Page(404))
		r := record()
		req, err := http.NewRequestWithContext(t.Context(), "GET", "https://10.0.0.1/", nil)
		require.NoError(t, err)
		req.Host = "iam.example"
		_, err = r.transport(&service).RoundTrip(req)
		require.ErrorIs(t, err, iamhttp.ErrNotFound)
		assert.Contains(t, r.spans("GET")[0].Attributes, attribute.String("server.address", "10.0.0.1"))
		for _, m := range r.metrics(t) {
			assert.Contains(t, m, "server.address=10.0.0.1")
		}
	})
}
