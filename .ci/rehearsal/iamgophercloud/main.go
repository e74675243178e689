// Command iamgophercloud uses module iamgophercloud.
package main

import (
	"context"
	"errors"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/adapters/iamgophercloud"
)

func main() {
	service := httptest.NewServer(http.NotFoundHandler())
	defer service.Close()
	client := new(gophercloud.ProviderClient)
	iamgophercloud.Configure(client, nil)
	_, err := client.Request(context.Background(), "GET", service.URL, new(gophercloud.RequestOpts))
	if !errors.Is(err, iamhttp.ErrNotFound) || !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		log.Fatalf("got %v; want ErrNotFound, and gophercloud's own error", err)
	}
}
