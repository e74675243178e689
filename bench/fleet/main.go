// Fleet measures how many processes that share an account load a server with a
// rate limit, and how many of their calls succeed: without a gate, with a gate in
// each process, and with redisgate between them. Processes and servers are real;
// everything stays on loopback. It needs nginx, haproxy and redis-server.
//
//	go run ./fleet                      20 processes of 50 callers, a minute of work: a quarter of an hour in all
//	go run ./fleet -svg DIR             and drawn
//	go run ./fleet -ideal 10s -client redisgate -server nginx
//
// nginx is a token bucket (limit_req, nodelay). HAProxy is a stick table, which counts
// throttled requests too. Both send Retry-After: 1. The third server is nginx without
// a limit; it shows what the open path costs the Redis server. The work takes an ideal
// scheduler as long as -ideal says. It is divided evenly among the processes, which
// begin together.
//
// "Time" is the time from the beginning to the last success, divided by the ideal's for
// as many successes. It is left out if a tenth of the calls failed or processes were
// killed, because it means nothing then. "Sent while told to wait" counts requests that
// were sent while a Retry-After was in force that any of the processes had received at
// least 10 ms before. Jain's index tells how evenly the calls were served among the
// processes when the first of them had finished; 1 is evenly. Commands are those that
// the Redis server has counted, commands inside scripts included.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/iamhttp/iamhttp/bench/internal/cli"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "worker" {
		if err := work(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "fleet: worker:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(cli.Run("fleet", usage, func() error { return run(os.Args[1:], os.Stdout) }, os.Stdout, os.Stderr))
}

const usage = `usage: go run ./fleet [flags]

Measures how many processes that share an account load a server with a rate
limit, and how many of their calls succeed. Processes and servers are real;
everything stays on loopback. It needs nginx, haproxy and redis-server, and
takes twenty minutes with its defaults.

  -processes N     how many processes (20)
  -callers N       callers in each (50)
  -rate N          requests per second that the server allows (100)
  -ideal DURATION  how long the work takes an ideal scheduler (1m)
  -client NAMES    clients, separated by commas: none, gates (one in each
                   process), redisgate, redisgate-lost (the Redis server is
                   killed half way), redisgate-dies (a quarter of the processes
                   is killed); all if not set
  -server NAMES    servers, all if not set; a wrong name lists them
  -svg DIR         draw the requests over time into this directory

Exit status: 0 if it was measured, 1 if something failed, 2 if the flags are
wrong.
`

// The clients that are compared.
var clients = []string{noGate, localGates, oneGate, losesRedis, losesMembers}

const (
	noGate       = "none"
	localGates   = "gates" // each process has one of its own
	oneGate      = "redisgate"
	losesRedis   = "redisgate-lost" // the Redis server is killed half way
	losesMembers = "redisgate-dies" // a quarter of the processes are killed
)

// A plan says what one run does.
type plan struct {
	client    string
	server    string
	processes int
	callers   int // in each process
	calls     int // of each process
	rate      int // that the server allows, requests per second
	ideal     time.Duration
}

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("fleet", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	var (
		processes = flags.Int("processes", 20, "")
		callers   = flags.Int("callers", 50, "")
		rate      = flags.Int("rate", 100, "")
		ideal     = flags.Duration("ideal", time.Minute, "")
		client    = flags.String("client", strings.Join(clients, ","), "")
		server    = flags.String("server", strings.Join(servers, ","), "")
		svgDir    = flags.String("svg", "", "")
	)
	if err := cli.Parse(flags, args); err != nil {
		return err
	}
	if *processes < 1 || *callers < 1 || *rate < 1 || *ideal <= 0 {
		return cli.Wrong(errors.New("-processes, -callers, -rate and -ideal must be positive"))
	}
	for names, known := range map[string][]string{*client: clients, *server: servers} {
		for name := range strings.SplitSeq(names, ",") {
			if !slices.Contains(known, name) {
				return cli.Wrong(fmt.Errorf("%q is none of %v", name, known))
			}
		}
	}
	if *svgDir != "" { // fail now, and not after minutes
		if err := os.MkdirAll(*svgDir, 0o755); err != nil {
			return err
		}
	}
	rig, err := startRig(*rate)
	if err != nil {
		return err
	}
	defer rig.stop()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, func() { // the servers must not outlive us
		rig.stop()
		os.Exit(1)
	})()
	for server := range strings.SplitSeq(*server, ",") {
		var results []result
		for client := range strings.SplitSeq(*client, ",") {
			if server == nginxOpen && client != oneGate {
				continue
			}
			p := plan{
				client: client, server: server, processes: *processes, callers: *callers, rate: *rate, ideal: *ideal,
				calls: int(ideal.Seconds() * float64(*rate) / float64(*processes)),
			}
			r, err := rig.run(p)
			if err != nil {
				return fmt.Errorf("%s against %s: %w", client, server, err)
			}
			fmt.Fprintf(os.Stderr, "%s, %s: %.2f sent per success, %d failed, %.1f s\n", server, client, r.perOK(), r.failed, r.makespan.Seconds())
			results = append(results, r)
		}
		if len(results) == 0 {
			continue
		}
		writeTable(out, results)
		if *svgDir != "" {
			file := filepath.Join(*svgDir, "fleet-"+server+".svg")
			if err := os.WriteFile(file, draw(results), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// run starts the processes, lets them begin together, and collects their reports.
func (g *rig) run(p plan) (result, error) {
	if err := g.startRedis(); err != nil {
		return result{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return result{}, err
	}
	o := order{URL: g.urls[p.server], Callers: p.callers, Calls: p.calls, Client: p.client, Redis: g.redisAddr, Namespace: fmt.Sprint(time.Now().UnixNano())}
	workers := make([]*worker, p.processes)
	defer func() {
		for _, w := range workers {
			if w != nil {
				w.kill()
			}
		}
	}()
	for i := range workers {
		if workers[i], err = startWorker(exec.Command(self, "worker"), o); err != nil {
			return result{}, err
		}
	}
	for _, w := range workers {
		if err := w.ready(); err != nil {
			return result{}, err
		}
	}
	before := g.commands()
	begin := time.Now()
	for _, w := range workers {
		if err := w.begin(); err != nil {
			return result{}, err
		}
	}
	var dead []*worker
	switch p.client {
	case losesRedis:
		<-time.After(p.ideal / 2)
		g.stopRedis()
	case losesMembers: // the remaining calls of the killed processes are not made
		<-time.After(p.ideal / 4)
		dead = workers[:p.processes/4]
		for _, w := range dead {
			w.kill()
		}
	}
	r := result{plan: p, begin: begin}
	for _, w := range workers {
		if slices.Contains(dead, w) {
			continue
		}
		rep, err := w.report()
		if err != nil {
			return result{}, errors.Join(err, errors.New("a process did not report"))
		}
		r.reports = append(r.reports, rep)
	}
	if p.client == oneGate || p.client == losesMembers {
		r.commands = g.commands() - before
	}
	r.dead = len(dead)
	r.reckon()
	return r, nil
}
