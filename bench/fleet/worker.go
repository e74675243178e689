package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/redisgate"
)

// An order tells a worker process what to do.
type order struct {
	URL, Client, Redis, Namespace string
	Callers, Calls                int
}

// A report holds a worker process's results.
type report struct {
	Sends  []send
	Failed int
	Err    string // a failed call's error text; empty: no call failed
}

// A send is one request, with its response.
type send struct {
	At, Answered int64 // when the request was sent, and when its response arrived; Unix time in µs
	Status       int   // 0: no response
	RetryAfter   int   // seconds
}

// work is the main function of a worker. It reads its order, prints ready, waits for the
// next line of input, makes the calls, and prints its report.
func work(in io.Reader, out io.Writer) error {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	redis.SetLogger(quiet{})
	lines := bufio.NewReader(in)
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return err
	}
	var o order
	if err := json.Unmarshal(line, &o); err != nil {
		return err
	}
	base := &recorder{base: &http.Transport{MaxIdleConnsPerHost: o.Callers}}
	transport := &iamhttp.Transport{Base: base}
	switch o.Client {
	case noGate:
	case localGates:
		transport.Gate = new(gate.Adaptive)
	default:
		client := redis.NewClient(&redis.Options{Addr: o.Redis})
		defer client.Close()
		shared := redisgate.New(client, redisgate.Options{Namespace: o.Namespace})
		defer shared.Close()
		transport.Gate = shared
	}
	fmt.Fprintln(out, "ready")
	if _, err := lines.ReadBytes('\n'); err != nil {
		return err
	}
	go func() { // exit when the parent process exits
		io.Copy(io.Discard, lines)
		os.Exit(1)
	}()
	var failed atomic.Int64
	var text atomic.Value
	var left atomic.Int64
	left.Store(int64(o.Calls))
	client := &http.Client{Transport: transport}
	var callers sync.WaitGroup
	for range o.Callers {
		callers.Go(func() {
			for left.Add(-1) >= 0 {
				if err := get(client, o.URL); err != nil {
					failed.Add(1)
					text.Store(err.Error())
				}
			}
		})
	}
	callers.Wait()
	r := report{Sends: base.sends, Failed: int(failed.Load())}
	r.Err, _ = text.Load().(string)
	return json.NewEncoder(out).Encode(r)
}

func get(client *http.Client, url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// A recorder records every request that is sent.
type recorder struct {
	base  http.RoundTripper
	mu    sync.Mutex
	sends []send
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	s := send{At: time.Now().UnixMicro()}
	resp, err := r.base.RoundTrip(req)
	s.Answered = time.Now().UnixMicro()
	if err == nil {
		s.Status = resp.StatusCode
		s.RetryAfter, _ = strconv.Atoi(resp.Header.Get("Retry-After"))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sends = append(r.sends, s)
	return resp, err
}

// A worker is a process of the fleet, as seen from the parent process.
type worker struct {
	command *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
}

func startWorker(command *exec.Cmd, o order) (*worker, error) {
	in, err := command.StdinPipe()
	out, err2 := command.StdoutPipe()
	command.Stderr = os.Stderr
	if err := cmp.Or(err, err2, command.Start()); err != nil {
		return nil, err
	}
	w := &worker{command, in, bufio.NewReader(out)}
	return w, json.NewEncoder(in).Encode(o)
}

func (w *worker) ready() error {
	line, err := w.out.ReadString('\n')
	if err == nil && line != "ready\n" {
		err = errors.New("a worker did not print ready, but printed " + line)
	}
	return err
}

func (w *worker) begin() error {
	_, err := io.WriteString(w.in, "begin\n")
	return err
}

func (w *worker) report() (r report, err error) {
	if err := json.NewDecoder(w.out).Decode(&r); err != nil {
		return r, err
	}
	return r, w.command.Wait()
}

// kill ends the process if it is still running.
func (w *worker) kill() {
	if w.command.ProcessState == nil {
		w.command.Process.Kill()
		w.command.Wait()
	}
}

// quiet keeps go-redis from writing to standard error.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}
