package redisgate

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The functions below start servers for the tests in package redisgate_test. Apart from
// these functions, those tests can use only what users of redisgate can use.

// StartServer starts a server and returns its address.
func StartServer(t testing.TB, args ...string) (address string) {
	return startServer(t, args...).addr()
}

// NextPort returns a port that nobody uses.
func NextPort(t testing.TB) string { return nextPort(t) }

// StartSentinel starts a Sentinel and returns its address.
func StartSentinel(t testing.TB, config string) (address string) {
	s := newServer(t)
	file := filepath.Join(s.dir, "sentinel.conf")
	config += "\nport " + s.port + "\nbind 127.0.0.1\ndir " + s.dir + "\nlogfile " + filepath.Join(s.dir, "log") + "\n"
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	s.process = exec.Command(s.binary, file, "--sentinel")
	require.NoError(t, s.process.Start())
	s.listens()
	return s.addr()
}
