package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// servers are the names that -server accepts.
var servers = []string{nginxLimited, haproxyLimited, nginxOpen}

const (
	nginxLimited   = "nginx"
	haproxyLimited = "haproxy"
	nginxOpen      = "open"
)

// depth is the number of requests that nginx accepts at once.
const depth = 20

// A rig holds the servers, which listen on loopback and keep their files in dir.
type rig struct {
	dir       string
	urls      map[string]string
	processes []*exec.Cmd
	redis     *exec.Cmd
	redisAddr string
}

func startRig(rate int) (g *rig, err error) {
	g = new(rig)
	defer func() {
		if err != nil {
			g.stop()
		}
	}()
	if g.dir, err = os.MkdirTemp("", "iamhttp-fleet-"); err != nil {
		return g, err
	}
	addrs, err := freeAddrs(4)
	if err != nil {
		return g, err
	}
	g.redisAddr = addrs[3]
	g.urls = map[string]string{
		nginxOpen:      "http://" + addrs[0] + "/",
		nginxLimited:   "http://" + addrs[1] + "/",
		haproxyLimited: "http://" + addrs[2] + "/",
	}
	conf := fmt.Sprintf(`daemon off; worker_processes 1; pid %[1]s/nginx.pid; error_log %[1]s/nginx.log crit;
events { worker_connections 8192; }
http {
  access_log off; keepalive_requests 1000000;
  client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
  limit_req_zone $binary_remote_addr zone=account:1m rate=%[2]dr/s;
  limit_req_status 429;
  map $status $retry_after { 429 1; default ""; }
  server { listen %[3]s; location / { return 200 "ok"; } }
  server {
    listen %[4]s;
    location / { limit_req zone=account burst=%[5]d nodelay; add_header Retry-After $retry_after always; proxy_pass http://%[3]s; }
  }
}
`, g.dir, rate, addrs[0], addrs[1], depth-1)
	if err := os.WriteFile(filepath.Join(g.dir, "nginx.conf"), []byte(conf), 0o600); err != nil {
		return g, err
	}
	conf = fmt.Sprintf(`global
  maxconn 8192
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend limited
  bind %s
  stick-table type ip size 10k expire 10s store http_req_rate(1s)
  http-request track-sc0 src
  http-request deny deny_status 429 content-type text/plain string "slow down" hdr Retry-After 1 if { sc_http_req_rate(0) gt %d }
  default_backend open
backend open
  server nginx %s
`, addrs[2], rate, addrs[0])
	if err := os.WriteFile(filepath.Join(g.dir, "haproxy.cfg"), []byte(conf), 0o600); err != nil {
		return g, err
	}
	if err := g.start("nginx", addrs[0], "-e", filepath.Join(g.dir, "nginx.log"), "-c", filepath.Join(g.dir, "nginx.conf")); err != nil {
		return g, err
	}
	if err := g.start("haproxy", addrs[2], "-db", "-f", filepath.Join(g.dir, "haproxy.cfg")); err != nil {
		return g, err
	}
	return g, g.startRedis()
}

// freeAddrs returns n addresses that are not in use.
func freeAddrs(n int) (addrs []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

// command returns the command that starts a server. It also looks for the program in
// /usr/sbin, which is not in the PATH of ordinary users on Debian.
func command(name string, args ...string) (*exec.Cmd, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/" + name); err != nil {
			return nil, fmt.Errorf("%s is needed: apt-get install nginx haproxy redis-server", name)
		}
	}
	return exec.Command(path, args...), nil
}

func (g *rig) start(name, addr string, args ...string) error {
	c, err := command(name, args...)
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	g.processes = append(g.processes, c)
	return listening(name, addr)
}

func listening(name, addr string) error {
	for range 100 {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return c.Close()
		}
		<-time.After(50 * time.Millisecond)
	}
	return fmt.Errorf("%s is not listening on %s", name, addr)
}

func (g *rig) startRedis() error {
	if g.redis != nil {
		return nil
	}
	_, port, err := net.SplitHostPort(g.redisAddr)
	if err != nil {
		return err
	}
	c, err := command("redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", g.dir, "--logfile", filepath.Join(g.dir, "redis.log"), "--save", "")
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	g.redis = c
	return listening("redis-server", g.redisAddr)
}

func (g *rig) stopRedis() {
	if g.redis != nil {
		g.redis.Process.Kill()
		g.redis.Wait()
		g.redis = nil
	}
}

// commands returns the number of commands that the Redis server has processed, or 0 if the
// server does not respond.
func (g *rig) commands() int {
	client := redis.NewClient(&redis.Options{Addr: g.redisAddr})
	defer client.Close()
	stats, err := client.Info(context.Background(), "stats").Result()
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(stats, "total_commands_processed:")
	n, _ := strconv.Atoi(strings.TrimSpace(rest[:max(strings.IndexByte(rest, '\n'), 0)]))
	return n
}

func (g *rig) stop() {
	g.stopRedis()
	for _, c := range g.processes {
		// Kill would leave nginx's worker process running.
		c.Process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(5*time.Second, func() { c.Process.Kill() })
		c.Wait()
		late.Stop()
	}
	if g.dir != "" {
		os.RemoveAll(g.dir)
	}
}
