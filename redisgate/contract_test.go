package redisgate

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/gatetest"
)

func TestGateObeysTheContract(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	gatetest.Run(t, func(t testing.TB) gate.Gate {
		g, _ := newGate(t, s.addr())
		return g
	})
}

func TestGateWithoutAServerObeysTheContract(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l.Close() // so that nothing listens on the address
	gatetest.Run(t, func(t testing.TB) gate.Gate {
		g, _ := newGate(t, l.Addr().String())
		return g
	})
}

func TestGateThatGetsItsTurnsFromAnotherProcessObeysTheContract(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	gatetest.Run(t, func(t testing.TB) gate.Gate {
		leader, _ := newGate(t, s.addr())
		g, _ := newGate(t, s.addr())
		return &follower{Gate: g, leader: leader, t: t}
	})
}

// A follower is a member of a fleet in which another process leads every account.
type follower struct {
	*Gate
	leader *Gate
	t      testing.TB
	mu     sync.Mutex
	known  map[string]bool
}

func (l *follower) Wait(ctx context.Context, r gate.Request) (gate.Ticket, error) {
	l.lead(r.Key)
	return l.Gate.Wait(ctx, r)
}

// lead makes the other process lead the key's account.
func (l *follower) lead(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known[key] {
		return
	}
	if l.known == nil {
		l.known = make(map[string]bool)
	}
	l.known[key] = true
	r := gate.Request{Key: key}
	ticket, err := l.leader.Wait(context.Background(), r)
	assert.NoError(l.t, err)
	l.leader.Observe(r, ticket, gate.Outcome{Result: gate.Throttled, RetryAfter: time.Millisecond})
	assert.Eventually(l.t, func() bool { return l.leader.leads(key) }, soon, time.Millisecond)
}
