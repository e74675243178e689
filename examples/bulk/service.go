package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/iamhttp/iamhttp/examples/sdk/iam"
	"github.com/iamhttp/iamhttp/iamtest"
)

const (
	rate  = 40.0 // the number of requests per second that the service in this process accepts
	burst = 20.0 // the number of requests that the service accepts at once at the start, and after a pause of half a second or more
)

// newService returns an IAM service that can only create users. It limits the rate with a
// token bucket, as many API gateways do.
func newService() *iamtest.Server {
	var (
		mu     sync.Mutex
		users  int
		tokens = burst
		filled = time.Now()
	)
	return &iamtest.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct{ User iam.User }
		body, _ := io.ReadAll(r.Body)
		if json.Unmarshal(body, &in) != nil || r.Method != "POST" || r.URL.Path != "/v3/users" {
			iamtest.Keystone(400, "This service can only create users.").ServeHTTP(w, r)
			return
		}
		mu.Lock()
		now := time.Now()
		tokens = min(burst, tokens+rate*now.Sub(filled).Seconds())
		filled = now
		accepted := tokens >= 1
		if accepted {
			tokens--
			users++
			in.User.ID = strconv.Itoa(users)
		}
		mu.Unlock()
		if !accepted {
			iamtest.Throttled(time.Second).ServeHTTP(w, r)
			return
		}
		answer, _ := json.Marshal(map[string]iam.User{"user": in.User})
		iamtest.Answer{Status: 201, Body: string(answer), Delay: 20 * time.Millisecond}.ServeHTTP(w, r)
	})}
}
