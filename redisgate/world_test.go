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

	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// defaultNames returns the names that gates with default options use on the server.
func defaultNames() names { return newNames("iamhttp", fleet1.Number, 0) }

// A world is a server and its fleets in virtual time. Time passes only while all
// goroutines wait, so a test can assert exactly when something happens, even on a slow
// machine. The server is miniredis, which runs the same scripts. The tests that call
// startServer show that the scripts work on a real server. Tests in virtual time do not
// run in parallel with those, because the two kinds would compete for the processor.
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
		Addr:   "127.0.0.1:6379", // a host name would have to be resolved
		Dialer: func(context.Context, string, string) (net.Conn, error) { return w.relay.pipe() },
		// The client would negotiate notifications while holding a mutex, and a
		// goroutine that waits for a mutex stops virtual time.
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
