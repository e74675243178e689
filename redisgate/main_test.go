package redisgate

import (
	"flag"
	"os"
	"testing"
)

// TestMain lets up to 16 tests run in parallel, even on a machine with few processors,
// because slow tests spend most of their time waiting for a pause or for a server. The
// -parallel flag overrides this number.
func TestMain(m *testing.M) {
	flag.Set("test.parallel", "16")
	os.Exit(m.Run())
}
