// Command iamhttp uses the root module.
package main

import (
	"errors"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/iamhttp/iamhttp"
)

func main() {
	service := httptest.NewServer(http.NotFoundHandler())
	defer service.Close()
	client := &http.Client{Transport: &iamhttp.Transport{}}
	resp, err := client.Get(service.URL)
	if !errors.Is(err, iamhttp.ErrNotFound) {
		log.Fatalf("got %v, %v; want ErrNotFound", resp, err)
	}
}
