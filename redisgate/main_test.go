package redisgate

import (
	"flag"
	"os"
	"testing"
)

// The slow tests mostly wait, for a pause or for a server, so that many of them run
// in parallel, even with few processors. -parallel overrides it.
func TestMain(m *testing.M) {
	flag.Set("test.parallel", "16")
	os.Exit(m.Run())
}
