package gate

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
)

// KeyByHost returns the host of the request's URL in lower case, without a trailing dot,
// and with the port, without leading zeros, unless that is empty or the scheme's default.
// An international host in Unicode and in ASCII (xn--) has two keys. Use it as the GateKey
// of a Transport if reads and writes share one limit.
func KeyByHost(r *http.Request) string {
	host := strings.ToLower(r.URL.Host) // does not allocate if the host is already in lower case
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		if port := strings.TrimLeft(host[i+1:], "0"); port != "" && port != host[i+1:] {
			host = host[:i+1] + port
		}
		switch port := host[i+1:]; {
		case port == "", port == "443" && strings.EqualFold(r.URL.Scheme, "https"), port == "80" && strings.EqualFold(r.URL.Scheme, "http"):
			host = host[:i]
		case strings.HasSuffix(host[:i], "."):
			return host[:i-1] + host[i:]
		}
	}
	return strings.TrimSuffix(host, ".")
}

// KeyByHostAndMethod returns the same key as [KeyByHost] for the methods that RFC 9110
// defines as safe (section 9.2.1), and that key followed by " writes" for all other
// methods. It is the default GateKey of a Transport, because many services limit writes
// more strictly.
func KeyByHostAndMethod(r *http.Request) string {
	host := KeyByHost(r)
	switch r.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return host
	}
	if key, ok := writes.Load(host); ok {
		return key.(string)
	}
	key := host + " writes"
	if writesKnown.Add(1) <= mostWrites {
		writes.Store(host, key)
	}
	return key
}

// The keys for writes are cached, so that not every write allocates its key. The cache
// holds the keys of at most mostWrites hosts; for any other host, each write allocates
// its key.
var (
	writes      sync.Map
	writesKnown atomic.Int64
)

const mostWrites = 1024
