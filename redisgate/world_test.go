package redisgate

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// A world is a server and fleets in virtual time. Nothing takes time in it but
// what a test says, so that a test can say exactly what has to happen when,
// however little time the machine has for it. The server is a copy of Redis in
// Go, which runs the same scripts; that they are good for a real one is for
// the tests with startServer. It is not run beside those: it has work to do, and
// they have to wait.
type world struct {
	t      *testing.T
	server *miniredis.Miniredis
	relay  *relay
}

func inVirtualTime(t *testing.T, test func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, server: miniredis.NewMiniRedis()}
		t.Cleanup(w.server.Close)
		w.relay = newRelay(t, w.server.Dial)
		w.relay.setDelay(time.Millisecond)
		test(t, w)
	})
}

func (w *world) client() *redis.Client { return w.clientWith(func(*redis.Options) {}) }

func (w *world) clientWith(set func(*redis.Options)) *redis.Client {
	o := &redis.Options{
		Addr:   "127.0.0.1:6379", // a name would be looked up
		Dialer: func(context.Context, string, string) (net.Conn, error) { return w.relay.pipe() },
		// They are asked for under a lock, and who waits for a lock stops the time.
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	set(o)
	return redis.NewClient(o)
}

func (w *world) gate() (*Gate, *logbook) { return newGateOf(w.t, w.client()) }

func (w *world) gates(n int) (gates []*Gate, books []*logbook) {
	for range n {
		g, b := w.gate()
		gates, books = append(gates, g), append(books, b)
	}
	return gates, books
}
