package redisgate

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// neededCommands returns the commands that the gate's Redis user needs, according to
// README.md.
func neededCommands(t *testing.T) (commands []string) {
	t.Helper()
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, list, ok := strings.Cut(string(readme), "It needs Redis 6 or later")
	require.True(t, ok)
	list, _, ok = strings.Cut(list, "on keys and channels")
	require.True(t, ok)
	for _, command := range regexp.MustCompile(`\b[A-Z]{3,}\b`).FindAllString(list, -1) {
		commands = append(commands, strings.ToLower(command))
	}
	require.Len(t, commands, 17, "the README should list 17 commands")
	return commands
}

// The gate's Redis user may run only the commands that README.md lists, and may use only
// the names of this fleet: every key and every channel begins with the namespace and the
// seam number.
func TestGateNeedsOnlyTheCommandsInTheREADME(t *testing.T) {
	t.Parallel()
	user := []any{"acl", "setuser", "gate", "reset", "on", ">secret", "~" + defaultNames().prefix + ":*", "&" + defaultNames().prefix + ":*"}
	for _, command := range neededCommands(t) {
		user = append(user, "+"+command)
	}
	s := startServer(t)
	s.ask(user...)

	var gates []*Gate
	var books []*logbook
	for range 2 {
		client := redis.NewClient(&redis.Options{Addr: s.addr(), Username: "gate", Password: "secret"})
		require.NoError(t, client.Ping(context.Background()).Err(), "PING must be allowed, because the gate sends it after a quiet time")
		g, b := newGateOf(t, client)
		gates, books = append(gates, g), append(books, b)
	}
	throttle(t, gates[0], "k", time.Second)
	require.Eventually(t, pauses(gates[1], "k"), soon, time.Millisecond)
	leaderOf(t, gates, "k")
	start(gates, 2, 10, "k", newAccount(50, 5, 100*time.Millisecond)).wait(t)
	for i, g := range gates {
		g.Close()
		books[i].inTheFleet(t)
	}
	assert.Equal(t, int64(0), s.ask("zcard", gates[0].names.members))
	for _, denied := range s.ask("acl", "log").([]any) {
		// go-redis sends these commands by itself, and works without them.
		assert.Contains(t, fmt.Sprint(denied), "object:client|")
	}
}

func TestARequestCostsAtMostTwoCommandsWhileManyWait(t *testing.T) {
	for name, delay := range map[string]time.Duration{"near server": time.Millisecond, "far server": 100 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, w *world) {
				w.relay.setDelay(delay)
				gates, _ := w.gates(20)
				a := newAccount(100, 20, time.Second)
				a.trip = 5 * time.Millisecond
				c := start(gates, 50, 1<<40, "k", a)
				time.Sleep(time.Minute)
				sent, accepted, _ := a.counts()
				commands := w.server.CommandCount()
				time.Sleep(3 * time.Minute)
				sentNow, acceptedNow, _ := a.counts()
				each := float64(w.server.CommandCount()-commands) / float64(sentNow-sent)
				t.Logf("%.2f commands per request, %.1f%% of the limit", each, float64(acceptedNow-accepted)/180)
				assert.LessOrEqual(t, each, 2.0)
				c.left.Store(0)
				c.wait(t)
			})
		})
	}
}
