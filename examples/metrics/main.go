// Command metrics exports an iamhttp.Transport's OpenTelemetry metrics to Prometheus:
// retries, waits, stop reasons and gate pauses.
package main

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"
)

func main() {
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: go run . URL\n\nSends GETs to URL, each ten seconds after the previous call has ended, and\nserves metrics at http://127.0.0.1:9464/metrics.")
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	client, metrics, err := measured()
	if err != nil {
		fmt.Fprintln(os.Stderr, "metrics:", err)
		os.Exit(1)
	}
	go func() {
		for ; ; time.Sleep(10 * time.Second) {
			if resp, err := client.Get(flag.Arg(0)); err != nil {
				fmt.Fprintln(os.Stderr, "metrics:", err)
			} else {
				resp.Body.Close()
			}
		}
	}()
	http.Handle("/metrics", metrics)
	fmt.Fprintln(os.Stderr, "metrics:", http.ListenAndServe("127.0.0.1:9464", nil))
	os.Exit(1)
}
