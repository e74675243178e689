// Package redisgate makes many processes that share an account behave like one
// client. The processes coordinate through a server: Redis 6 or later, or Valkey.
//
//	client := redis.NewClient(&redis.Options{Addr: "redis:6379"})
//	shared := redisgate.New(client, redisgate.Options{})
//	defer shared.Close()
//	transport := &iamhttp.Transport{Gate: shared}
//
// Processes that use the same server, the same database and the same
// [Options].Namespace form one fleet. Each process has a [gate.Adaptive] with its own
// queue and its own deadlines. Until the first 429, requests send no commands to the
// server.
//
// When an account is throttled, all processes are notified immediately, through the
// server. One process becomes the account's leader and runs the fleet's only controller
// for that account. Each process reports to the leader how many requests it has waiting,
// and the leader hands out turns, by priority and then in rotation. A turn is permission
// to send one request. The fleet as a whole therefore keeps the promises that
// gate.Adaptive makes for a single process. No process sends requests during a
// Retry-After that it has heard of, a single request probes a limit that still refuses
// requests after a pause, and the fleet sends at the pace of one client.
//
// The leader hands out turns rather than shares of the rate, because a limit without a
// burst needs evenly spaced requests. Processes that each kept to a share of the pace
// would sometimes send at the same moment, and would be throttled even at half the pace.
//
// Calls do not fail when the server fails. If a process has waiting requests and gets no
// reply for 400 ms (longer if the server is far away), the process continues alone. It
// decides by itself when its requests are sent, and rejoins the fleet once replies arrive
// again. A process that is alone starts at its share of the pace that the fleet had found.
// If the fleet had not found a pace, the process starts like a gate.Adaptive after its
// first 429. It gives no own accounts to endpoints, which only leaders do. A reply is a turn, or a message from the leader that no turn is due yet.
// Learning who the new leader is does not count as a reply.
//
// Clocks need not agree. The times in messages are durations, stamps that only their
// sender interprets, and send times of which only the differences are used. Times that
// have to outlive a process are measured by the server's clock.
//
// The client is go-redis for two reasons: it connects only when there is something to
// send (rueidis refuses to start without the server), and its UniversalClient covers a
// single server, Sentinel and a cluster. After a process has joined, the server pushes
// every change that the process has to know about. Client-side caching (RESP3) would be
// slower, because each invalidation requires another read.
package redisgate

