package redisgate

import (
	"flag"
	"os"
	"testing"
)

// Slow tests spend most of their time waiting for a pause or for a server, so many of
// them can run in parallel, even on few processors. The -parallel flag overrides this.
func TestMain(m *testing.M) {
	flag.Set("test.parallel", "16")
	os.Exit(m.Run())
}
