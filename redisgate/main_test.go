package redisgate

import (
	"flag"
	"os"
	"testing"
)

// Those of the tests that take time wait, for a pause or for a server: they are
// run together, however few processors there are. -parallel overrides it.
func TestMain(m *testing.M) {
	flag.Set("test.parallel", "16")
	os.Exit(m.Run())
}
