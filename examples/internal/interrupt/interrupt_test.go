package interrupt

import (
	"os"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestContextEndsOnCtrlCAndOnSIGTERM(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot send itself these signals on Windows")
	}
	self, err := os.FindProcess(os.Getpid())
	require.NoError(t, err)
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		ctx, stop := Context()
		require.NoError(t, self.Signal(s))
		<-ctx.Done()
		stop()
	}
}
