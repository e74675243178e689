package answer

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The first failure of a process makes the phrases, so that they count as its memory.
func TestPhrasesAllocateLessThan64KiB(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	known := makePhrases()
	runtime.ReadMemStats(&after)
	assert.True(t, known["notfound"])
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<10))
}
