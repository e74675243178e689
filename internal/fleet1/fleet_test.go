package fleet1

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/internal/bracket"
)

// After a process has made a Controller from a History, it may still send that History to
// a leader.
func TestAHistoryIsNotChangedByItsController(t *testing.T) {
	h := History{Now: 2 * time.Second, Marks: []bracket.Mark{{At: time.Second}, {At: 2 * time.Second, Accepted: 10}}}
	want := slices.Clone(h.Marks)
	c := h.Close(time.Second)
	now := 3 * time.Second
	for range 3 {
		require.LessOrEqual(t, c.Next(now, 1), now)
		s := c.Sent(now, 1)
		now += time.Second
		c.Accepted(now, s)
	}
	assert.Equal(t, want, h.Marks)
}
