package redisgate

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// names are the names of the fleet's keys and channels on the server.
type names struct {
	prefix   string // prefix of all keys and channels
	members  string // key of the sorted set of processes, ordered by their latest sign of life
	accounts string // key of the hash of throttled accounts
	all      string // channel that all processes subscribe to
}

// newNames returns the names of a fleet. The names contain the seam number, so that
// processes with different seam numbers, which do not understand each other, form
// different fleets. The names also contain the number of a database other than 0, because
// the databases of a server share its channels, though not its keys.
func newNames(namespace, seamNumber string, database int) names {
	p := "{" + namespace + "}:" + seamNumber // the braces keep all keys on one node of a cluster
	if database != 0 {
		p += fmt.Sprint(":db", database)
	}
	return names{prefix: p, members: p + ":members", accounts: p + ":accounts", all: p + ":all"}
}

// databaseOf returns the number of the client's database, or 0 if the client does not
// reveal it. A cluster has only database 0.
func databaseOf(client redis.UniversalClient) int {
	if c, ok := client.(interface{ Options() *redis.Options }); ok { // a *redis.Client, or a struct that embeds one
		return c.Options().DB
	}
	return 0
}

// poolOf returns the maximum number of connections that a client keeps to a server, or 0 if
// it is not known.
func poolOf(client redis.UniversalClient) int {
	switch c := client.(type) {
	case interface{ Options() *redis.Options }:
		return c.Options().PoolSize
	case interface{ Options() *redis.ClusterOptions }:
		return c.Options().PoolSize
	}
	return 0
}

// inbox returns the channel that only the process with the given ID subscribes to.
func (n names) inbox(id string) string { return n.prefix + ":" + id }

const nameLength = 32 // hex digits

// of returns the name of the account with the given key. The name hides a key that nobody
// can guess, but anyone who has access to the server and guesses a key can recognize the
// key's name.
func (n names) of(key string) string {
	h := hmac.New(sha256.New, []byte(n.prefix))
	h.Write([]byte(key))
	return hex.EncodeToString(h.Sum(nil)[:nameLength/2])
}
