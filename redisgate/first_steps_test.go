package redisgate_test

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/iamhttp/iamhttp/redisgate"
)

// one takes redis://user:password@host:6379, or rediss:// for TLS.
func one(url string) (redis.UniversalClient, error) {
	options, err := redis.ParseURL(url)
	if err != nil {
		return nil, err
	}
	return redis.NewClient(options), nil
}

// many takes the nodes of a cluster or, with the name of a master, Sentinels.
func many(password, master string, addresses ...string) redis.UniversalClient {
	return redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs:         addresses,
		MasterName:    master,
		IsClusterMode: master == "",
		Password:      password, // and TLSConfig
	})
}

// join returns the gate for this process, and an error if the server cannot be
// used. Even then, the gate works, for this process alone.
func join(ctx context.Context, client redis.UniversalClient) (*redisgate.Gate, error) {
	shared := redisgate.New(client, redisgate.Options{})
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return shared, shared.Ping(ctx)
}
