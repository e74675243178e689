// Command fleet is one process of a fleet that shares an account. Start it in
// three terminals and watch the processes share the limit. Stop one of them, or
// the Redis server, and start it again.
//
// The first process that you start also runs the service, which allows 50
// requests per second to all processes together. When that process ends, another
// one takes the service over.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/redisgate"
)

const usage = `usage: go run ./redisgate/examples/fleet [-redis ADDRESS] [-service ADDRESS] [-callers N] [-for DURATION]

Start a Redis or Valkey server, then run this command in three terminals. Every
second, each process prints how many of its requests were accepted and how many
were throttled.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("fleet", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	server := flags.String("redis", "127.0.0.1:6379", "address of the Redis or Valkey server")
	service := flags.String("service", "127.0.0.1:8429", "address of the service")
	callers := flags.Int("callers", 20, "callers in this process")
	length := flags.Duration("for", 0, "how long to run; 0: until interrupted")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	}
	if *length > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *length)
		defer cancel()
	}

	redis.SetLogger(quiet{}) // the gate logs what matters
	// A process needs no more than this to be in the fleet.
	client := redis.NewClient(&redis.Options{Addr: *server})
	defer client.Close()
	shared := redisgate.New(client, redisgate.Options{})
	defer shared.Close()
	var counts counter
	httpClient := &http.Client{Transport: &iamhttp.Transport{
		Gate:      shared,
		OnFailure: counts.failure,
	}, Timeout: time.Minute}

	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { serve(ctx, *service) })
	for range *callers {
		all.Go(func() {
			for ctx.Err() == nil {
				counts.call(ctx, httpClient, "http://"+*service+"/")
			}
		})
	}
	fmt.Fprintln(out, "accepted throttled  per second")
	for tick := time.NewTicker(time.Second); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			fmt.Fprintf(out, "%8d %9d\n", counts.accepted.Swap(0), counts.throttled.Swap(0))
		}
	}
}

// A counter counts requests by their outcome.
type counter struct{ accepted, throttled atomic.Int64 }

func (c *counter) failure(_ context.Context, f iamhttp.Failure) {
	if e, ok := f.Status(); ok && errors.Is(e, iamhttp.ErrTooManyRequests) {
		c.throttled.Add(1)
	}
}

// call makes one call. It waits for 100 ms if the call fails, for example while
// no service runs.
func (c *counter) call(ctx context.Context, client *http.Client, url string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		panic(err) // the -service flag holds no valid address
	}
	resp, err := client.Do(req)
	if err != nil {
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
		return
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	c.accepted.Add(1)
}

// serve runs the service unless another process does.
func serve(ctx context.Context, addr string) {
	for ctx.Err() == nil {
		if l, err := net.Listen("tcp", addr); err == nil {
			s := &http.Server{Handler: &limited{rate: 50, depth: 10, at: time.Now()}}
			defer context.AfterFunc(ctx, func() { s.Close() })()
			s.Serve(l)
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// limited is a service that is rate limited by a token bucket.
type limited struct {
	mu          sync.Mutex
	rate, depth float64
	tokens      float64
	at          time.Time
}

func (l *limited) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	if !l.take() {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	io.WriteString(w, "ok\n")
}

func (l *limited) take() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.tokens = min(l.tokens+now.Sub(l.at).Seconds()*l.rate, l.depth)
	l.at = now
	if l.tokens < 1 {
		return false
	}
	l.tokens--
	return true
}

// quiet keeps go-redis from writing to standard error.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}
