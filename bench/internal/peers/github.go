package peers

import (
	"io"
	"net/http"
	"strings"
)

// githubBody makes the 429 of any server GitHub's.
type githubBody struct{ base http.RoundTripper }

func (g githubBody) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := g.base.RoundTrip(req)
	if err == nil && resp.StatusCode == http.StatusTooManyRequests {
		resp.Body.Close()
		resp.Body = io.NopCloser(strings.NewReader(`{"message":"You have exceeded a secondary rate limit."}`))
	}
	return resp, err
}
