package iamsdk

import (
	"net/http"
	"strings"
	"time"
)

// Request is a small SDK that does not log in. It sends a request and, after a 502, sends
// it resends times more. Like a real SDK, it is not in the package of the program that uses
// it: here, the program is the tests, which are in package iamsdk_test.
func Request(client *http.Client, method, address, token, body string, resends int) (status int, err error) {
	req, err := http.NewRequest(method, address, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	if token != "" {
		req.Header.Set("X-Auth-Token", token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusBadGateway && resends > 0 {
		time.Sleep(500 * time.Millisecond)
		return Request(client, method, address, token, body, resends-1)
	}
	return resp.StatusCode, nil
}
