package redisgate_test

import (
	"context"
	"log"
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
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := shared.Ping(ctx); err != nil { // a wrong address or password, or a missing permission
		log.Println(err, "(each process is alone until the server can be used)")
	}
	httpClient := &http.Client{Transport: &iamhttp.Transport{Gate: shared}, Timeout: time.Minute}

	_ = httpClient
}
