//go:build !go1.27

package roundtriptest_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/roundtriptest"
)

// From Go 1.27 on, net/http reads the rest of a short body when the body is closed, and
// reuses the connection.
func TestTrapDetectsThatAnInterimResponseIsClosedWithoutBeingRead(t *testing.T) {
	for trap := range roundtriptest.Traps() {
		if trap.Name != "the connection of a retried response is reused" {
			continue
		}
		err := trap.Check(t, func(base http.RoundTripper) http.RoundTripper {
			unread := func(base http.RoundTripper, req *http.Request) (*http.Response, error) {
				resp, err := base.RoundTrip(req)
				if err == nil && resp != nil && resp.StatusCode == 429 && resp.Body != nil {
					resp.Body = struct {
						io.Reader
						io.Closer
					}{strings.NewReader(""), resp.Body}
				}
				return resp, err
			}
			return &iamhttp.Transport{Base: below{base, unread}, PassThrough: true}
		}, passThrough)
		assert.ErrorContains(t, err, "connections instead of 1")
		return
	}
	t.Error("there is no trap with this name")
}
