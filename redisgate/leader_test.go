package redisgate

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestAHistoryThatSaysNothingIsNotCounted(t *testing.T) {
	o := &opening{at: time.Second, pause: 2 * time.Second}
	o.add(time.Second, "a process of another version", new(history))
	assert.NotNil(t, o.control())
}
