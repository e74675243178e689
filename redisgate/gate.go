// Package redisgate makes processes that share an account's limit behave like
// one client, by means of a Redis or Valkey server (6 or later) between them:
//
//	client := redis.NewClient(&redis.Options{Addr: "redis:6379"})
//	gate := redisgate.New(client, redisgate.Options{})
//	defer gate.Close()
//	transport := &iamhttp.Transport{Gate: gate}
//
// Each process keeps an [iamhttp.AdaptiveGate]: its queue, its deadlines, its
// open path. When an account is throttled, the server tells all processes at
// once, and one of them, the leader of that account, runs the one controller
// that the fleet has for it. The others tell it how many requests they have
// waiting and get turns, one by one, in rotation. What the gate promises in a
// process therefore holds for the fleet: nobody sends while a Retry-After is in
// force, one probes where nothing is known, the pace is that of one client.
//
// Turns and not shares: a limit that saves nothing up takes requests at equal
// distances. Many processes that keep a share of the pace each, at distances
// of their own, meet by chance, and are refused at half the pace.
//
// The server is a convenience and never a condition. A process with requests
// that wait, and no answer for 400 ms, goes on alone, at its share of the pace
// that the fleet had found, or as an AdaptiveGate that knows nothing, and
// returns when there are answers. An answer is a turn, or the word of the leader
// that there is none yet; that there is another leader is none.
// No clock is compared with another one: what crosses the network are lengths
// of time, and the server's clock measures those that outlive a process.
//
// The client is go-redis. What a process has to know is in the message that
// the server pushes, so that the invalidation of cached keys (RESP3), which has
// to be followed by a read, would be slower; go-redis connects when there is
// something to say, where rueidis refuses to start without the server; and its
// UniversalClient is one server, Sentinel or a cluster.
package redisgate

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"reflect"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/internal/fleet"
)

// Options are the settings of a [Gate]. The zero value of each is a default to
// live with.
type Options struct {
	// Namespace separates fleets that use the same server and have nothing to do
	// with each other. All names on the server begin with it, in braces. If
	// empty, it is "iamhttp".
	Namespace string

	// Local is the gate in this process, with its settings; StartWindow is that
	// of the fleet, and divided among its processes. It must not be in use. If
	// nil, it is a zero AdaptiveGate.
	Local *iamhttp.AdaptiveGate

	// Logger is told when this process has lost the fleet, and when it is back:
	// once each. What is lost again within ten seconds is come back to ever
	// later, so that there are no more than two lines a minute in the end. If
	// nil, it is slog.Default().
	Logger *slog.Logger
}

// A Gate is an [iamhttp.Gate] that is shared by all processes whose Gates have
// the same server and namespace. Make one for a process, with New; it is safe
// for concurrent use.
//
// On the server a key of the gate appears as a hash only, keyed with the
// namespace. That hides a key that is long and random, as a token is; whoever
// can read there, and guess a key, can tell whether it is in use.
type Gate struct {
	local   *iamhttp.AdaptiveGate
	visit   func(key string, v fleet.Visitor) bool
	client  redis.UniversalClient
	names   names
	id      string // of this process
	log     *slog.Logger
	origin  time.Time // what now counts from
	ctx     context.Context
	cancel  context.CancelFunc
	closing sync.Once
	out     outbox
	again   chan struct{}  // makes attend look
	settle  func()         // called when the first attempt to join has ended
	cursor  string         // of the next accounts that attend goes past
	leases  sync.WaitGroup // that are being asked for

	mu      sync.Mutex
	keys    map[string]use     // in use in this process, by name
	notes   map[string]note    // of throttled accounts, by name
	leaders map[string]*leader // nil: closed
	claims  map[string]bool    // that are under way
	size    int                // processes in the fleet
	lost    bool               // the server, or its answers came too late
	back    time.Duration      // since when it is not lost
	away    time.Duration      // for how long it was not tried to come back
	returns time.Duration      // when it is
	hears   bool               // subscribed
}

// A use is a key that the local gate has an account for, or two: one that is
// about to be forgotten, and its successor.
type use struct {
	key   string
	times int
}

// A note is what a process knows of a throttled account.
type note struct {
	state
	paused time.Duration // until then
	seen   time.Duration
}

const (
	patience    = 400 * time.Millisecond // with a leader, before going on alone
	tooSlow     = 300 * time.Millisecond // for an answer
	outOfDate   = leaseTime              // what is to be sent
	askAgain    = 200 * time.Millisecond
	tryAgain    = 500 * time.Millisecond // to come back to the fleet
	longestAway = time.Minute            // the same, of what is lost again and again
	reconnect   = time.Second            // between two attempts
	staysAlive  = time.Second            // between two signs of a process that waits for answers only
	leaseTime   = 1500 * time.Millisecond
	renewLease  = 400 * time.Millisecond
	leaderIdle  = 5 * time.Second // without requests, until a leader resigns
	memberFresh = 500 * time.Millisecond
	memberGone  = 3 * time.Second
	presence    = 10 * time.Second // between two signs of life on the server
	absence     = 30 * time.Second // without one, until a process is not counted
	keep        = 10 * time.Minute // what is known of an account nobody uses
	retell      = keep / 4         // that it is used, to those who do not use it
	startWait   = 250 * time.Millisecond
	ownPause    = 250 * time.Millisecond // as the controller's, until the leader says more
)

