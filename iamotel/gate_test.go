package iamotel_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/iamtest"
)

func TestPausesAtTheGateAreRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var service iamtest.Server
		r := record()
		tr := r.transport(&service)
		tr.Gate = r.Gate(new(gate.Adaptive))
		require.NoError(t, r.call(t, tr, "GET", "https://iam.example/", ""))
		assert.Empty(t, events(r.spans("call")[0]), "passing an open gate must not add an event")
		assert.Equal(t, []string{"iamhttp.gate.pause.duration 1: 0s "}, r.metrics(t))

		service.Next(iamtest.Throttled(20 * time.Second))
		start := time.Now()
		require.NoError(t, r.call(t, tr, "GET", "https://iam.example/", ""))
		took := time.Since(start)
		assert.GreaterOrEqual(t, took, 20*time.Second)
		told := strings.Join(events(r.spans("call")[1]), "\n")
		assert.Contains(t, told, "iamhttp.wait error.type=429,http.request.resend_count=1,http.response.status_code=429,iamhttp.reason=throttled,iamhttp.retry_after=20")
		assert.Contains(t, told, fmt.Sprintf("iamhttp.gate.pause iamhttp.gate.pause.duration=%v", took.Seconds()))
		assert.Contains(t, r.metrics(t), fmt.Sprintf("iamhttp.gate.pause.duration 3: %vs ", took.Seconds()))
	})
}

// callsOf is a gate that records the calls to its methods, and whose Wait returns err.
type callsOf struct {
	err   error
	calls []string
}

func (g *callsOf) Wait(_ context.Context, r gate.Request) (gate.Ticket, error) {
	g.calls = append(g.calls, fmt.Sprintf("wait %+v", r))
	return 7, g.err
}

func (g *callsOf) Observe(r gate.Request, t gate.Ticket, o gate.Outcome) {
	g.calls = append(g.calls, fmt.Sprintf("observe %+v %v %+v", r, t, o))
}

func TestErrorFromTheGateIsRecordedByClassAndReturnedUnchanged(t *testing.T) {
	for want, errs := range map[string][]error{
		"gate":     {&gate.Error{Err: gate.ErrPaused}, errors.New("a gate's own error")},
		"canceled": {context.Canceled, fmt.Errorf("own: %w", context.Canceled)},
		"timeout":  {context.DeadlineExceeded},
	} {
		for _, err := range errs {
			r := record()
			g := r.Gate(&callsOf{err: err})
			_, got := g.Wait(t.Context(), gate.Request{Key: "key"})
			assert.Equal(t, err, got)
			require.Len(t, r.metrics(t), 1)
			assert.Regexp(t, `^iamhttp\.gate\.pause\.duration 1: .*s error\.type=`+want+"$", r.metrics(t)[0])
		}
	}
}

func TestWrappedGateReceivesTheCallsUnchanged(t *testing.T) {
	own := new(callsOf)
	g := record().Gate(own)
	request := gate.Request{Key: "key", Resend: 3, MaxWait: time.Minute, Method: "GET", Path: "/v3/users"}
	ticket, err := g.Wait(t.Context(), request)
	require.NoError(t, err)
	g.Observe(request, ticket, gate.Outcome{Result: gate.Throttled, RetryAfter: time.Second, Limit: gate.Limit{Requests: 5, Per: time.Second}})
	assert.Equal(t, []string{
		fmt.Sprintf("wait %+v", request),
		fmt.Sprintf("observe %+v", request) + " 7 {Result:throttled RetryAfter:1s Limit:5 per 1s}",
	}, own.calls)
}

func TestGateReturnsNilForANilGate(t *testing.T) {
	assert.Nil(t, record().Gate(nil))
}
