package main

import (
	"cmp"
	"context"
	"flag"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/bench/internal/sim"
	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/redisgate"
)

var (
	fleetDraws     = flag.Int("fleetdraws", 40, "the `number` of situations to draw at random for a fleet; their seeds count up from -seed")
	fleetProcesses = flag.Int("processes", 4, "the `number` of processes in that fleet")
)

// These are like drawsReach, for a fleet. Its random numbers cannot be seeded, so the bounds are
// lower than what it reaches today: at least 0.58, 0.69 and 0.96.
var fleetReach = []struct{ answered, share float64 }{{0.97, 0.4}, {0.9, 0.5}, {0.5, 0.8}}

// A buffered connection has a buffer for what is written, as a socket does. Otherwise, a client
// that sends many commands at once would wait for a server that waits until the client reads.
type buffered struct {
	net.Conn
	out  chan []byte
	done chan struct{}
	once sync.Once
}

func dial(server *miniredis.Miniredis) (net.Conn, error) {
	conn, err := server.Dial()
	if err != nil {
		return nil, err
	}
	b := &buffered{Conn: conn, out: make(chan []byte, 1<<10), done: make(chan struct{})}
	go func() {
		for {
			select {
			case p := <-b.out:
				if _, err := conn.Write(p); err != nil {
					_ = b.Close()
					return
				}
			case <-b.done:
				return
			}
		}
	}()
	return b, nil
}

func (b *buffered) Write(p []byte) (int, error) {
	select {
	case b.out <- slices.Clone(p):
		return len(p), nil
	case <-b.done:
		return 0, net.ErrClosed
	}
}

func (b *buffered) Close() error {
	b.once.Do(func() { close(b.done) })
	return b.Conn.Close()
}

// fleetOf makes clients that are fleets. Their processes make calls in rotation.
func fleetOf(t *testing.T, processes int, with settings) sim.Client {
	server := miniredis.NewMiniRedis()
	t.Cleanup(server.Close)
	one := with.client(func() gate.Gate {
		client := redis.NewClient(&redis.Options{
			Addr:   "127.0.0.1:6379",
			Dialer: func(context.Context, string, string) (net.Conn, error) { return dial(server) },
			// The client would negotiate notifications while holding a mutex, and a goroutine that
			// waits for a mutex stops virtual time.
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		})
		g := redisgate.New(client, redisgate.Options{Logger: slog.New(slog.DiscardHandler)})
		t.Cleanup(func() {
			assert.NoError(t, g.Close())
			assert.NoError(t, client.Close())
		})
		return g
	})
	return func(base http.RoundTripper) func(*http.Request) (*http.Response, error) {
		var clients []func(*http.Request) (*http.Response, error)
		for range processes {
			clients = append(clients, one(base))
		}
		var n atomic.Int64
		return func(r *http.Request) (*http.Response, error) { return clients[int(n.Add(1))%processes](r) }
	}
}

// A fleet has to cause no harm either, although its leader hears of outcomes late.
//
//	go test -v -run FleetIsNotWorse ./overload -fleetdraws 1000 -processes 10
func TestAFleetIsNotWorseInRandomDrawsThanRecorded(t *testing.T) {
	t.Parallel()
	if raceDetector {
		t.Skip("this test measures figures, and finds no races that other tests miss")
	}
	all := make([]drawn, *fleetDraws)
	eachDraw(len(all), func(i int, seed uint64) {
		d := drawn{seed: seed, situation: sim.Draw(seed)}
		d.without, d.sentWithout = tried(d.situation, strategies[1])
		if d.telling() {
			r := d.situation.RunIn(new(testing.T), func(t *testing.T) sim.Client { return fleetOf(t, *fleetProcesses, settings{}) })
			d.with, d.sentWith = answeredIn(r), r.SentPerOK()
		}
		all[i] = d
	})
	all = slices.DeleteFunc(all, func(d drawn) bool { return !d.telling() })
	require.NotEmpty(t, all)
	slices.SortFunc(all, func(a, b drawn) int { return cmp.Compare(a.ratio(), b.ratio()) })
	for _, d := range all[:min(len(all), *drawsShown)] {
		t.Logf("%d: %.2f as many, %.2f and %.2f requests per success, %v", d.seed, d.ratio(), d.sentWith, d.sentWithout, d.situation)
	}
	for _, r := range fleetReach {
		n := 0
		for _, d := range all {
			if d.ratio() >= r.answered {
				n++
			}
		}
		share := float64(n) / float64(len(all))
		t.Logf("in %.3f of %d draws, the ratio is at least %.2f", share, len(all), r.answered)
		if len(all) >= 20 {
			assert.GreaterOrEqual(t, share, r.share, "too few draws have a ratio of at least %.2f", r.answered)
		}
	}
}