// New returns the gate of this process, and panics without a client. It waits
// for the server's first answer, but no longer than a quarter of a second: so a
// process that starts while an account is throttled knows it before its first
// request. The client stays the caller's, and is to be closed after the gate.
func New(client redis.UniversalClient, o Options) *Gate {
	// Else a goroutine would panic, which nobody could catch.
	if v := reflect.ValueOf(client); client == nil || v.Kind() == reflect.Pointer && v.IsNil() {
		panic("redisgate: New without a client")
	}
	g := &Gate{
		local:   o.Local,
		client:  client,
		names:   newNames(cmp.Or(o.Namespace, "iamhttp")),
		id:      rand.Text(),
		log:     o.Logger,
		origin:  time.Now(),
		keys:    make(map[string]use),
		notes:   make(map[string]note),
		leaders: make(map[string]*leader),
		claims:  make(map[string]bool),
		size:    1,
		again:   make(chan struct{}, 1),
	}
	if g.local == nil {
		g.local = new(iamhttp.AdaptiveGate)
	}
	if g.log == nil {
		g.log = slog.Default()
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.visit = fleet.Join(g.local, seam{g})
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

// Wait returns when the request may be sent. See [iamhttp.Gate].
func (g *Gate) Wait(ctx context.Context, key string, resend int) (iamhttp.Ticket, error) {
	return g.local.Wait(ctx, key, resend)
}

// Observe takes the outcome of a send. See [iamhttp.Gate].
func (g *Gate) Observe(key string, t iamhttp.Ticket, throttled bool, retryAfter time.Duration) {
	g.local.Observe(key, t, throttled, retryAfter)
}

// Close leaves the fleet: others lead at once where this process has led, and
// have the turns that it held, which may be requests on their way, after three
// seconds. A server that does not answer is waited for half a second. The gate
// goes on alone.
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
	ctx, cancel := context.WithTimeout(g.ctx, tryAgain)
	left := make(chan struct{})
	go func() {
		defer close(left)
		defer cancel()
		g.leave(ctx, leaders, unsaid, pauses)
	}()
	select {
	case <-left:
	case <-ctx.Done(): // which the client does not watch while it waits for an answer
	}
}

// now is the time in this process.
func (g *Gate) now() time.Duration { return time.Since(g.origin) }

// seam is the side of the Gate that the local gate sees.
type seam struct{ *Gate }

// Opened tells what is known of an account that is new in this process.
func (g seam) Opened(key string) (share int, p fleet.Pacer) {
	name := g.names.of(key)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.keys[name] = use{key, g.keys[name].times + 1}
	if n, ok := g.notes[name]; ok {
		l := g.link(name, key)
		l.learn(0, n, g.now())
		p = l
	}
	return g.size, p
}

// Throttled tells the others, and asks who leads.
func (g seam) Throttled(key string, h fleet.History, retryAfter time.Duration) fleet.Pacer {
	l := g.link(g.names.of(key), key)
	l.history, l.wanted = &h, retryAfter
	l.pause = h.Now + cmp.Or(retryAfter, ownPause)
	g.out.notice(l.name, state{Pause: retryAfter})
	l.amend(func(r *report) {
		r.History = newHistory(h, h.Now)
		r.Refused = append(r.Refused, refusal{After: retryAfter})
	})
	l.ask(h.Now)
	return l
}

// Forgotten tells that an account is not in use in this process any more. It may
// come after Opened of the next one with that key.
func (g seam) Forgotten(key string) {
	name := g.names.of(key)
	g.mu.Lock()
	defer g.mu.Unlock()
	if u := g.keys[name]; u.times > 1 {
		g.keys[name] = use{key, u.times - 1}
		return
	}
	delete(g.keys, name)
	g.out.forget(name)
}

// names are those on the server.
type names struct{ prefix, members, accounts, all string }

func newNames(namespace string) names {
	p := "{" + namespace + "}" // in a cluster all of it is in one place
	return names{prefix: p, members: p + ":members", accounts: p + ":accounts", all: p + ":all"}
}

func (n names) inbox(id string) string { return n.prefix + ":" + id }

const nameLength = 32 // in hex

// of returns the name of an account. It hides a key that nobody can guess: who
// can guess it can see whether it is in use.
func (n names) of(key string) string {
	h := hmac.New(sha256.New, []byte(n.prefix))
	h.Write([]byte(key))
	return hex.EncodeToString(h.Sum(nil)[:nameLength/2])
}
