// Command iamotel uses module iamotel.
package main

import (
	"errors"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/iamotel"
)

func main() {
	service := httptest.NewServer(http.NotFoundHandler())
	defer service.Close()
	telemetry := new(iamotel.Telemetry)
	client := &http.Client{Transport: &iamhttp.Transport{Base: telemetry.Spans(nil)}}
	resp, err := client.Get(service.URL)
	if !errors.Is(err, iamhttp.ErrNotFound) {
		log.Fatalf("got %v, %v; want ErrNotFound", resp, err)
	}
}
