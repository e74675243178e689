package peers

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// refusing is a server that responds to each request with the same status, and records
// when each request arrived.
type refusing struct {
	status int
	header http.Header
	at     []time.Time
}

func (r *refusing) RoundTrip(req *http.Request) (*http.Response, error) {
	r.at = append(r.at, time.Now())
	header := r.header.Clone()
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{StatusCode: r.status, Header: header, Body: http.NoBody, Request: req}, nil
}

func (r *refusing) call(t *testing.T, do Do) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://iam.test/v3/users", nil)
	require.NoError(t, err)
	resp, err := do(req) // the last 429 or 503 becomes an error
	if err == nil {
		resp.Body.Close()
	}
}

// The SDK's own tests check its waits and its quota. This test makes sure that the version
// that we measure behaves as the comment on awsStandard says: older versions have
// different waits and retry costs.
func TestAWSSDKHasTheRetryBehaviorOfNovember2026(t *testing.T) {
	for _, tt := range []struct {
		name    string
		status  int
		wait    time.Duration // longest wait before the first retry
		retries int           // number of retries that the quota allows
	}{
		{"throttled", http.StatusTooManyRequests, time.Second, 500 / 5},
		{"other failure", http.StatusServiceUnavailable, 50 * time.Millisecond, 500 / 14},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const calls = 200
				server := &refusing{status: tt.status}
				do := Peer{Client: true, Wrap: awsStandard}.Wire(server, 0)
				server.call(t, do)
				require.Len(t, server.at, 3)
				assert.LessOrEqual(t, server.at[1].Sub(server.at[0]), tt.wait)
				assert.LessOrEqual(t, server.at[2].Sub(server.at[1]), 2*tt.wait)
				longest := server.at[1].Sub(server.at[0])
				for range calls - 1 {
					sent := len(server.at)
					server.call(t, do)
					if len(server.at) > sent+1 {
						longest = max(longest, server.at[sent+1].Sub(server.at[sent]))
					}
				}
				assert.Len(t, server.at, calls+tt.retries)
				assert.LessOrEqual(t, longest, tt.wait)
				assert.Greater(t, longest, tt.wait/2) // fails by chance once in 2^18 runs
			})
		})
	}
}

func TestAWSSDKIgnoresRetryAfterAndObeysItsOwnHeader(t *testing.T) {
	for name, wait := range map[string]time.Duration{"Retry-After": 0, "X-Amz-Retry-After": 4 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			server := &refusing{status: http.StatusTooManyRequests, header: http.Header{name: {"4000"}}}
			server.call(t, Peer{Client: true, Wrap: awsStandard}.Wire(server, 2))
			require.Len(t, server.at, 2)
			took := server.at[1].Sub(server.at[0])
			assert.GreaterOrEqual(t, took, wait, name)
			assert.LessOrEqual(t, took, wait+time.Second, name)
		})
	}
}
