// Package redisgate makes many processes that share an account behave like one
// client. They coordinate through a Redis or Valkey server (version 6 or later):
//
//	client := redis.NewClient(&redis.Options{Addr: "redis:6379"})
//	shared := redisgate.New(client, redisgate.Options{})
//	defer shared.Close()
//	transport := &iamhttp.Transport{Gate: shared}
//
// Processes that use the same server and the same [Options].Namespace are one
// fleet. Each of them keeps a [gate.Adaptive] with its own queue, deadlines and
// open path: until the first 429, a request costs no command on the server.
//
// When an account is throttled, the server tells all processes at once. One of
// them becomes the leader of that account: it runs the one controller that the
// fleet has for it. The other processes report to the leader how many requests
// they have waiting, and get turns from it, in rotation; a turn is the
// permission to send one request. So the promises of gate.Adaptive to
// a process hold for the fleet: no request is sent while a Retry-After is in
// force, a single request probes where nothing is known, and the pace is that of
// one client.
//
// The leader hands out turns rather than rate shares, because a limit without
// burst needs evenly spaced requests. Processes that each keep to a share of the
// pace would sometimes send at the same moment, and be throttled at half the
// pace.
//
// No call fails because the server does. A process with waiting requests that gets no
// answer for 400 ms goes on alone, and rejoins the fleet when there are answers
// again. If the server is far away, it waits longer. Alone, it keeps to its share of
// the pace that the fleet had found, or behaves like a new gate.Adaptive if the fleet
// had found none. A turn counts as an answer, and so does the leader's word that
// there is none yet (learning of a new leader does not).
//
// Clocks are not compared: only lengths of time cross the network, and the
// server's clock measures what outlives a process.
//
// The client is go-redis for two reasons: it connects only when there is something to
// send (rueidis refuses to start without the server), and its UniversalClient covers
// a single server, Sentinel and a cluster. The server pushes everything that a
// process has to know. Client-side caching (RESP3) would be slower, because each
// invalidation requires another read.
package redisgate

import (
	"cmp"
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// Options are the settings of a [Gate]. The zero value of each field is a
// sensible default.
type Options struct {
	// Namespace separates fleets that use the same server: fleets with different
	// namespaces ignore each other. All keys and channels on the server begin
	// with it, in braces. If empty, it is "iamhttp".
	Namespace string

	// Local is the gate of this process. Pass one to change its settings, or to
	// read its Stats. Its StartWindow holds for the fleet, and is divided among
	// the processes. It must not be in use yet. If nil, New makes one.
	Local *gate.Adaptive

	// Logger receives one warning when this process has lost the fleet, and one
	// line when it is back. If the fleet is lost again within 10 s, the process
	// waits longer each time before it rejoins, so that a flapping connection
	// logs at most two lines a minute in the end. If nil, it is slog.Default().
	Logger *slog.Logger
}

// A Gate is a [gate.Gate] that all processes with the same server and namespace
// share. Make one per process, with [New]. A Gate is safe for concurrent use.
//
// The server sees the keys of accounts only as hashes, keyed with the namespace. That
// hides a long random key, such as a token. Someone with access to the server who
// guesses a key, such as a user name, can tell whether it is in use.
type Gate struct {
	local      *gate.Adaptive
	visit      func(key string, v fleet1.Visitor) bool
	client     redis.UniversalClient
	names      names
	id         string // names this process
	log        *slog.Logger
	origin     time.Time // what now counts from
	ctx        context.Context
	cancel     context.CancelFunc
	closing    sync.Once
	out        outbox
	attendWake chan struct{}  // makes attend run now
	settle     func()         // called when the first attempt to join has ended
	leases     sync.WaitGroup // requests for leases under way
	away       atomic.Int64   // the distance

	mu         sync.Mutex
	keys       map[string]use     // keys in use in this process, by name
	notes      map[string]note    // what is known of throttled accounts, by name
	leaders    map[string]*leader // accounts that this process leads, by name; nil: the gate is closed
	claims     map[string]bool    // attempts to become a leader under way, by name
	size       int                // processes in the fleet
	lost       bool               // the server does not answer, or not in time
	backSince  time.Duration      // when the server was last back
	stayAway   time.Duration      // how long this process waits before it rejoins
	rejoinAt   time.Duration      // when it may rejoin
	subscribed bool               // to the channels of the fleet
	tookAt     time.Duration      // when the latest round trip ended
}

// New returns the gate of this process. It waits up to 250 ms for the state on the
// server, so that a process that starts while an account is throttled knows that
// before its first request. It returns no error: if the server is away, the gate
// joins it later. Use [Gate.Ping] to check the settings. You own the client; close it
// after the gate. New panics if client is nil.
func New(client redis.UniversalClient, o Options) *Gate {
	return open(client, o, fleet1.Number)
}

// open is New with the number of the seam, which fleet1 explains.
func open(client redis.UniversalClient, o Options, seamNumber string) *Gate {
	if client == nil { // otherwise a goroutine would panic, where the caller cannot recover
		panic("redisgate: New: client is nil")
	}
	g := &Gate{
		local:      o.Local,
		client:     client,
		names:      newNames(cmp.Or(o.Namespace, "iamhttp"), seamNumber),
		id:         rand.Text(),
		log:        o.Logger,
		origin:     time.Now(),
		keys:       make(map[string]use),
		notes:      make(map[string]note),
		leaders:    make(map[string]*leader),
		claims:     make(map[string]bool),
		size:       1,
		attendWake: make(chan struct{}, 1),
	}
	if g.local == nil {
		g.local = new(gate.Adaptive)
	}
	if g.log == nil {
		g.log = slog.Default()
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.visit = g.local.Join(seam{g})
	g.out.wake = make(chan struct{}, 1)
	settled := make(chan struct{})
	g.settle = sync.OnceFunc(func() { close(settled) })
	go g.listen()
	go g.send()
	go g.attend()
	select {
	case <-settled:
	case <-time.After(startWait):
	}
	return g
}

// Wait blocks until the request may be sent. See [gate.Gate].
func (g *Gate) Wait(ctx context.Context, r gate.Request) (gate.Ticket, error) {
	return g.local.Wait(ctx, r)
}

// Observe tells the gate the outcome of a request. See [gate.Gate].
func (g *Gate) Observe(r gate.Request, t gate.Ticket, o gate.Outcome) {
	g.local.Observe(r, t, o)
}

// Close leaves the fleet. Other processes take over the accounts that this one led at
// once, and its turns after three seconds, because these may belong to requests in
// flight. Close waits at most 500 ms for the server, and always returns nil. The gate
// goes on working afterwards, without the fleet.
func (g *Gate) Close() error {
	g.closing.Do(g.close)
	return nil
}

func (g *Gate) close() {
	defer g.cancel()
	g.mu.Lock()
	leaders := g.leaders
	g.leaders = nil
	lost := g.lost
	g.lost = true
	unsaid, pauses := g.out.empty(g)
	g.out.close()
	g.mu.Unlock()
	for _, l := range leaders {
		l.stop()
	}
	if lost {
		return
	}
	ctx, cancel := context.WithTimeout(g.ctx, closeWait)
	left := make(chan struct{})
	go func() {
		defer close(left)
		defer cancel()
		g.leave(ctx, leaders, unsaid, pauses)
	}()
	select {
	case <-left:
	case <-ctx.Done(): // the client does not watch it while it waits for an answer
	}
}

// now returns the time since New. It means nothing to other processes.
func (g *Gate) now() time.Duration { return time.Since(g.origin) }
