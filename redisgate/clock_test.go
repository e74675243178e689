package redisgate

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A clockedServer is a server whose clock can be set.
type clockedServer struct {
	*testServer
	clock *os.File
}

func startClockedServer(t testing.TB, off time.Duration) *clockedServer {
	t.Helper()
	cc, err := exec.LookPath("cc")
	if err != nil || runtime.GOOS != "linux" {
		missing(t, "setting a server's clock needs Linux and a C compiler: apt-get install gcc libc6-dev")
	}
	s := &clockedServer{testServer: newServer(t)}
	library := filepath.Join(s.dir, "clock.so")
	out, err := exec.Command(cc, "-shared", "-fPIC", "-o", library, "testdata/clock.c").CombinedOutput()
	require.NoError(t, err, "%s", out)
	s.clock, err = os.Create(filepath.Join(s.dir, "clock"))
	require.NoError(t, err)
	t.Cleanup(func() { s.clock.Close() })
	s.write(off)
	s.env = []string{"LD_PRELOAD=" + library, "CLOCK=" + s.clock.Name()}
	s.start()
	s.shows(off)
	return s
}

func (s *clockedServer) write(off time.Duration) {
	s.t.Helper()
	_, err := s.clock.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(off/time.Second)), 0)
	require.NoError(s.t, err)
}

func (s *clockedServer) shows(off time.Duration) {
	s.t.Helper()
	require.WithinDuration(s.t, time.Now().Add(off), time.UnixMilli(s.now()), soon)
}

// set sets the server's clock to the right time plus off.
func (s *clockedServer) set(off time.Duration) {
	s.t.Helper()
	s.write(off)
	s.shows(off)
}

// now returns the server's time in ms, rounded down to a second.
func (s *clockedServer) now() int64 {
	s.t.Helper()
	seconds, err := strconv.ParseInt(s.ask("time").([]any)[0].(string), 10, 64)
	require.NoError(s.t, err)
	return seconds * 1000
}

// pause returns how long the account is paused, as seen by a process that starts now. On
// a busy machine, New may return before the process has read the accounts, so pause reads
// them again.
func (s *clockedServer) pause(key string) time.Duration {
	g, _ := newGate(s.t, s.addr())
	defer g.Close()
	v, err := g.count(s.t.Context(), "0", true)
	if !assert.NoError(s.t, err, "cannot use the server") {
		return 0
	}
	g.counted(v)
	g.mu.Lock()
	defer g.mu.Unlock()
	return max(g.notes[g.names.of(key)].paused-g.now(), 0)
}

// anHourOff runs a test twice: for a clock that is an hour ahead, and for one that is an
// hour behind.
func anHourOff(t *testing.T, test func(t *testing.T, off time.Duration)) {
	t.Parallel()
	for name, off := range map[string]time.Duration{"clock an hour ahead": time.Hour, "clock an hour behind": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, off)
		})
	}
}

func TestFleetWorksWhenTheServersClockIsWrong(t *testing.T) {
	anHourOff(t, func(t *testing.T, off time.Duration) {
		s := startClockedServer(t, off)
		gates, books := newGates(t, s.addr(), 3)
		throttle(t, gates[0], "paused", time.Minute)
		for _, g := range gates {
			require.Eventually(t, pauses(g, "paused"), soon, time.Millisecond)
		}
		require.Eventually(t, func() bool { return s.ask("exists", gates[0].names.accounts) == int64(1) }, soon, time.Millisecond)
		pause := s.pause("paused")
		assert.Greater(t, pause, 40*time.Second)
		assert.LessOrEqual(t, pause, time.Minute)

		c := start(gates, 5, 1<<40, "k", newAccount(100, 10, 100*time.Millisecond))
		leaderOf(t, gates, "k")
		c.left.Store(100)
		c.wait(t)
		for _, b := range books {
			b.inTheFleet(t)
		}
	})
}

func TestFleetWorksWhenTheServersClockIsSetUnderLoad(t *testing.T) {
	anHourOff(t, func(t *testing.T, off time.Duration) {
		s := startClockedServer(t, 0)
		gates, books := newGates(t, s.addr(), 3)
		a := newAccount(100, 20, time.Second)
		c := start(gates, 10, 1<<40, "k", a)
		accepted := func() int { _, n, _ := a.counts(); return n }
		require.Eventually(t, func() bool { return accepted() > 100 }, 6*soon, 5*time.Millisecond)
		leaderOf(t, gates, "k")
		s.set(off)
		before := accepted()
		for _, g := range gates { // the gates read from the server now, instead of at their next sign of life
			g.attendNow()
		}
		require.Eventually(t, func() bool { return accepted() > before+100 }, 6*soon, 5*time.Millisecond, "too few calls were accepted after the clock was set")
		leaderOf(t, gates, "k")
		assert.LessOrEqual(t, s.pause("k"), time.Minute)
		c.left.Store(0)
		c.wait(t)
		for _, b := range books {
			b.inTheFleet(t)
		}
	})
}

func TestLeaderRestoresThePauseAfterTheServersClockIsSet(t *testing.T) {
	anHourOff(t, func(t *testing.T, off time.Duration) {
		s := startClockedServer(t, 0)
		g, _ := newGate(t, s.addr())
		throttle(t, g, "k", time.Minute)
		leaderOf(t, []*Gate{g}, "k")
		s.set(off)
		require.Eventually(t, func() bool {
			pause := s.pause("k")
			assert.LessOrEqual(t, pause, time.Minute)
			return pause > 40*time.Second
		}, soon, 100*time.Millisecond)
	})
}

func TestPauseWithoutProcessesStillEndsInTimeAfterTheServersClockIsSetBack(t *testing.T) {
	t.Parallel()
	s := startClockedServer(t, 0)
	first, _ := newGate(t, s.addr())
	throttle(t, first, "k", 2*time.Second)
	leaderOf(t, []*Gate{first}, "k")
	first.Close()
	s.set(-time.Hour)
	require.Eventually(t, func() bool { return s.pause("k") == 0 }, soon, 100*time.Millisecond)
}

func TestDeadLeadersLeaseStillEndsInTimeAfterTheServersClockIsSetBack(t *testing.T) {
	t.Parallel()
	s := startClockedServer(t, 0)
	gates, _ := newGates(t, s.addr(), 3)
	throttle(t, gates[0], "k", 100*time.Millisecond)
	dead := leaderOf(t, gates, "k")
	gates[dead].die()
	s.set(-time.Hour)
	others := append(append([]*Gate{}, gates[:dead]...), gates[dead+1:]...)
	c := start(others, 5, 1<<40, "k", newAccount(100, 10, 100*time.Millisecond))
	leaderOf(t, others, "k")
	c.left.Store(0)
	c.wait(t)
}

// Dead processes must not be counted for another hour, and live ones must be counted
// before their next sign of life.
func TestProcessesAreCountedCorrectlyWhenTheServersClockIsSetBack(t *testing.T) {
	t.Parallel()
	s := startClockedServer(t, 0)
	gates, _ := newGates(t, s.addr(), 3)
	for _, g := range gates {
		_, err := g.join(false, "0")
		require.NoError(t, err)
	}
	s.set(-time.Hour)
	late, _ := newGate(t, s.addr())
	_, err := late.join(false, "0")
	require.NoError(t, err)
	ahead := s.ask("zcount", late.names.members, fmt.Sprint(s.now()+soon.Milliseconds()), "+inf")
	assert.Zero(t, ahead, "some processes have a sign of life in the future, so they would be counted for another hour after they ended")
	assert.Equal(t, int64(4), s.ask("zcard", late.names.members))
}
