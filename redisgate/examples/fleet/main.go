// Command fleet runs one process of a fleet that shares an account. Start it in three
// terminals and watch the processes share the limit. Stop one of them, or the Redis
// server, and start it again. Run the processes with -gate=false to see what happens
// without a gate.
//
// The first process that you start also runs the service, which allows 50 requests per
// second to all processes together. When that process ends, another one takes over the
// service.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/redisgate"
)

const usage = `usage: go run ./redisgate/examples/fleet [flags]

Runs one process of a fleet that shares a limit of 50 requests per second. Start
a Redis or Valkey server, then run this command in three terminals.

  -redis URL         the server (redis://127.0.0.1:6379); use rediss:// for TLS,
                     and set the password in REDIS_PASSWORD or in the URL
  -service HOST:PORT address of the service (127.0.0.1:8429)
  -callers N         callers in this process (20)
  -gate=false        no gate: each call retries by itself
  -for DURATION      how long to run, such as 30s; otherwise until interrupted

Every second, each process prints how many of its requests were accepted and
how many were throttled (429). Within half a minute, the processes together
should reach 50 accepted requests per second, in about equal shares, with an
occasional throttled request. Without a gate, three processes get about as many
throttled requests as accepted ones.

If the Redis server cannot be used, the process reports that and continues with
a gate of its own.

Exit status: 0 on success, 1 if no request was accepted, 2 if the flags are
wrong.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// settings are the values of the flags.
type settings struct {
	redis   *redis.Options
	service string
	callers int
	gate    bool
	length  time.Duration
}

func parse(args []string, getenv func(string) string) (s settings, err error) {
	flags := flag.NewFlagSet("fleet", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	server := flags.String("redis", "redis://127.0.0.1:6379", "")
	flags.StringVar(&s.service, "service", "127.0.0.1:8429", "")
	flags.IntVar(&s.callers, "callers", 20, "")
	flags.BoolVar(&s.gate, "gate", true, "")
	flags.DurationVar(&s.length, "for", 0, "")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if flags.NArg() > 0 {
		return s, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if s.callers < 1 || s.callers > 10_000 || s.length < 0 {
		return s, errors.New("-callers must be from 1 to 10000, and -for must not be negative")
	}
	if !isAddress(s.service) {
		return s, fmt.Errorf("-service must be HOST:PORT, such as 127.0.0.1:8429, not %q", s.service)
	}
	if s.redis, err = redis.ParseURL(*server); err != nil {
		// The error does not show the URL, because the URL may contain a password.
		return s, errors.New("-redis must be a URL such as redis://127.0.0.1:6379")
	}
	if s.redis.PoolSize < 0 || s.redis.PoolSize > 10_000 || s.redis.MaxRetries < -1 { // the client would panic, or send nothing
		return s, errors.New("-redis: pool_size must be from 0 to 10000, and max_retries at least -1")
	}
	if s.redis.Password == "" {
		s.redis.Password = getenv("REDIS_PASSWORD")
	}
	return s, nil
}

// isAddress reports whether the service can listen on addr, and be called with
// http://addr/.
func isAddress(addr string) bool {
	host, port, err := net.SplitHostPort(addr)
	n, portErr := strconv.ParseUint(port, 10, 16)
	u, urlErr := url.Parse("http://" + addr + "/")
	return err == nil && portErr == nil && urlErr == nil && host != "" && n > 0 && u.Host == addr
}

// run is main with its dependencies as parameters. It returns the exit status.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	s, err := parse(args, getenv)
	stderr = &folder{w: stderr}
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "fleet: %v; -h lists the flags\n", err)
		return 2
	}
	if err := s.run(ctx, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "fleet:", err)
		return 1
	}
	return 0
}

func (s settings) run(ctx context.Context, stdout, stderr io.Writer) error {
	if s.length > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.length)
		defer cancel()
	}
	var all sync.WaitGroup
	var counts counter
	transport := &iamhttp.Transport{OnFailure: counts.failure}
	if s.gate {
		redis.SetLogger(quiet{}) // the gate logs what matters
		logger := slog.New(slog.NewTextHandler(stderr, nil))
		// The next lines are all that a process needs to join the fleet.
		client := redis.NewClient(s.redis)
		defer client.Close()
		shared := redisgate.New(client, redisgate.Options{Logger: logger})
		defer shared.Close()
		defer all.Wait()
		transport.Gate = shared
		all.Go(func() { // the gate treats a wrong password like a server that is down
			limited, cancel := context.WithTimeout(ctx, 5*time.Second) // a refused connection is retried for 2 s
			defer cancel()
			if err := client.Ping(limited).Err(); err != nil && ctx.Err() == nil {
				fmt.Fprintf(stderr, "fleet: cannot use the Redis server: %v\n", err)
			}
		})
	}
	httpClient := &http.Client{Transport: transport, Timeout: time.Minute}
	defer all.Wait()
	all.Go(func() { serve(ctx, s.service) })
	for range s.callers {
		all.Go(func() {
			for ctx.Err() == nil {
				counts.call(ctx, httpClient, "http://"+s.service+"/")
			}
		})
	}
	fmt.Fprintln(stdout, "accepted throttled  per second, in this process")
	var accepted, throttled int64
	add := func() (a, t int64) {
		a, t = counts.accepted.Swap(0), counts.throttled.Swap(0)
		accepted, throttled = accepted+a, throttled+t
		return a, t
	}
	for tick := time.NewTicker(time.Second); ; {
		select {
		case <-ctx.Done():
			add()
			fmt.Fprintf(stdout, "%8d %9d  in all\n", accepted, throttled)
			if accepted == 0 {
				return fmt.Errorf("no request was accepted by http://%s/", s.service)
			}
			if s.gate {
				fmt.Fprintln(stdout, "With -gate=false in three processes, about half of the requests are throttled.")
			}
			return nil
		case <-tick.C:
			a, t := add()
			fmt.Fprintf(stdout, "%8d %9d\n", a, t)
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

// call makes one call. If the call fails, for example because the service is not running,
// call waits for 100 ms, or until ctx ends, before it returns.
func (c *counter) call(ctx context.Context, client *http.Client, url string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		panic(err) // cannot happen, because isAddress has checked -service
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

// serve runs the service until ctx ends. While another process is running the service,
// serve waits.
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

// limited is a service whose rate is limited by a token bucket.
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

// A folder breaks lines that are wider than 80 columns at spaces. Each Write must consist
// of whole lines.
type folder struct {
	mu sync.Mutex
	w  io.Writer
}

func (f *folder) Write(p []byte) (int, error) {
	var b strings.Builder
	for line := range strings.Lines(string(p)) {
		column := 0
		for i, word := range strings.Split(strings.TrimSuffix(line, "\n"), " ") {
			switch n := utf8.RuneCountInString(word); {
			case i == 0:
				column = n
			case column+1+n > 80:
				b.WriteString("\n  ")
				column = 2 + n
			default:
				b.WriteByte(' ')
				column += 1 + n
			}
			b.WriteString(word)
		}
		b.WriteByte('\n')
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := io.WriteString(f.w, b.String()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// quiet keeps go-redis from writing to standard error.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}
