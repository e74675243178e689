package redisgate

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/internal/fleet1"
)

// Long polls make the round trip longer in some processes, and others do not know it.
func TestTheShortestRoundTripOfAllProcessesCounts(t *testing.T) {
	o := &opening{at: time.Minute, pause: time.Minute, asked: time.Second}
	for id, trip := range map[string]time.Duration{"a": 40 * time.Second, "b": 50 * time.Millisecond, "c": 0} {
		marks := []fleet1.Mark{{At: time.Minute}, {Accepted: 10}} // ages: a minute without requests, and then ten at once
		o.add(time.Minute, id, &history{Marks: marks, Flying: 20, Trip: trip})
	}
	assert.Equal(t, 100*time.Millisecond, o.control().Trip(), "the estimate should be at most twice the shortest round trip")
}
