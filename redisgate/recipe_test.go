package redisgate_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/redisgate"
)

// The recipe of docs/tutorial.md, and below it what it does. A test in the root
// compares the document with it.

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
// used. The gate serves then too, for this process alone.
func join(ctx context.Context, client redis.UniversalClient) (*redisgate.Gate, error) {
	shared := redisgate.New(client, redisgate.Options{})
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return shared, shared.Ping(ctx)
}

func joins(t *testing.T, client redis.UniversalClient) error {
	defer client.Close()
	shared, err := join(t.Context(), client)
	shared.Close()
	return err
}

func TestRecipeAServerIsJoinedByItsURL(t *testing.T) {
	t.Parallel()
	address := redisgate.StartServer(t, "--requirepass", "secret")
	client, err := one("redis://:secret@" + address)
	require.NoError(t, err)
	assert.NoError(t, joins(t, client))
	client, err = one("redis://:wrong@" + address)
	require.NoError(t, err)
	assert.ErrorContains(t, joins(t, client), "WRONGPASS")

	client, err = one("rediss://:secret@" + address)
	require.NoError(t, err)
	defer client.Close()
	assert.NotNil(t, client.(*redis.Client).Options().TLSConfig)
	_, err = one("http://" + address)
	assert.Error(t, err)
}

func TestRecipeACluster(t *testing.T) {
	t.Parallel()
	address := redisgate.StartServer(t, "--cluster-enabled", "yes", "--requirepass", "secret")
	admin := redis.NewClient(&redis.Options{Addr: address, Password: "secret"})
	defer admin.Close()
	require.NoError(t, admin.Do(t.Context(), "cluster", "addslotsrange", 0, 16383).Err())
	require.Eventually(t, func() bool { return admin.Set(t.Context(), "x", 1, time.Second).Err() == nil }, 20*time.Second, 50*time.Millisecond)
	assert.NoError(t, joins(t, many("secret", "", address)))
}

func TestRecipeTheSentinelsOfAMaster(t *testing.T) {
	t.Parallel()
	host, port, err := net.SplitHostPort(redisgate.StartServer(t, "--requirepass", "secret"))
	require.NoError(t, err)
	sentinel := redisgate.StartSentinel(t, "sentinel monitor main "+host+" "+port+" 1\nsentinel auth-pass main secret")
	assert.NoError(t, joins(t, many("secret", "main", sentinel)))
}
