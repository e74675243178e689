// Command redisgate uses module redisgate. No Redis server listens at the address that it
// uses; calls must succeed without one.
package main

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/redisgate"
)

func main() {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		log.Fatal(err)
	}
	logging.Disable() // go-redis would log the failed connections
	redisClient := redis.NewClient(&redis.Options{Addr: closed.Addr().String()})
	defer redisClient.Close()
	shared := redisgate.New(redisClient, redisgate.Options{})
	defer shared.Close()

	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "[]") }))
	defer service.Close()
	client := &http.Client{Transport: &iamhttp.Transport{Gate: shared}}
	resp, err := client.Get(service.URL)
	if err != nil {
		log.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		log.Fatal(err)
	}
}
