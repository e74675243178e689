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

// It works without a Redis server too.
func TestRunCallsTheServiceAndPrintsCounts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	l.Close()
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-redis", "127.0.0.1:1", "-service", addr, "-for", "2900ms"}, &out))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 3, out.String())
	sum := 0
	for _, line := range lines[1:] {
		var accepted, throttled int
		_, err = fmt.Sscan(line, &accepted, &throttled)
		require.NoError(t, err)
		sum += accepted
	}
	assert.Positive(t, sum)
}
