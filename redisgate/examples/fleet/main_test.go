package main

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func play(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, func(string) string { return "" }, &out, &errs)
	return code, out.String(), errs.String()
}

// The program works with and without a gate, and does not need a Redis server.
func TestRunCallsTheServiceAndPrintsCounts(t *testing.T) {
	for _, flags := range [][]string{{"-redis", "redis://127.0.0.1:1"}, {"-gate=false"}} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		addr := l.Addr().String()
		l.Close()
		code, stdout, stderr := play(t, append(flags, "-service", addr, "-for", "2900ms")...)
		require.Zero(t, code, stderr)
		assert.Equal(t, len(flags) == 2, strings.Contains(stderr, "fleet: cannot use the Redis server: dial tcp 127.0.0.1:1: "), stderr)
		assert.Equal(t, len(flags) == 2, strings.Contains(stderr, "level=WARN"), stderr)
		for line := range strings.Lines(stdout + stderr) {
			assert.LessOrEqual(t, len(line), 1+80, line)
		}
		lines := strings.Split(strings.TrimSpace(stdout), "\n")
		require.GreaterOrEqual(t, len(lines), 2, stdout)
		var accepted, throttled int
		_, err = fmt.Sscanf(lines[len(lines)-len(flags)], "%d %d in all", &accepted, &throttled)
		require.NoError(t, err, stdout)
		assert.Positive(t, accepted)
		assert.Equal(t, len(flags) == 2, strings.Contains(stdout, "With -gate=false"))
	}
}

func TestRunFailsIfNoRequestIsAccepted(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // a service that accepts connections and never responds
	require.NoError(t, err)
	defer l.Close()
	code, _, stderr := play(t, "-gate=false", "-service", l.Addr().String(), "-for", "100ms")
	assert.Equal(t, 1, code)
	assert.Equal(t, "fleet: no request was accepted by http://"+l.Addr().String()+"/\n", stderr)
}

func TestWrongFlagsAreRejected(t *testing.T) {
	for _, args := range [][]string{
		{"-callers", "0"}, {"-callers", "x"}, {"-callers", "1000000000000"}, {"-for", "-1s"}, {"-for", "1"}, {"-gate=maybe"}, {"-what"}, {"worker"},
		{"-service", ""}, {"-service", "nonsense"}, {"-service", ":8429"}, {"-service", "localhost"}, {"-service", "localhost:"},
		{"-service", "localhost:0"}, {"-service", "localhost:65536"}, {"-service", "localhost:http"}, {"-service", "localhost:-1"},
		{"-service", "local host:80"}, {"-service", "local\nhost:80"}, {"-service", "%zz:80"}, {"-service", "me@host:80"}, {"-service", "host/users:80"},
		{"-service", "http://host:80"}, {"-service", "::1:80"}, {"-service", "[::1%zz]:80"},
		{"-redis", ""}, {"-redis", "127.0.0.1:6379"}, {"-redis", "http://:secret@host/"}, {"-redis", "redis://:secret@host:x"}, {"-redis", "redis://:secret@host/x"},
		{"-redis", "redis://:secret@host?pool_size=-1"}, {"-redis", "redis://:secret@host?pool_size=9999999999"}, {"-redis", "redis://:secret@host?max_retries=-7"},
	} {
		code, stdout, stderr := play(t, args...)
		assert.Equal(t, 2, code, "%q", args)
		assert.Empty(t, stdout)
		assert.Regexp(t, `^fleet: .*; -h lists the flags$`, strings.Join(strings.Fields(stderr), " "))
		assert.NotContains(t, stderr, "secret")
	}
}

func TestHelpFitsEightyColumns(t *testing.T) {
	code, stdout, _ := play(t, "-h")
	assert.Zero(t, code)
	assert.Equal(t, usage, stdout)
	for line := range strings.Lines(stdout) {
		assert.LessOrEqual(t, len(line), 1+80, line)
	}
}

func TestWideLinesAreFoldedAtSpaces(t *testing.T) {
	var b strings.Builder
	f := &folder{w: &b}
	long := strings.Repeat("x", 100)
	fmt.Fprintf(f, "%s123456 12 3\n%s123456 1\n%s %s b\n", strings.Repeat("12345678 ", 8), strings.Repeat("12345678 ", 8), long, long)
	assert.Equal(t, strings.Repeat("12345678 ", 8)+"123456\n  12 3\n"+strings.Repeat("12345678 ", 8)+"123456 1\n"+long+"\n  "+long+"\n  b\n", b.String())
}

func TestPasswordComesFromTheEnvironmentOrTheURL(t *testing.T) {
	env := func(string) string { return "from-environment" }
	s, err := parse([]string{"-redis", "rediss://host:1"}, env)
	require.NoError(t, err)
	assert.Equal(t, "from-environment", s.redis.Password)
	assert.NotNil(t, s.redis.TLSConfig)
	s, err = parse([]string{"-redis", "redis://:in-it@host:1"}, env)
	require.NoError(t, err)
	assert.Equal(t, "in-it", s.redis.Password)
}
