package resend_test

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/internal/resend"
)

func TestTheAttemptsThatLedToAnErrorAreCounted(t *testing.T) {
	err := &resend.Error{Err: os.ErrDeadlineExceeded, Attempts: 3}
	assert.EqualError(t, err, os.ErrDeadlineExceeded.Error())
	assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
	assert.True(t, err.Timeout())
	assert.False(t, (&resend.Error{Err: errors.New("reset")}).Timeout())

	n, inner := resend.Attempts(err)
	assert.Equal(t, 3, n)
	assert.Equal(t, os.ErrDeadlineExceeded, inner)
	wrapped := fmt.Errorf("between: %w", err)
	n, inner = resend.Attempts(wrapped)
	assert.Equal(t, 3, n)
	assert.Equal(t, wrapped, inner, "an error from a RoundTripper in between must be kept")
	n, inner = resend.Attempts(os.ErrClosed)
	assert.Equal(t, 1, n)
	assert.Equal(t, os.ErrClosed, inner)
}
