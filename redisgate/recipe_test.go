package redisgate_test

import (
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/iamhttp/iamhttp/redisgate"
)

// These tests run the recipe from docs/tutorial.md, a copy of which is in first_steps_test.go. A
// test in the root package compares the document with that file.

func joins(t *testing.T, client redis.UniversalClient) error {
	defer client.Close()
	shared, err := join(t.Context(), client)
	shared.Close()
	return err
}

func TestRecipeJoinsThroughAServerByItsURL(t *testing.T) {
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

func TestRecipeJoinsThroughACluster(t *testing.T) {
	t.Parallel()
	// By default, the second port could be one that the system has given to a connection.
	address := redisgate.StartServer(t, "--cluster-enabled", "yes", "--cluster-port", redisgate.NextPort(t), "--requirepass", "secret")
	admin := redis.NewClient(&redis.Options{Addr: address, Password: "secret"})
	defer admin.Close()
	require.NoError(t, admin.Do(t.Context(), "cluster", "addslotsrange", 0, 16383).Err())
	require.Eventually(t, func() bool { return admin.Set(t.Context(), "x", 1, time.Second).Err() == nil }, 20*time.Second, 50*time.Millisecond)
	assert.NoError(t, joins(t, many("secret", "", address)))
}

func TestRecipeJoinsThroughSentinels(t *testing.T) {
	t.Parallel()
	host, port, err := net.SplitHostPort(redisgate.StartServer(t, "--requirepass", "secret"))
	require.NoError(t, err)
	sentinel := redisgate.StartSentinel(t, "sentinel monitor main "+host+" "+port+" 1\nsentinel auth-pass main secret")
	assert.NoError(t, joins(t, many("secret", "main", sentinel)))
}
