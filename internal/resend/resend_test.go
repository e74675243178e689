package resend_test

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp/internal/resend"
)

func TestAnErrorTellsATransportAboveItsAttemptsAndWhetherItWasReported(t *testing.T) {
	err := &resend.Error{Err: os.ErrDeadlineExceeded, Attempts: 3, Reported: "https://iam.example/"}
	assert.EqualError(t, err, os.ErrDeadlineExceeded.Error())
	assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
	assert.True(t, err.Timeout())
	assert.False(t, (&resend.Error{Err: errors.New("reset")}).Timeout())

	assert.Equal(t, *err, resend.Below(err))
	wrapped := fmt.Errorf("between: %w", err)
	assert.Equal(t, resend.Error{Err: wrapped, Attempts: 3, Reported: "https://iam.example/"}, resend.Below(wrapped), "an error from a RoundTripper in between must be kept")
	assert.Equal(t, resend.Error{Err: os.ErrClosed, Attempts: 1}, resend.Below(os.ErrClosed))
}
