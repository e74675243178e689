package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/iamhttp/iamhttp/iamtest"
)

// usualAddress is the address in the documentation. Its port is below those that Linux,
// macOS and Windows use for outgoing connections (32768 or 49152 and above), so the port
// is rarely in use. If it is in use, serve listens on another port.
const usualAddress = "127.0.0.1:13357"

// serve runs the service until the context ends. Programs can call the service without
// logging in. Every other request is throttled, so that programs see a retry.
func serve(ctx context.Context, stdout io.Writer) error {
	l, err := net.Listen("tcp", usualAddress)
	if err != nil {
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return err
		}
	}
	s := newService()
	s.users = []user{{ID: "alice", Name: "Alice"}}
	api := s.Handler
	var requests atomic.Int64
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1)%2 == 1 {
			iamtest.Throttled(time.Second).ServeHTTP(w, r)
			return
		}
		r.Header.Set("X-Auth-Token", cmp.Or(r.Header.Get("X-Auth-Token"), s.token))
		api.ServeHTTP(w, r)
	})
	s.server = &http.Server{Handler: s}
	context.AfterFunc(ctx, s.close)

	fmt.Fprintf(stdout, `The service runs until you press Ctrl-C. It responds to every other request
with a 429 and Retry-After: 1, so that you can see a retry.

http://%[1]s/v3/users/alice    exists
http://%[1]s/v3/users/bob      does not exist (404)
`, l.Addr())
	if err := s.server.Serve(l); err != http.ErrServerClosed {
		return err
	}
	return nil
}
