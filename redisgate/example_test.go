package redisgate_test

import (
	"net/http"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/redisgate"
)

func ExampleNew() {
	client := redis.NewClient(&redis.Options{Addr: "redis:6379"}) // or Sentinel, or a cluster
	shared := redisgate.New(client, redisgate.Options{})
	defer shared.Close()
	httpClient := &http.Client{Transport: &iamhttp.Transport{Gate: shared}, Timeout: time.Minute}

	_ = httpClient
}
