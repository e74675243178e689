// Command gate uses package gate of the root module.
package main

import (
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
)

func main() {
	service := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer service.Close()
	client := &http.Client{Transport: &iamhttp.Transport{Gate: new(gate.Adaptive)}}
	resp, err := client.Get(service.URL)
	if err != nil {
		log.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		log.Fatal(err)
	}
}
