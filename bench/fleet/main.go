// Fleet measures how many requests a server with a rate limit gets from processes that
// share an account, and how many of their calls succeed: without a gate, with a gate in
// each process, and with redisgate. The processes and servers are real; everything stays
// on loopback. Fleet needs nginx, haproxy and redis-server.
//
//	go run ./fleet                      run everything; takes 20 minutes
//	go run ./fleet -svg DIR             also draw pictures
//	go run ./fleet -ideal 10s -client redisgate -server nginx
//
// By default there are 20 processes with 50 callers each, and enough calls for a minute.
//
// nginx limits requests with a token bucket (limit_req, nodelay). HAProxy limits them
// with a stick table, which counts throttled requests too. Both send Retry-After: 1. The
// third server is nginx without a limit; it shows how much load redisgate puts on the
// Redis server while nothing is throttled, and is skipped with any other client. -ideal is
// the time that an ideal scheduler would need for all calls if the servers accepted no
// bursts. Each process makes the same number of calls, and all processes start together.
//
// "Time" is the time from the start to the last success, divided by the time that an
// ideal scheduler would need for the same number of successful calls. This ratio is left
// out if at least a tenth of the calls failed, or if processes were killed, because it
// would then be meaningless. "Sent while told to wait" counts the requests that were sent
// while a Retry-After was in force. A Retry-After that one process receives applies to
// all processes, beginning 10 ms later. Jain's index shows how evenly the successful
// calls were distributed among the processes when the first process finished; 1 is
// perfectly even. "Commands per request" counts the commands that the Redis server ran,
// including those inside scripts.
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

Measures how many requests a server with a rate limit gets from processes that
share an account, and how many of their calls succeed. The processes and servers
are real; everything stays on loopback. Fleet needs nginx, haproxy and
redis-server. With default flags, it takes twenty minutes.

  -processes N     number of processes (20)
  -callers N       number of callers in each process (50)
  -rate N          requests per second that the server allows (100)
  -ideal DURATION  time that an ideal scheduler would need for all calls,
                   without bursts (1m)
  -client NAMES    clients, separated by commas: none, gates (one in each
                   process), redisgate, redisgate-lost (the Redis server is
                   killed halfway), redisgate-dies (a quarter of the processes
                   are killed); without this flag, all of them
  -server NAMES    servers, separated by commas: nginx, haproxy, open (nginx
                   without a limit, only with the client redisgate); without
                   this flag, all of them
  -svg DIR         write pictures of the requests over time to this directory

An unknown name is an error that lists the known names. Exit status: 0 on
success, 2 if the flags are wrong, 1 on any other error or after an interrupt. A
call that fails is not an error.
`

// clients are the names that -client accepts.
var clients = []string{noGate, localGates, oneGate, losesRedis, losesMembers}

const (
	noGate       = "none"
	localGates   = "gates" // each process has its own gate
	oneGate      = "redisgate"
	losesRedis   = "redisgate-lost" // the Redis server is killed halfway
	losesMembers = "redisgate-dies" // a quarter of the processes are killed
)

// A plan describes one run.
type plan struct {
	client    string
	server    string
	processes int
	callers   int           // callers in each process
	calls     int           // calls that each process makes
	rate      int           // requests per second that the server allows
	ideal     time.Duration // time that an ideal scheduler would need for all calls, without bursts
}

func run(args []string, out io.Writer) (err error) {
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
	switch {
	case *processes < 1 || *processes > 1000 || *callers < 1 || *callers > 10_000:
		return cli.Wrong(errors.New("-processes must be from 1 to 1000, and -callers from 1 to 10000"))
	case *rate < 1 || *rate > 1_000_000 || *ideal <= 0 || *ideal > 24*time.Hour:
		return cli.Wrong(errors.New("-rate must be from 1 to 1000000, and -ideal positive and at most 24h"))
	case int(ideal.Seconds()*float64(*rate)) < *processes:
		return cli.Wrong(errors.New("-ideal is too short: each process must make at least one call"))
	}
	for names, known := range map[string][]string{*client: clients, *server: servers} {
		for name := range strings.SplitSeq(names, ",") {
			if !slices.Contains(known, name) {
				return cli.Wrong(fmt.Errorf("unknown name %q; the known names are %v", name, known))
			}
		}
	}
	flags.Visit(func(f *flag.Flag) {
		if f.Name == "server" && slices.Contains(strings.Split(*server, ","), nginxOpen) && !slices.Contains(strings.Split(*client, ","), oneGate) {
			err = cli.Wrong(fmt.Errorf("-server %s needs -client %s", nginxOpen, oneGate))
		}
	})
	if err != nil {
		return err
	}
	if *svgDir != "" { // fail now, not after minutes of measuring
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
	finish := context.AfterFunc(ctx, func() { // the servers must not outlive this process
		rig.stop()
		fmt.Fprintln(os.Stderr, "fleet: interrupted")
		os.Exit(1)
	})
	defer func() {
		if !finish() {
			select {} // the process is about to exit; an interrupt also makes measurements fail
		}
	}()
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

// run starts the processes, makes them begin at the same time, and collects their reports.
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
	case losesMembers: // nobody makes the remaining calls of the killed processes
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
