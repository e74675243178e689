// Command metrics exports an iamhttp.Transport's OpenTelemetry metrics to Prometheus:
// retries, waits, stop reasons and gate pauses.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"
)

const usage = `usage: go run ./examples/metrics URL

Sends GETs to URL, each ten seconds after the previous call has ended, and
serves metrics at http://127.0.0.1:9464/metrics.
`

// parse returns the URL in the arguments.
func parse(args []string) (string, error) {
	flags := flag.NewFlagSet("metrics", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	if err := flags.Parse(args); err != nil {
		return "", err
	}
	u, err := url.Parse(flags.Arg(0))
	if err != nil || flags.NArg() != 1 || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || !isPort(u.Port()) {
		return "", errors.New("want one argument, a URL such as http://127.0.0.1:13357/v3/users/alice")
	}
	return flags.Arg(0), nil
}

// isPort reports whether port is the number of a TCP port, or empty.
func isPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

func main() {
	address, err := parse(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Print(usage)
		os.Exit(0)
	case err != nil:
		fmt.Fprintf(os.Stderr, "metrics: %v; -h prints help\n", err)
		os.Exit(2)
	}
	client, metrics, err := measured()
	if err != nil {
		fmt.Fprintln(os.Stderr, "metrics:", err)
		os.Exit(1)
	}
	l, err := net.Listen("tcp", "127.0.0.1:9464")
	if err != nil {
		fmt.Fprintln(os.Stderr, "metrics:", err)
		os.Exit(1)
	}
	fmt.Fprintf(os.Stderr, "metrics: serving http://%s/metrics until you press Ctrl-C\n", l.Addr())
	go func() {
		for ; ; time.Sleep(10 * time.Second) {
			if resp, err := client.Get(address); err != nil {
				fmt.Fprintln(os.Stderr, "metrics:", err)
			} else {
				resp.Body.Close()
			}
		}
	}()
	http.Handle("/metrics", metrics)
	fmt.Fprintln(os.Stderr, "metrics:", http.Serve(l, nil))
	os.Exit(1)
}
