package redisgate

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The functions below start servers for the tests in package redisgate_test. Apart from
// these functions, those tests can use only what users of redisgate can use.

// StartServer starts a server and returns its address.
func StartServer(t testing.TB, args ...string) (address string) {
	return startServer(t, args...).addr()
}

// StartSentinel starts a Sentinel and returns its address.
func StartSentinel(t testing.TB, config string) (address string) {
	s := newServer(t)
	file := filepath.Join(s.dir, "sentinel.conf")
	config += "\nport " + s.port + "\nbind 127.0.0.1\ndir " + s.dir + "\nlogfile " + filepath.Join(s.dir, "log") + "\n"
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	s.process = exec.Command(s.binary, file, "--sentinel")
	require.NoError(t, s.process.Start())
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", s.addr())
		if err == nil {
			c.Close()
		}
		return err == nil
	}, 10*time.Second, 10*time.Millisecond, "the Sentinel is not listening")
	return s.addr()
}
