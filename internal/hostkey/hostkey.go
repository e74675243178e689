// Package hostkey names the account that a request counts against by the host of its
// URL.
package hostkey

import (
	"net/url"
	"strings"
)

// Of returns the host of u in canonical form: in lower case, without the default port
// of the scheme and without a trailing dot.
func Of(u *url.URL) string {
	host := strings.ToLower(u.Host) // which looks before it copies
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		switch port := host[i+1:]; {
		case port == "", port == "443" && strings.EqualFold(u.Scheme, "https"), port == "80" && strings.EqualFold(u.Scheme, "http"):
			host = host[:i]
		case strings.HasSuffix(host[:i], "."):
			return host[:i-1] + host[i:]
		}
	}
	return strings.TrimSuffix(host, ".")
}
