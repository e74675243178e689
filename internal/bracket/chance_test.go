package bracket

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// judged returns the pace after an epoch in which the given number of requests were
// accepted before one was refused at the given pace. A silence of 5 s came before.
func judged(c *Controller, pace, accepted float64) float64 {
	c.pace = pace / 2 // as if the pace had been blamed
	c.byChance(100*sec, epoch{accepted: accepted, took: accepted / pace, silence: 5, pace: pace})
	return c.pace
}

func TestBestPaceIsTriedAgainAfterRareRefusalsAtALowPace(t *testing.T) {
	c := paced()
	c.best = 20
	for range leastPatient - 1 {
		assert.Equal(t, 2.0, judged(c, 4, 100))
	}
	assert.Equal(t, 20.0, judged(c, 4, 100), "the best pace should be tried again after four refusals at a low pace")
	assert.Equal(t, 20.0, judged(c, 20, 100), "a refusal should not lower the pace, because it may be random")
	assert.Equal(t, 25.0, judged(c, 20, 200), "the pace should rise as long as sending takes longer than the silence")
	assert.Equal(t, 20.0, judged(c, 25, 10), "one short epoch should not lower the pace below the best one")
}

func TestBestPaceIsAbandonedIfItIsRefusedMoreOften(t *testing.T) {
	for name, accepted := range map[string]float64{
		"fewer than half as many are accepted per refusal": 40,
		"more than one in 32 requests is refused":          30,
	} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.best = 20
			for range leastPatient {
				judged(c, 4, 100)
			}
			assert.Equal(t, 10.0, judged(c, 20, accepted))
			for range 2*leastPatient - 1 {
				assert.Equal(t, 2.0, judged(c, 4, 100), "the next attempt should come after twice as many epochs")
			}
			assert.Equal(t, 20.0, judged(c, 4, 100))
		})
	}
}

// A fault refused requests at random, and is over. The next refusal is due to a limit.
func TestRefusalsAreNotRandomAnyLongerAfterALongEpoch(t *testing.T) {
	for name, tt := range map[string]struct{ low, high, accepted, want float64 }{
		"ten times as many as usual: the pace rises": {100, 100, 1000, 25},
		"more: the pace is blamed":                   {100, 100, 1001, 10},
		"usual at the low pace":                      {100, 60, 1000, 25},
		"usual at the best pace":                     {50, 100, 1000, 25},
		"the first epoch at the best pace, too":      {50, 0, 501, 10},
	} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.best = 20
			for range leastPatient {
				judged(c, 4, tt.low)
			}
			require.True(t, c.chance.found)
			if tt.high > 0 {
				require.Equal(t, 20.0, judged(c, 20, tt.high))
			}
			assert.InDelta(t, tt.want, judged(c, 20, tt.accepted), 1e-9)
		})
	}
}

func TestRefusalsAreNotAssumedToBeRandom(t *testing.T) {
	for name, tt := range map[string]struct{ pace, accepted float64 }{
		"if they happen close to the best pace":                {18, 100},
		"if more than one in 32 requests is refused":           {4, 30},
		"if the low pace yields at least half of the best one": {12, 500},
	} {
		t.Run(name, func(t *testing.T) {
			c := paced()
			c.best = 20
			for range 3 * mostPatient {
				assert.Equal(t, tt.pace/2, judged(c, tt.pace, tt.accepted))
			}
		})
	}
}
