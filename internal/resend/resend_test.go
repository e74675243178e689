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
	const url = "https://iam.example/v3/users"
	err := &resend.Error{Err: os.ErrDeadlineExceeded, Attempts: 3, Method: "GET", URL: url}
	assert.EqualError(t, err, os.ErrDeadlineExceeded.Error())
	assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
	assert.True(t, err.Timeout())
	assert.False(t, (&resend.Error{Err: errors.New("reset")}).Timeout())

	wrapped := fmt.Errorf("between: %w", err)
	for name, tt := range map[string]struct {
		err         error
		method, url string
		want        int
		inner       error
	}{
		"an Error":                          {err, "GET", url, 3, os.ErrDeadlineExceeded},
		"an error from between":             {wrapped, "GET", url, 3, wrapped},
		"an error without a count":          {os.ErrClosed, "GET", url, 1, os.ErrClosed},
		"an Error of a changed URL":         {err, "GET", url + "/2", 3, os.ErrDeadlineExceeded},
		"a wrapped Error of another URL":    {wrapped, "GET", url + "/2", 1, wrapped},
		"a wrapped Error of another method": {wrapped, "PUT", url, 1, wrapped},
	} {
		n, inner := resend.Attempts(tt.err, tt.method, tt.url)
		assert.Equal(t, tt.want, n, name)
		assert.Equal(t, tt.inner, inner, name)
	}
}
