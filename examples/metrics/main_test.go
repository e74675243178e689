package main

import (
	"flag"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/iamtest"
)

func TestPrometheusGetsRetriesWaitsStopReasonsAndPauses(t *testing.T) {
	service := new(iamtest.Server)
	service.Next(iamtest.Page(408), iamtest.Keystone(404, "Could not find user."))
	server := httptest.NewServer(service)
	defer server.Close()
	client, metrics, err := measured()
	require.NoError(t, err)
	client.Transport.(*iamhttp.Transport).MaxWait = 10 * time.Millisecond

	_, err = client.Get(server.URL + "/v3/users/bob")
	require.ErrorIs(t, err, iamhttp.ErrNotFound)
	page := httptest.NewRecorder()
	metrics.ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`(?m)^iamhttp_client_retries_total\{.*http_request_method="GET".*\} 1$`,
		`(?m)^iamhttp_client_wait_duration_seconds_count\{.*error_type="408".*\} 1$`,
		`(?m)^iamhttp_client_stops_total\{.*error_type="404".*iamhttp_stop_reason="not retryable".*\} 1$`,
		`(?m)^iamhttp_gate_pause_duration_seconds_count\{`,
	} {
		assert.Regexp(t, want, page.Body.String())
	}
}

func TestArgumentsOtherThanOneURLAreRefused(t *testing.T) {
	for _, args := range [][]string{
		nil, {"http://127.0.0.1/", "another"}, {"-what"}, {""}, {"nonsense"}, {"127.0.0.1:80"}, {"ftp://127.0.0.1/"}, {"http://"}, {"http://:80/"}, {"http://127.0.0.1:x/"}, {"http://127.0.0.1:99999/"}, {"%zz"},
	} {
		_, err := parse(args)
		require.Error(t, err, "%q", args)
		assert.NotContains(t, err.Error(), "\n")
	}
	_, err := parse([]string{"-h"})
	require.ErrorIs(t, err, flag.ErrHelp)
	url, err := parse([]string{"http://127.0.0.1:13357/v3/users/alice"})
	require.NoError(t, err)
	assert.Equal(t, "http://127.0.0.1:13357/v3/users/alice", url)
}
