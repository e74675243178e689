package redisgate

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPingReportsWrongSettings(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--requirepass", "right")
	admin := redis.NewClient(&redis.Options{Addr: s.addr(), Password: "right"})
	t.Cleanup(func() { admin.Close() })
	user := func(name string, denied ...any) *redis.Options {
		rules := append([]any{"acl", "setuser", name, "on", ">secret", "~*", "&*", "+@all"}, denied...)
		require.NoError(t, admin.Do(t.Context(), rules...).Err())
		return &redis.Options{Addr: s.addr(), Username: name, Password: "secret"}
	}
	for name, tt := range map[string]struct {
		options *redis.Options
		message string // "": no error
	}{
		"right password":             {&redis.Options{Addr: s.addr(), Password: "right"}, ""},
		"wrong password":             {&redis.Options{Addr: s.addr(), Password: "wrong"}, "redisgate: cannot use the server: WRONGPASS"},
		"no password":                {&redis.Options{Addr: s.addr()}, "redisgate: cannot use the server: NOAUTH"},
		"wrong address":              {&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1}, "redisgate: cannot use the server: dial tcp 127.0.0.1:1: "},
		"no permission for the keys": {user("keys", "resetkeys", "~other:*"), "redisgate: cannot store accounts on the server: NOPERM"},
		"no permission to write":     {user("write", "-hset"), "redisgate: cannot store accounts on the server: "},
		"no permission to count":     {user("count", "-zadd"), "redisgate: cannot join the fleet: "},
		"no permission to leave":     {user("leave", "-zrem"), "redisgate: cannot leave the fleet: NOPERM"},
		"no permission to subscribe": {user("subscribe", "-subscribe"),
			"redisgate: cannot subscribe: NOPERM"},
		"no permission for the channels": {user("channels", "resetchannels", "&other:*"), "redisgate: cannot subscribe: NOPERM"},
		"no permission to publish":       {user("publish", "-publish"), "redisgate: cannot publish: NOPERM"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := redis.NewClient(tt.options)
			defer client.Close()
			g := New(client, Options{Logger: slog.New(slog.DiscardHandler)})
			defer g.Close()
			ctx, cancel := context.WithTimeout(context.Background(), soon)
			defer cancel()
			err := g.Ping(ctx)
			if tt.message == "" {
				assert.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, tt.message)
		})
	}
}

func TestPingFailsIfAnyCommandInTheREADMEIsDenied(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	commands := neededCommands(t)
	for _, command := range commands {
		rules := []any{"acl", "setuser", command, "on", ">secret", "~" + defaultNames().prefix + ":*", "&" + defaultNames().prefix + ":*"}
		for _, other := range commands {
			if other != command {
				rules = append(rules, "+"+other)
			}
		}
		s.ask(rules...)
		client := redis.NewClient(&redis.Options{Addr: s.addr(), Username: command, Password: "secret"})
		g := New(client, Options{Logger: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithTimeout(context.Background(), soon)
		assert.Error(t, g.Ping(ctx), "Ping must fail if the user may not use %s", command)
		assert.NoError(t, ctx.Err(), "Ping took too long to notice that the user may not use %s", command)
		cancel()
		g.Close()
		client.Close()
	}
}

func TestPingReturnsWhenItsContextEnds(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		g, _ := w.gate()
		assert.NoError(t, g.Ping(t.Context()))
		assert.Empty(t, w.server.HGet(g.names.accounts, "ping"))
		w.relay.freeze()
		defer w.relay.thaw()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		err := g.Ping(ctx)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(began))
	})
}

func TestPingReportsAServerThatIsTooFarAwayAndAClosedGate(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		gates, _ := w.gates(1)
		assert.NoError(t, gates[0].Ping(t.Context()))
		w.relay.setDelay(700 * time.Millisecond)
		assert.ErrorContains(t, gates[0].Ping(t.Context()), "cannot work as a fleet: the server took 700ms to reply")
		w.relay.setDelay(time.Millisecond)
		assert.NoError(t, gates[0].Close())
		assert.ErrorContains(t, gates[0].Ping(t.Context()), "closed")
	})
}

func TestTurnsThatArriveTwiceAreUsedOnce(t *testing.T) {
	l := &link{turns: []slot{{turn: 1}, {turn: 2}}, flying: []slot{{turn: 3}}}
	got := &turns{IDs: []uint64{2, 4, 3, 5}, Offsets: []time.Duration{20, 40, 30, 50}}
	l.forgetKnown(got)
	assert.Equal(t, []uint64{4, 5}, got.IDs)
	assert.Equal(t, []time.Duration{40, 50}, got.Offsets)
}
