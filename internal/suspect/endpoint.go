// Package suspect finds endpoints that have a limit of their own, or that are always refused,
// by comparing the outcomes of their requests with those of all others. It contains no clock
// and no lock.
package suspect

import "strings"

// An Endpoint is what a request is sent to. The zero value stands for an unknown endpoint. It
// is the same in all processes, because they may tell each other about it.
type Endpoint struct {
	Route    uint64 `json:"r"` // hash of the method and of the path without what looks like an ID
	Resource uint64 `json:"s"` // hash of the method and of the path
}

// Of returns the endpoint of a request with the given method and path.
func Of(method, path string) Endpoint {
	if method == "" && path == "" {
		return Endpoint{}
	}
	route, resource := begin, begin
	for segment := range strings.SplitSeq(path, "/") {
		route = route.text("/").segment(segment)
	}
	resource = resource.text(path).text(" ") // so that the two hashes of a request differ
	return Endpoint{uint64(route.text(method)), uint64(resource.text(method))}
}

// Keys returns the hashes under which the endpoint can be a suspect.
func (e Endpoint) Keys() [2]uint64 { return [...]uint64{e.Resource, e.Route} }

// A hash is a 64-bit FNV-1a hash. Package hash/fnv would need more time and an allocation.
type hash uint64

const (
	begin hash = 14695981039346656037
	prime hash = 1099511628211
)

func (h hash) text(s string) hash {
	for i := range len(s) {
		h = (h ^ hash(s[i])) * prime
	}
	return h
}

// longID is the length from which a path segment with a digit counts as an ID.
const longID = 16

// segment returns h with a path segment, but replaces an ID by "*". An ID contains a digit, and
// is long or consists of hexadecimal digits and hyphens. In other segments, such as v3, each
// number is replaced by "#".
func (h hash) segment(s string) hash {
	const digits = "0123456789"
	i := strings.IndexAny(s, digits)
	if i >= 0 && (len(s) >= longID || strings.Trim(s, digits+"abcdefABCDEF-") == "") {
		return h.text("*")
	}
	for ; i >= 0; i = strings.IndexAny(s, digits) {
		h = h.text(s[:i]).text("#")
		s = strings.TrimLeft(s[i:], digits)
	}
	return h.text(s)
}