import (
	"cmp"
	"context"
	"crypto/rand"
	"log/slog"
	"math"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// Options are the settings of a [Gate]. The zero value of each field is a sensible
// default.
type Options struct {
	// Namespace separates the fleets of one database. Different databases separate fleets
	// too, unless the client hides the number, as redis.NewFailoverClusterClient does. All
	// keys and channels begin with the namespace in braces. Empty means "iamhttp".
	Namespace string

	// Local is this process's own gate. Set Local to change the gate's settings or to
	// read its Stats. Local.StartWindow applies to the whole fleet and is divided among
	// the processes. Local must not have been used yet, which New does not check. Its Stats
	// count this process's requests; the pace is that of the fleet. If nil, New creates one.
	Local *gate.Adaptive

	// Logger receives one warning when this process loses the fleet, and one line when
	// the process has rejoined it. If the process loses the fleet again within 10 s, it
	// waits longer each time before it rejoins, up to a minute, so a flapping connection
	// soon logs at most two lines a minute. Nil means slog.Default().
	Logger *slog.Logger
}

// A Gate is a [gate.Gate] that makes this process a member of the fleet with its database
// and namespace. Create one per process, with [New]; the zero value is not usable. A Gate
// is safe for concurrent use.
//
// The server never sees the keys of accounts, only hashes of the keys (HMACs keyed with
// the namespace, a version number and the database). A hash hides a long random key, such
// as a token, but not a key that can be guessed, such as a user name. Anyone who has
// access to the server and guesses the key of a throttled account can confirm the guess. Of
// methods and paths, the server sees hashes without a key, so anyone can find out those that
// can be guessed.
type Gate struct {
	local      *gate.Adaptive
	visit      func(key string, v fleet1.Visitor) bool
	client     redis.UniversalClient
	names      names
	id         string // identifies this process
	log        *slog.Logger
	origin     time.Time // now returns the time since origin
	ctx        context.Context
	cancel     context.CancelFunc
	closing    sync.Once
	out        outbox
	attendWake chan struct{}  // a value makes attend run immediately
	settle     func()         // called when an attempt to join has ended; the first call ends the wait in New
	leases     sync.WaitGroup // lease commands in progress
	away       atomic.Int64   // the distance to the server
	asking     chan struct{}  // limits the number of lease commands in progress

	mu         sync.Mutex
	keys       map[string]use     // keys in use in this process, by account name
	notes      map[string]note    // what this process knows about throttled accounts, by account name
	leaders    map[string]*leader // the leader of each account that this process leads, by account name; nil once the gate is closed
	claims     map[string]bool    // accounts that this process is trying to lead, by account name
	size       int                // number of processes in the fleet
	lost       bool               // whether the server counts as lost, because it fails or does not reply in time, or because the gate is closed
	joined     bool               // whether the server has shown that it is near enough, and has not been lost since
	leaderAway distance           // the shortest distance from another leading process to the server, as reported since the server was last lost; 0: not known
	backSince  time.Duration      // when the server last became usable again
	stayAway   time.Duration      // how long this process waits before it rejoins
	rejoinAt   time.Duration      // when this process may rejoin
	subscribed bool               // whether this process is subscribed to the fleet's channels
	tookAt     time.Duration      // when the latest round trip ended
	sub        *redis.PubSub      // the current subscription
	echoed     time.Duration      // the stamp of the latest echo that has arrived
}

// New returns this process's gate. It waits up to 250 ms to read the state on the
// server, so that a process that starts while an account is throttled knows about the
// pause before its first request. New returns no error: if the server cannot be
// reached, the gate joins the fleet later. Use [Gate.Ping] to check the settings. The
// gate does not close the client; close it after the gate. New panics if client is nil or
// a *redis.Ring, whose servers do not share messages.
func New(client redis.UniversalClient, o Options) *Gate {
	return open(client, o, fleet1.Number)
}

// open is New with the seam number as a parameter. Package fleet1 explains that number.
func open(client redis.UniversalClient, o Options, seamNumber string) *Gate {
	// Otherwise a goroutine would panic, and the caller could not recover from that.
	if v := reflect.ValueOf(client); client == nil || v.Kind() == reflect.Pointer && v.IsNil() {
		panic("redisgate: New: client is nil")
	}
	if _, ok := client.(*redis.Ring); ok {
		panic("redisgate: New: a Ring cannot be used, because its servers do not share messages")
	}
	g := &Gate{
		local:      o.Local,
		client:     client,
		names:      newNames(cmp.Or(o.Namespace, "iamhttp"), seamNumber, databaseOf(client)),
		id:         rand.Text(),
		log:        o.Logger,
		origin:     time.Now(),
		keys:       make(map[string]use),
		notes:      make(map[string]note),
		leaders:    make(map[string]*leader),
		claims:     make(map[string]bool),
		size:       1,
		attendWake: make(chan struct{}, 1),
		asking:     make(chan struct{}, max(16, poolOf(client)*2/3)), // the rest is for messages
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

// Observe reports the outcome of a request that Wait admitted. See [gate.Gate].
func (g *Gate) Observe(r gate.Request, t gate.Ticket, o gate.Outcome) {
	g.local.Observe(r, t, o)
}

// Close leaves the fleet. Other processes can immediately take over the accounts that this
// process led. The turns that this process holds are taken back only after three seconds,
// because they may belong to requests in flight. Close waits at most 500 ms for the
// server, and always returns nil. A closed gate keeps working without the fleet.
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
	unsaid, pauses := g.out.empty(g, math.MaxInt)
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
	case <-ctx.Done(): // the client may ignore ctx while it waits for a reply
	}
}

// now returns the time since New. To other processes, only the differences between such
// times mean anything.
func (g *Gate) now() time.Duration { return time.Since(g.origin) }
